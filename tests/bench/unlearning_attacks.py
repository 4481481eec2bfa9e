"""Try to bring back what was forgotten: weights rounded to four bits, and some of the records learnt again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from material import Row
from unlearning_readings import DELTA
from unlearning_runs import Answers, answers_of, opened

RELEARN: dict[str, Any] = {"steps": 5, "lr": 2e-3, "batch": 4, "rank": 8}  # as unlearning.attack-lora-relearn


def attacked(version: Path, rows: Sequence[Row], work: Path, seed: int, layers: int) -> dict[str, Answers]:
    """Return what a version says of some of the forgotten under each attack.

    Args:
        version: What is attacked; it stays as it is.
        rows: The records. Four of them are learnt again, and then the others are asked.
        work: A folder for the attack.
        seed: Of what it draws.
        layers: How many top layers learn again.
    """
    from amends import ProbeTask
    from amends_unlearning.attacks.judging import Choice, Sides
    from amends_unlearning.attacks.quantisation import quantised
    from amends_unlearning.attacks.relearning import Training, divide, taught
    from amends_unlearning.equivalence import Margin

    model, found = opened(version), {}
    with quantised(model.hf_model, 4, 64):
        found["4 bits"] = answers_of(model, rows)
    task = ProbeTask(work, seed, model_path=version, open_model=lambda path: model)
    sides = Sides(task, "bench", Choice(Margin(DELTA), "all", len(rows)), {}, {})
    lessons = divide(list(rows), list(rows), 4)[0]
    others = [row for row in rows if row not in lessons]
    with taught(sides, model, lessons, Training(**{**RELEARN, "layers": layers})):
        found["5 steps on 4 records"] = answers_of(model, others)
    return found
