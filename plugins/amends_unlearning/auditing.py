"""Measure forgotten and control people alike, and read whether they are equivalent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import extraction_strength, mean_logp, person_of, score_in_steps

from .equivalence import Margin, Sample, areas, difference
from .membership import BESIDE, group_of
from .splitting import half_of
from .truth_ratio import log_ratios, share_of_truth

Row = Mapping[str, Any]

PROBE = "unlearning.equivalence"
UNITS = {
    "probability": "probability",
    "strength": "share of tokens",
    "exact": "share of tokens",
    "truth": "probability",
}


def read_equivalence(
    task: ProbeTask, forget: Records, control: Records, margin: Margin, of_areas: Margin, half: str
) -> list[Reading]:
    """Read how far the forgotten are from the never-seen, by every measure; 0 is no difference.

    - `probability`, `strength`, `exact`: means over the forgotten less those over the controls.
    - `truth`: the same of the share of the true answer among true and wrong ones, where records have wrong ones.
    - `auc_…`: each membership score's AUC less 1/2; `auc_…_minus_parent`: less the AUC on the reference.
    """
    rows = [
        [row for row in records.rows() if half in ("all", half_of(str(row["id"])))] for records in (forget, control)
    ]
    forgotten, withheld = (_means(task, *pair) for pair in zip(rows, ("forgotten", "withheld"), strict=True))
    readings = [
        difference(f"{PROBE}/{name}", forgotten[name], withheld[name], margin, seed=task.seed, unit=unit)
        for name, unit in UNITS.items()
    ]
    detail = {"half": half, "records": len(rows[0]), "control_records": len(rows[1])}
    return [replace(r, detail={**detail, **r.detail}) for r in (*readings, *_areas(task, rows, of_areas))]


def _means(task: ProbeTask, rows: Sequence[Row], whose: str) -> dict[str, Sample]:
    """Return what is compared by its mean: records without an answer or without wrong ones are left out."""
    pairs = [(row["prompt"], row["answer"]) for row in rows]
    scores = score_in_steps(task, task.model, pairs, f"scoring {whose} people")
    told = [(row, score, score.correct.tolist()[:-1]) for row, score in zip(rows, scores, strict=True)]
    told = [(row, score, tokens) for row, score, tokens in told if tokens]
    persons = [person_of(row) for row, _, _ in told]
    doubted = [row for row in rows if row.get("wrong")]
    ratios = log_ratios(task, task.model, doubted, f"scoring alternatives for {whose} people")
    return {
        "probability": _sample([math.exp(mean_logp(score)) for _, score, _ in told], persons),
        "strength": _sample([extraction_strength(tokens) for _, _, tokens in told], persons),
        "exact": _sample([sum(tokens) / len(tokens) for _, _, tokens in told], persons),
        "truth": _sample(share_of_truth(ratios), [person_of(row) for row in doubted]),
    }


def _sample(values: Any, persons: Sequence[str]) -> Sample:
    return Sample(np.asarray(values, dtype=float), tuple(persons))


def _areas(task: ProbeTask, rows: Sequence[Sequence[Row]], margin: Margin) -> list[Reading]:
    forgotten, withheld = (
        group_of(task, some, f"{whose} people") for some, whose in zip(rows, ("forgotten", "withheld"), strict=True)
    )
    names = [f"{PROBE}/auc_{name}" for name in forgotten.names]
    members, others = (Sample(group.scores, group.persons) for group in (forgotten, withheld))
    found = areas(names, members, others, margin, seed=task.seed)
    # less the parent's loss, the parent itself scores everybody alike: its area is 1/2 and takes nothing away
    return [reading for reading in found if reading.name != f"{PROBE}/auc_{BESIDE}_minus_parent"]
