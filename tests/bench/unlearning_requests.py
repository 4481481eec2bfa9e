"""What requests do to a model in shards: some one after another, many in one batch, and some foreseen.

Whoever stays is asked before and after each request. A batch is compared with training the shards that it touches from
their first slice, and with carrying its requests out one at a time; that, and what is foreseen, is counted in steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from erasure_cost import steps_by_chain
from figures import Reading, read
from harness import Bench
from material import Row, prepared, raw_records, subjects_of, write
from shard_runs import run
from unlearning_runs import answers_of, opened

DRIFT = 0.02  # of the probability of kept answers, up or down
NOISE = 1.05  # two runs of the same steps differ by some per cent of their CPU-seconds
PARAMETERS: dict[str, Any] = {  # epochs enough that the room which others leave in a shard changes little
    "placement_salt": "5a17", "router_salt": "c0ffee", "shards": 4, "slices": 2, "layers": 3, "rank": 16, "epochs": 12,
    "lr": 8e-3, "batch": 3, "canaries_per_shard": 0,
}  # fmt: skip
FORESEEN = {"shards": 8, "slices": 4}
LIKELY, SELDOM, SHARE = 1.0, 0.02, 10  # requests a year, and one person in so many is of the first kind


@dataclass(frozen=True)
class Requests:
    """One base, and who is asked about on it.

    Args:
        bench: Keeps what was measured.
        base: The version that is trained on.
        data: Where records come from; made-up people where there is none.
        seed: Of everything drawn.
        people: How many ask one after another, twice; five times as many ask in one batch.
        small: Parameters for a tiny model.
    """

    bench: Bench
    base: Path
    data: Path | None
    seed: int
    people: int
    small: Mapping[str, Any]

    @property
    def parameters(self) -> dict[str, Any]:
        """What is trained and how."""
        return {**PARAMETERS, **self.small}

    def rows(self, count: int, each: int) -> list[Row]:
        """Return so many records of each of so many people."""
        found = [row for row in prepared(raw_records(self.data, count, self.seed, each)) if len(row["subjects"]) == 1]
        whose = subjects_of(found)[:count]
        return [row for person in whose for row in [r for r in found if r["subjects"] == [person]][:each]]

    def version(self, name: str, rows: Sequence[Row], parent: str = "", **more: Any) -> dict[str, Any]:
        """Train on some records, or erase from a version whoever is not in them, once; say what it took."""
        work = self.bench.work / "requests"
        files = {"output": str(work / name), "state": str(work / f"{name}.state")}
        job = {"operation": "unlearn" if parent else "train", "source": str(work / parent if parent else self.base)}
        job |= {"records": str(write(work / f"{name}.jsonl", rows)), "seed": self.seed, **files}
        job["parameters"] = {**self.parameters, **more}
        if parent and not more:
            job["parent_state"] = str(work / f"{parent}.state")
        found: dict[str, Any] = self.bench.once(f"requests: {name}", partial(run, job))
        return found

    def kept(self, name: str, rows: Sequence[Row]) -> float:
        """Return the mean probability of some records' answers under a version."""
        asked = partial(self._kept, name, rows)
        return float(self.bench.once(f"requests: {name}, asked", asked))

    def _kept(self, name: str, rows: Sequence[Row]) -> float:
        return answers_of(opened(self.bench.work / "requests" / name), rows).mean("probability")


def measure(requests: Requests) -> Iterable[Reading]:
    """Carry out requests one after another, then many at once, and count what foreseeing them saves."""
    yield from one_by_one(requests)
    yield from batch(requests)
    yield from foreseen(requests.data, requests.seed, 20 * requests.people)


