"""What an exact erasure costs beside training every shard again: training alone, all else apart."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from figures import Reading, mean, read
from harness import Bench
from material import Row, subjects_of, without, write
from shard_runs import run, run_apart

BOUND = 1.5  # times 1 / shards
SALTS = {"placement_salt": "5a17", "router_salt": "c0ffee"}
Run = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What is trained and how, and how many of the data subjects are erased, each from the same version."""

    base: Path
    rows: Sequence[Row]
    parameters: dict[str, Any]
    erased: int
    seed: int

    def job(self, work: Path, operation: str, name: str, gone: str = "", **more: Any) -> Run:
        """Return a job for `shard_runs` on all records but those of a subject, from the base unless told otherwise."""
        records = write(work / f"{name}.jsonl", without(self.rows, gone))
        files = {"records": str(records), "output": str(work / name), "state": str(work / f"{name}.state")}
        given = {"source": str(self.base), "parameters": dict(self.parameters), "seed": self.seed}
        return {"operation": operation, **given, **files, **more}

    def sample(self) -> list[str]:
        """Return whom to erase."""
        return random.Random(f"erased:{self.seed}").sample(subjects_of(self.rows), self.erased)

    def erasure(self, work: Path, gone: str) -> Run:
        """Return the job that erases a subject from the version that learnt from everybody."""
        parent = {"source": str(work / "parent"), "parent_state": str(work / "parent.state")}
        return self.job(work, "unlearn", "erased", gone, **parent)

    def counterfactual(self, work: Path, gone: str) -> Run:
        """Return the job that builds the touched shards from their first slice, as a case does to prove its rebuild."""
        anew = {"source": str(work / "parent"), "parameters": {**self.parameters, "from_scratch": True}}
        return self.job(work, "unlearn", "counterfactual", gone, **anew)


def measure(bench: Bench, setting: Setting) -> list[Reading]:
    """Train once, erase data subjects one by one, and train once where the first of them never was."""
    bench.once("train on everybody", lambda: run(setting.job(bench.work, "train", "parent")))
    subjects = setting.sample()
    erased = [
        bench.once(f"erase subject {number} of {len(subjects)}", partial(_erase, bench, setting, subject))
        for number, subject in enumerate(subjects, start=1)
    ]
    never_saw = setting.job(bench.work, "train", "never-saw", subjects[0])
    full = bench.once("train where the first subject never was", lambda: run_apart([never_saw])[0])
    proof = setting.counterfactual(bench.work, subjects[0])
    other = bench.once("the first subject's counterfactual", lambda: run_apart([proof])[0])
    equal = erased[0]["digest"] == full["digest"] == other["digest"]
    return [
        *_cost(setting, erased, full),
        *_apart(erased, full, other),
        read("digest equality on this model, counterfactual too", float(equal), "share", at_least=1.0),
    ]


def _erase(bench: Bench, setting: Setting, subject: str) -> Run:
    return run(setting.erasure(bench.work, subject))


def _cost(setting: Setting, erased: Sequence[Run], full: Run) -> list[Reading]:
    bound = BOUND / setting.parameters["shards"]
    training, among = mean([found["training"] for found in erased])
    shares = step_shares(setting)
    share, share_among = mean(shares)
    many, unit = len(erased), "CPU-s"
    return [
        read("training of an erasure", training, unit, many, among, baseline=full["training"], at_most=bound),
        read("steps of an erasure, every subject", share, "share of all", len(shares), share_among, at_most=bound),
    ]


def _apart(erased: Sequence[Run], full: Run, other: Run) -> list[Reading]:
    start, starts = mean([found["start"] for found in erased])
    rest, rests = mean([found["rest"] for found in erased])
    many, unit = len(erased), "CPU-s"
    outside = other["process"] - other["training"]
    return [
        read("apart: start-up, model read", start, unit, many, starts, baseline=full["start"]),
        read("apart: router and files", rest, unit, many, rests, baseline=full["rest"]),
        read("apart: counterfactual, training", other["training"], unit, baseline=full["training"]),
        read("apart: counterfactual, its process and all else", outside, unit),
    ]


def step_shares(setting: Setting) -> list[float]:
    """Return, for every data subject, the share of all training steps that erasing them takes again."""
    known = steps_by_chain(setting.parameters, setting.rows)
    shares = []
    for subject in subjects_of(setting.rows):
        needed = steps_by_chain(setting.parameters, without(setting.rows, subject))
        again = sum(count for chain, count in needed.items() if chain not in known)
        shares.append(again / sum(needed.values()))
    return shares


def steps_by_chain(p: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, int]:
    """Return how many steps each state of training is away from the one before, by its chain of digests."""
    from amends_unlearning.placement import Placement
    from amends_unlearning.plan import lay_out
    from amends_unlearning.training import Settings

    settings = Settings(p["layers"], p["rank"], p["epochs"], p["lr"], p["batch"])
    hot = {name: p[name] for name in ("hot_shards", "hot_rate") if name in p}
    placement = Placement(p["placement_salt"], p["shards"], p["slices"], **hot)
    shards = lay_out(rows, placement, p["canaries_per_shard"], {})
    return {part.chain: settings.steps(len(part.rows)) for shard in shards for part in shard.slices}
