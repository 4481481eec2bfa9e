"""Run an unlearning operation by its name, ask what came out, and compare it with a model that never saw the people."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from material import Row, write
from shard_runs import BASE_DIGEST, FolderState, link_base

from amends import Records, host
from amends.operation.measuring import extraction_strength, mean_logp, person_of
from amends.operation.statistics import auc, bootstrap_by_person, percentiles, resample_auc_by_person
from amends.operation.task import Memory
from amends.scheduler.steady import steady

LEVEL = 0.9  # of the intervals whose two ends are two one-sided tests at .05


@dataclass(frozen=True)
class People:
    """Prepared records of four kinds of people; methods may know of the withheld, the judge alone of the never seen."""

    forgotten: Sequence[Row]
    retained: Sequence[Row]
    never: Sequence[Row]
    withheld: Sequence[Row] = ()

    @property
    def everybody(self) -> list[Row]:
        """What the model that knows too much was trained on."""
        return sorted([*self.forgotten, *self.retained], key=lambda row: str(row["id"]))


@dataclass
class Answers:
    """What a model gives for some records: one number for each."""

    probability: list[float] = field(default_factory=list)
    strength: list[float] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    persons: list[str] = field(default_factory=list)

    def mean(self, name: str) -> float:
        """Return the mean of one of them."""
        return float(np.mean(getattr(self, name)))

    def only(self, places: Sequence[int]) -> Answers:
        """Return those of some records, given by their places."""
        return Answers(**{name: [numbers[place] for place in places] for name, numbers in vars(self).items()})


def run(
    name: str, source: Path, output: Path, records: Mapping[str, Sequence[Row]], *, seed: int = 7,
    models: Mapping[str, Path] | None = None, state: Path | None = None, memory: Memory | None = None,
    **parameters: Any,
) -> float:  # fmt: skip
    """Run an operation unless its output is there, with those parameters that it has, and return its CPU-seconds."""
    from amends import ModelVersion, Task

    told = output / "cpu-seconds.json"
    if told.exists():
        return float(json.loads(told.read_text()))
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    operation = host.load().operation(name)
    wanted = {parameter.name for parameter in operation.parameters}
    files = {key: Records("", write(output / f"{key}.jsonl", rows)) for key, rows in records.items() if key in wanted}
    beside = {key: ModelVersion(key, 0, "") for key in (models or {}) if key in wanted}
    kept = FolderState(state or output / "state")
    kept.folder.mkdir(exist_ok=True)
    with steady(1, seed, True):
        began = time.process_time()
        task = Task(output, seed, source=source, source_digest=BASE_DIGEST, output=output, state=kept)
        task.models = dict(models or {})
        task.memory = memory or task.memory
        fitting = {key: value for key, value in parameters.items() if key in wanted}
        operation(task, **operation.check({**fitting, **files, **beside}))
        spent = time.process_time() - began
    if (output / "attachments").exists():
        link_base(source, output)
    told.write_text(json.dumps(spent))
    return spent


def opened(version: Path) -> Any:
    """Open a version with its attachments."""
    from amends.serving import open_version

    return open_version(version, host.load())


def answers_of(model: Any, rows: Sequence[Row]) -> Answers:
    """Score the records' answers by an opened model."""
    found = Answers(persons=[person_of(row) for row in rows])
    for score in model.score([(row["prompt"], row["answer"]) for row in rows]):
        found.logp.append(mean_logp(score))
        found.probability.append(math.exp(found.logp[-1]))
        found.strength.append(extraction_strength(score.correct.tolist()[:-1]))
    return found


def apart(one: Answers, gold: Answers, name: str) -> tuple[float, tuple[float, float] | None]:
    """Return how far a model's answers are from the gold model's on the same records, with the interval by person."""
    difference = np.array(getattr(one, name)) - np.array(getattr(gold, name))
    return float(difference.mean()), bootstrap_by_person(difference, one.persons, seed=7, level=LEVEL)


def membership(forgotten: Answers, never: Answers) -> float:
    """Return the AUC of the loss of forgotten people against never-seen ones."""
    return float(auc(np.array(forgotten.logp), np.array(never.logp)))


def membership_apart(
    one: tuple[Answers, Answers], gold: tuple[Answers, Answers]
) -> tuple[float, tuple[float, float] | None]:
    """Return the AUC on a model minus that on the gold model, people drawn again in both at once."""
    forgotten, never = (np.array([a.logp, b.logp]).T for a, b in zip(one, gold, strict=True))
    drawn = resample_auc_by_person(forgotten, one[0].persons, never, one[1].persons, 7)
    value = membership(*one) - membership(*gold)
    if drawn is None:
        return value, None
    return value, percentiles(drawn[:, 0] - drawn[:, 1], LEVEL)
