"""One arm of the comparison of transfers: a start of its own, tuned as all arms are, with what can be shared kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfer_runs import Split, loss_of

from amends import Task
from amends.operation.files import load_model
from amends_distillation.transfer.anatomy import Anatomy, anatomy_of
from amends_distillation.transfer.grafts import Grafts
from amends_distillation.transfer.neurons import Graft, carry, choose
from amends_distillation.transfer.pkt import SEED_ONLY, SELF, Transfer, starts_of, tune
from amends_distillation.transfer.samples import Sample, samples_of
from amends_distillation.transfer.seats import tune as tune_seats
from amends_distillation.transfer.seats import widen
from amends_distillation.transfer.stages import Stages
from amends_distillation.transfer.tuning import Tuning

PARTS = ("seeds", "tuning", "validation", "test")


@dataclass
class Arms:
    """Runs arms on one student; what an arm begins with is made once for all its learning rates.

    Args:
        teacher: A version.
        student: A version.
        work: Where a task may write.
        size: The benchmark's sizes.
    """

    teacher: Path
    student: Path
    work: Path
    size: dict[str, Any]
    made: dict[tuple[str, str, int], Any] = field(default_factory=dict)

    def run(self, unit: str, init: str, rate: float, seed: int, split: Split) -> dict[str, float]:
        """Return the losses of one arm on the validation and the test facts."""
        model, tokenizer = load_model(self.student)
        student, task = anatomy_of(model), self._task(seed)
        samples = {part: samples_of(tokenizer, getattr(split, part)) for part in PARTS}
        tuning = Tuning(self.size["steps"], rate, self.size["batch"])
        taught = samples["seeds" if init == SEED_ONLY else "tuning"]
        key = (unit, init, seed)
        if unit == "neurons":
            start = self._once(key, lambda: self._carried(task, student, init, seed, samples, tuning))
            seats = widen(student, start)
            seats.fill(student, start)
            tune_seats(student, seats, taught, tuning, seed, Stages(task))
            return _read(student, samples)
        how = Transfer(init, self.size["rank"], tuning)
        grafts = Grafts(student, self._once(key, lambda: starts_of(task, student, split.seeds, how, Stages(task))))
        tune(student, grafts, taught, tuning, seed, Stages(task))
        grafts.merge()
        return _read(student, samples)

    def _once(self, key: tuple[str, str, int], make: Callable[[], Any]) -> Any:
        if key not in self.made:
            self.made = {key: make()}
        return self.made[key]

    def _task(self, seed: int) -> Task:
        return Task(self.work, seed, source=self.student, models={"teacher": self.teacher})

    def _carried(
        self, task: Task, student: Anatomy, init: str, seed: int, samples: dict[str, list[Sample]], tuning: Tuning
    ) -> Any:
        how = Graft(init, self.size["neurons"], "widen", self.size["path"], tuning)
        origin = student if init == SELF else anatomy_of(load_model(self.teacher)[0])
        shown = samples["seeds"][: self.size["shown"]]  # the integral runs each of them once for every layer
        chosen = choose(origin, shown, how, seed, Stages(task))
        return carry(origin, student, chosen, [*samples["seeds"], *samples["tuning"]], Stages(task))


def _read(student: Anatomy, samples: dict[str, list[Sample]]) -> dict[str, float]:
    return {part: loss_of(student.model, samples[part]) for part in ("validation", "test")}
