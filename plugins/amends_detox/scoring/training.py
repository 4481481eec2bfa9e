"""From a file of scored texts to a head that says where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from amends import BadRecords
from amends.operation.statistics import auc
from amends.store.digests import digest_file
from amends_detox.scoring.embedding import embed, encoder_digest
from amends_detox.scoring.fitting import Fit, fit
from amends_detox.scoring.head import Head
from amends_detox.scoring.rtp import ATTRIBUTES, RULE, Scored, fitted_on, read_scored

Report = Callable[[int, int, str], None]

STEP = 256
IS_TOXIC = 0.5  # of a label: what the AUC takes for a positive, as RealToxicityPrompts does
COMMAND = (
    "amends detox fit-scorer --data {file} --output DIR --held-out {held_out} "
    "--hidden {how.hidden} --ridge {how.ridge} --seed {how.seed}"
)
LICENCE = "as the texts and scores that the head was fitted on; RealToxicityPrompts is Apache-2.0"


def train_head(file: Path, how: Fit, held_out: int, report: Report) -> Head:
    """Fit a head on half A of a file and try it on texts of half B.

    Args:
        file: In the format of RealToxicityPrompts.
        how: Size, ridge and seed.
        held_out: At most so many texts of half B are scored, chosen by their hash.
        report: Told how far the embedding is.

    Raises:
        BadRecords: A line cannot be used, or no line falls into half A.
    """
    scored = list(read_scored(file))
    ours = [one for one in scored if fitted_on(one.prompt)]
    if not ours:
        raise BadRecords(f"{file} has no line in half A, on which heads are fitted; give more lines")
    head = fit(_embed(ours, report, "embedding half A"), _targets(ours), how)
    others = sorted((one for one in scored if not fitted_on(one.prompt)), key=_order)[: max(held_out, 0)]
    facts = {
        "attributes": list(ATTRIBUTES),
        "command": COMMAND.format(file=file.name, held_out=held_out, how=how),
        "encoder": encoder_digest(),
        "fit": {"hidden": how.hidden, "ridge": how.ridge, "seed": how.seed},
        "held_out": _try(head, others, report),
        "licence": LICENCE,
        "split": RULE,
        "texts": len(ours),
        "trained_on": {"file": file.name, "sha256": digest_file(file)},
    }
    return replace(head, facts=facts)


def _order(one: Scored) -> str:
    return hashlib.sha256(one.text.encode()).hexdigest()


def _targets(scored: Sequence[Scored]) -> Tensor:
    return torch.tensor([one.scores for one in scored], dtype=torch.float64)


def _embed(scored: Sequence[Scored], report: Report, message: str) -> Tensor:
    rows = []
    for start in range(0, len(scored), STEP):
        report(start, len(scored), message)
        rows.append(embed([one.text for one in scored[start : start + STEP]]))
    report(len(scored), len(scored), message)
    return torch.cat(rows)


def _try(head: Head, scored: Sequence[Scored], report: Report) -> dict[str, object]:
    """Return the AUC of every attribute on texts that the head has not seen; where a side is empty, nothing."""
    if not scored:
        return {"texts": 0, "auc": {}}
    said = head.logits(_embed(scored, report, "embedding half B").double()).numpy()
    is_positive = _targets(scored).numpy() >= IS_TOXIC
    areas = {
        name: auc(said[is_positive[:, place], place], said[~is_positive[:, place], place])
        for place, name in enumerate(ATTRIBUTES)
    }
    return {"texts": len(scored), "auc": {name: round(area, 4) for name, area in areas.items() if area == area}}
