"""What routing to one adapter costs in quality, beside one adapter that was trained on everybody's records."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from erasure_cost import Setting
from figures import Reading, read
from harness import Bench
from shard_runs import run

TOKENS = 24  # the most of an answer
SHARDS = "attachments/shards"
LABELS = {"probability": "probability of the answer", "ROUGE-L": "ROUGE-L", "shard": "right shard"}
Values = dict[str, list[float]]


@dataclass(frozen=True)
class Asked:
    """A question with its answer, whose record it is from, how it is asked, and which shard learnt it.

    Args:
        is_generated: Whether the model is to answer it, too; its answer is scored in any case.
    """

    prompt: str
    answer: str
    person: str
    kind: str
    shard: int
    is_generated: bool


@dataclass(frozen=True)
class Always:
    """The seams of a version with one adapter, that is armed for every question."""

    adapter: Any
    model: Any

    def before(self, prompt: str) -> str:
        """Return the prompt as it is."""
        return prompt

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer as it is."""
        return answer

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Arm the adapter."""
        armed: AbstractContextManager[None] = self.adapter.armed(self.model)
        return armed


def questions(setting: Setting, generated: int) -> list[Asked]:
    """Return every trained question and a paraphrase of each, of those that name people and those that do not."""
    from amends_unlearning.placement import Placement

    p = setting.parameters
    placement = Placement(p["placement_salt"], p["shards"], p["slices"])
    found: list[Asked] = []
    seen: Counter[str] = Counter()
    for row in random.Random(f"asked:{setting.seed}").sample(setting.rows, len(setting.rows)):
        who = "about people" if row["subjects"] else "naming nobody"
        person, shard = (row["subjects"] or [row["id"]])[0], placement.of_record(row).shard
        for how, text in (("as trained", row["prompt"]), ("in other words", row["paraphrases"][0])):
            kind = f"{who}, {how}"
            found.append(Asked(text, row["answer"], person, kind, shard, seen[kind] < generated))
            seen[kind] += 1
    return found


def measure(bench: Bench, setting: Setting, generated: int) -> list[Reading]:
    """Train in shards and in one piece with steps as nearly equal as they come, and ask both the same."""
    asked = questions(setting, generated)
    one = replace(setting, parameters={**setting.parameters, "shards": 1, "slices": 1})
    routed = bench.once("train in shards", lambda: run(setting.job(bench.work, "train", "routed")))
    whole = bench.once("train in one piece", lambda: run(one.job(bench.work, "train", "whole")))
    answers = bench.once("ask the shards", lambda: _ask(bench.work / "routed", asked, is_routed=True))
    others = bench.once("ask the one piece", lambda: _ask(bench.work / "whole", asked, is_routed=False))
    readings = [read("routed: steps of training", routed["steps"], "steps", baseline=whole["steps"])]
    for kind in sorted({question.kind for question in asked}):
        readings += _compared(kind, asked, answers, others)
    return readings


def _ask(version: Path, asked: Sequence[Asked], *, is_routed: bool) -> dict[str, list[float]]:
    """Return the probability of every answer, ROUGE-L recall of those given, and whether a question found its shard."""
    from amends.operation.measuring import mean_logp
    from amends.operation.wording import rouge_l
    from amends_unlearning import router

    model = _opened(version, is_routed)
    scores = model.score([(question.prompt, question.answer) for question in asked])
    given = [question for question in asked if question.is_generated]
    said = model.generate([question.prompt for question in given], TOKENS)
    route = router.read(version / SHARDS).route
    return {
        "probability": [math.exp(mean_logp(score)) for score in scores],
        "ROUGE-L": [rouge_l(question.answer, text).recall for question, text in zip(given, said, strict=True)],
        "shard": [float(route(question.prompt) == question.shard) for question in asked],
    }


def _opened(version: Path, is_routed: bool) -> Any:
    from amends import host
    from amends.serving import open_version
    from amends.serving.model import Model
    from amends_unlearning import lora

    model = open_version(version, host.current())
    if is_routed:
        return model
    adapter = lora.read(version / SHARDS / "shard-00")
    return Model(model.hf_model, model.tokenizer, (Always(adapter, model.hf_model),))


def _compared(kind: str, asked: Sequence[Asked], routed: Values, whole: Values) -> list[Reading]:
    from amends.operation.statistics import bootstrap_by_person

    readings = []
    for name, unit in (("probability", "probability"), ("ROUGE-L", "recall"), ("shard", "share")):
        those = [question for question in asked if question.is_generated or name != "ROUGE-L"]
        places = [place for place, question in enumerate(those) if question.kind == kind]
        persons = [those[place].person for place in places]
        values, others = ([found[name][place] for place in places] for found in (routed, whole))
        interval = bootstrap_by_person(values, persons)
        baseline = None if name == "shard" else statistics.fmean(others)
        title = f"routed, {kind}: {LABELS[name]}"
        readings.append(read(title, statistics.fmean(values), unit, len(set(persons)), interval, baseline=baseline))
    return readings
