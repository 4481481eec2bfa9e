"""How long a promotion takes from the request to the moved alias, of a tiny model, and where the time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from figures import Reading, median, read, titled
from harness import Bench, stopwatch
from request_batches import TRAINING, Office, open_office

PEOPLE = 8
Run = dict[str, dict[str, float]]


def measure(bench: Bench, tiny: Path, repeats: int, seed: int) -> list[Reading]:
    """Promote two versions of a model in turn, each as its two approvers let it."""
    from amends.governor.work.carrying import train

    office = open_office(bench.empty("promotion"), tiny, PEOPLE, seed)
    try:
        train(office.act("max"), base="tiny@1", data="people", model="assistant", parameters=TRAINING, seed=seed + 1)
        _promoted(office, 2)  # opens whatever is opened once
        runs = [_promoted(office, 1 + number % 2) for number in range(repeats)]
    finally:
        office.workspace.close()
    readings = []
    for name in runs[0]:
        for unit in ("CPU-s", "s"):
            value, among = median([run[name][unit] for run in runs])
            readings.append(read(titled(f"a promotion: {name}", unit), value, unit, repeats, among))
    return readings


def _promoted(office: Office, number: int) -> Run:
    """Ask, approve and carry out, and return what each took; the steps are inside of `carried out`."""
    from amends.governor.cases.deciding import approve
    from amends.governor.cases.promoting import open_promotion
    from amends.governor.work.carrying import carry

    taken: Run = {"all": {"CPU-s": 0.0, "s": 0.0}}
    cases: list[str] = []
    watched = _watch_steps(taken)
    try:
        for phase, who, action in (
            ("asked for", "olga", lambda w: cases.append(open_promotion(w, f"assistant@{number}").id)),
            ("approved by the first", "dora", lambda w: approve(w, cases[0])),
            ("approved by the second", "max", lambda w: approve(w, cases[0])),
            ("carried out", "max", lambda w: carry(w, cases[0])),
        ):
            with stopwatch() as watch:
                action(office.act(who))
            taken[phase] = {"CPU-s": watch.cpu, "s": watch.wall}
            taken["all"] = {unit: taken["all"][unit] + taken[phase][unit] for unit in taken["all"]}
    finally:
        watched()
    return taken


def _watch_steps(taken: Run) -> Any:
    """Time each step of the next promotions, and return what stops it."""
    from amends.governor.work import durable

    steps: Any = durable.PROMOTION
    own = dict(steps)

    def timed(name: str) -> Any:
        def run(workspace: Any, work: Any) -> Any:
            with stopwatch() as watch:
                result = own[name](workspace, work)
            taken[f"carried out, step {name}"] = {"CPU-s": watch.cpu, "s": watch.wall}
            return result

        return run

    steps.update({name: timed(name) for name in own})
    return lambda: steps.update(own)
