"""A scorer's card: what it is right about, what it is wrong about, and whose mention alone alarms it.

Subgroup, BPSN and BNSP AUC are those of Borkan et al. (2019), "Nuanced Metrics for Measuring Unintended Bias".
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends.operation.statistics import auc
from amends_detox.scoring import ToxicityScorer, identity
from amends_detox.scoring.checked import toxicity
from amends_detox.scoring.held_out import Labelled
from amends_detox.scoring.training import Report

CUTOFF = 0.5  # what a card counts as "called toxic"; a policy or a probe may take another
NEUTRAL = ("ident_neutral_nh", "ident_pos_nh")  # of HateCheck: sentences that mention people and hold nothing bad
STEP = 256
Array = NDArray[Any]


def make_card(scorer: ToxicityScorer, sets: Mapping[str, Sequence[Labelled]], report: Report) -> dict[str, Any]:
    """Return the card of a scorer as one JSON-able document.

    Args:
        scorer: Whose card it is.
        sets: What `read_sets` gave.
        report: Told how far it is.
    """
    started, said = time.process_time(), {}
    for name, rows in sets.items():
        said[name] = _score(scorer, [row.text for row in rows], report, f"scoring {name}")
    seconds, texts = time.process_time() - started, sum(map(len, said.values()))
    checked = sets.get("HateCheck", ())
    return {
        "scorer": identity(scorer),
        "attributes": list(scorer.attributes),
        "licence": scorer.licence,
        "cutoff": CUTOFF,
        "texts_per_cpu_second": round(texts / seconds, 1) if seconds else None,
        "sets": {name: agreement(said[name], [row.is_toxic for row in rows]) for name, rows in sets.items()},
        "functionalities": functionalities(said.get("HateCheck", np.empty(0)), checked),
        "neutral_identity": false_alarms(said.get("HateCheck", np.empty(0)), checked),
        "identities": by_identity(said.get("HateCheck", np.empty(0)), checked),
    }


def _score(scorer: ToxicityScorer, texts: Sequence[str], report: Report, message: str) -> Array:
    parts = []
    for start in range(0, len(texts), STEP):
        report(start, len(texts), message)
        parts.append(toxicity(scorer, texts[start : start + STEP]))
    report(len(texts), len(texts), message)
    return np.concatenate(parts) if parts else np.empty(0)


def agreement(said: Array, labels: Sequence[bool]) -> dict[str, Any]:
    """Return AUC, and at the cut-off precision, recall and the share of false alarms.

    Args:
        said: How toxic the scorer calls each text, shape (texts,).
        labels: Whether it is.
    """
    is_toxic, is_called = np.array(labels, dtype=bool), said >= CUTOFF
    hits = int((is_toxic & is_called).sum())
    return {
        "texts": len(said),
        "toxic": int(is_toxic.sum()),
        "auc": auc(said[is_toxic], said[~is_toxic]),
        "precision": _share(hits, int(is_called.sum())),
        "recall": _share(hits, int(is_toxic.sum())),
        "error": float((is_toxic != is_called).mean()) if len(said) else None,
        "false_alarms": _share(int((~is_toxic & is_called).sum()), int((~is_toxic).sum())),
    }


def functionalities(said: Array, rows: Sequence[Labelled]) -> dict[str, Any]:
    """Return for each functionality of HateCheck how often the scorer is right at the cut-off."""
    is_right = np.array([(score >= CUTOFF) == row.is_toxic for score, row in zip(said, rows, strict=True)], dtype=bool)
    kinds = np.array([row.kind for row in rows])
    return {
        str(kind): {"texts": int((kinds == kind).sum()), "accuracy": float(is_right[kinds == kind].mean())}
        for kind in dict.fromkeys(kinds.tolist())
    }


def false_alarms(said: Array, rows: Sequence[Labelled]) -> dict[str, Any]:
    """Return how often a neutral or kind sentence that mentions people is called toxic."""
    alarmed = [score >= CUTOFF for score, row in zip(said, rows, strict=True) if row.kind in NEUTRAL]
    return {"texts": len(alarmed), "false_alarms": _share(sum(alarmed), len(alarmed))}


def by_identity(said: Array, rows: Sequence[Labelled]) -> dict[str, Any]:
    """Return the three AUCs of Borkan et al. (2019) for everybody whom texts mention.

    - subgroup: toxic against harmless texts that mention them;
    - BPSN: toxic texts that do not against harmless ones that do; low where the mention alone alarms;
    - BNSP: harmless texts that do not against toxic ones that do; low where they are not protected.
    """
    is_toxic = np.array([row.is_toxic for row in rows], dtype=bool)
    whom = np.array([row.identity for row in rows])
    found = {}
    for one in sorted(set(whom.tolist()) - {""}):
        inside = whom == one
        found[one] = {
            "texts": int(inside.sum()),
            "subgroup_auc": auc(said[inside & is_toxic], said[inside & ~is_toxic]),
            "bpsn_auc": auc(said[~inside & is_toxic], said[inside & ~is_toxic]),
            "bnsp_auc": auc(said[inside & is_toxic], said[~inside & ~is_toxic]),
        }
    return found


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
