"""Whether erasing leaves, byte for byte, the version that a process makes which never had the records."""

from __future__ import annotations

from erasure_cost import Setting
from figures import Reading, mean, read
from harness import Bench
from material import subjects_of
from shard_runs import run, run_apart


def measure(bench: Bench, setting: Setting) -> list[Reading]:
    """Compare the digests of the served versions of some data subjects, on the tiny model."""
    work = bench.work / "equality"
    run(setting.job(work, "train", "parent"))
    subjects = setting.sample()
    erased = [run(setting.erasure(work, subject))["digest"] for subject in subjects]
    jobs = [setting.job(work, "train", f"never-saw-{number}", gone) for number, gone in enumerate(subjects)]
    never_saw = [found["digest"] for found in run_apart(jobs)]
    equal = [float(one == other) for one, other in zip(erased, never_saw, strict=True)]
    people = len(subjects_of(setting.rows))
    name = f"digest equality on a tiny model of {people} people"
    return [read(name, *_share(equal), at_least=1.0)]


def _share(values: list[float]) -> tuple[float, str, int, tuple[float, float] | None]:
    value, interval = mean(values)
    return value, "share", len(values), interval