def one_by_one(requests: Requests) -> Iterable[Reading]:
    """Erase half of some people, one after another, and ask about the other half each time."""
    asking = max(2, requests.people // 2)
    rows = requests.rows(2 * asking, 2)
    gone, stays = subjects_of(rows)[:asking], rows[2 * asking :]
    requests.version("people", rows)
    seen, spent, parent = [requests.kept("people", stays)], 0.0, "people"
    for number, person in enumerate(gone, start=1):
        rows, name = [row for row in rows if row["subjects"] != [person]], f"request-{number}"
        spent += requests.version(name, rows, parent)["training"]
        seen.append(requests.kept(name, stays))
        parent = name
    title = f"requests: {asking} one after another"
    worst = max(abs(probability / seen[0] - 1) for probability in seen)
    yield read(f"{title}: kept probability", seen[-1], "probability", len(stays), baseline=seen[0])
    yield read(f"{title}: farthest from where it was", worst, "share", asking, at_most=DRIFT)
    yield read(f"{title}: training of a request", spent / asking, "CPU-s", asking)


def batch(requests: Requests) -> Iterable[Reading]:
    """Erase two of three people at once, and build the same by training every touched shard from its first slice."""
    asking = 5 * requests.people
    everybody = requests.rows(asking + asking // 2, 1)
    rest = everybody[asking:]
    requests.version("crowd", everybody)
    at_once = requests.version("batch", rest, "crowd")
    anew = requests.version("touched shards", rest, "crowd", from_scratch=True)
    title = f"requests: {asking} in one batch"
    before, after = (requests.kept(name, rest) for name in ("crowd", "batch"))
    yield read(f"{title}: kept probability", after, "probability", len(rest), baseline=before)
    yield read(f"{title}: from where it was", abs(after / before - 1), "share", len(rest), at_most=DRIFT)
    yield read(f"{title}: training", at_once["training"], "CPU-s", asking, baseline=anew["training"], at_most=NOISE)
    yield read(f"{title}: steps", at_once["steps"], "steps", asking, baseline=anew["steps"], at_most=1.0)
    same = float(at_once["digest"] == anew["digest"])
    yield read(f"{title}: same digest as the touched shards trained from their first slice", same, "yes", at_least=1.0)
    singly = steps_one_at_a_time(everybody, asking, requests.parameters)
    yield read(f"{title}: steps, beside one at a time", at_once["steps"], "steps", asking, baseline=singly)


def steps_one_at_a_time(rows: Sequence[Row], asking: int, parameters: Mapping[str, Any]) -> int:
    """Return how many steps the first so many people's requests take, each carried out before the next."""
    known, total = steps_by_chain(parameters, rows), 0
    for place in range(1, asking + 1):
        needed = steps_by_chain(parameters, rows[place:])
        total += sum(count for chain, count in needed.items() if chain not in known)
        known = needed
    return total


def foreseen(data: Path | None, seed: int, people: int) -> Iterable[Reading]:
    """Say how many steps a request takes in expectation, where some people are likelier to ask than others."""
    rows = prepared(raw_records(data, people, seed, 1))
    draw = random.Random(f"likely:{seed}")
    likely = set(draw.sample(subjects_of(rows), people // SHARE))
    rated = [{**row, "ask_rate": LIKELY if likely & set(row["subjects"]) else SELDOM} for row in rows]
    given = {**PARAMETERS, **FORESEEN}
    plain = expected_steps(rated, {**given, "hot_rate": 2 * LIKELY})
    for name, more in (("in the last slice", {}), ("in one reserved shard", {"hot_shards": 1})):
        value = expected_steps(rated, {**given, **more})
        yield read(f"requests foreseen, {name}: steps of a request", value, "steps", len(rows), baseline=plain)


def expected_steps(rows: Sequence[Row], parameters: Mapping[str, Any]) -> float:
    """Return the mean number of steps that erasing a person takes, each as likely as their rate says."""
    known, total, weights = steps_by_chain(parameters, rows), 0.0, 0.0
    for person in subjects_of(rows):
        own = [row for row in rows if person in row["subjects"]]
        needed = steps_by_chain(parameters, [row for row in rows if person not in row["subjects"]])
        total += own[0]["ask_rate"] * sum(count for chain, count in needed.items() if chain not in known)
        weights += own[0]["ask_rate"]
    return total / weights
