"""Measure every method of unlearning against the gold model: the same fine-tune without the forgotten people.

The authors of TOFU with `--data`, else the project's own made-up people. By default 20 people with two records each are
forgotten, 18 with six each are kept, 20 with two each were never seen, and as many others were withheld, whom a method
may look at. A difference from the gold model is equivalence where its whole interval (90 %, people drawn again: two
one-sided tests at .05) lies within .1. With `--data`, each seed from 7 on takes the authors after those of the seed
before; 200 are enough for two. The ladder's choice is the first approximate method of `policies/erasure.yaml`
that is equivalent in everything, attacks included. `editing.forget` is asked for those records only whose question
names their person; the gold model's answers to the same ones are beside its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from figures import Reading, read
from harness import Bench, options
from material import Row, base_model, subjects_of
from shard_runs import served_digest
from unlearning_attacks import attacked
from unlearning_baseline import timed
from unlearning_methods_table import show_methods
from unlearning_people import choose, sizes
from unlearning_readings import DELTA, compared, described, foreseen, withstood
from unlearning_requests import PARAMETERS, Requests, measure
from unlearning_runs import Answers, answers_of, opened, run

FINETUNE: dict[str, Any] = {
    "placement_salt": "5a17",
    "steps": 24,
    "epochs": 9,
    "layers": 8,
    "rank": 16,
    "lr": 2e-3,
    "canaries": 0,
}
SHARDS: dict[str, Any] = {
    "placement_salt": "5a17",
    "router_salt": "c0ffee",
    "shards": 4,
    "slices": 2,
    "canaries_per_shard": 0,
}
METHODS = (
    "revert", "npo", "simnpo", "idk", "graddiff", "ascent", "rmu", "task-vector", "subnetwork", "projection",
    "editing.forget",
)  # fmt: skip
BY_NAME = ("editing.forget",)  # asked only for records whose question names their person, which is all that they take
BUDGET = 86.0  # CPU-seconds of negative preference optimisation for 40 records, as measured before
TINY = {"layers": 1, "rank": 4}
TINY_FACTS = {"max_drift": 50.0, "shrinkage": 0.5}  # of editing.forget, which has no such adapter


class Unlearning:
    """The parts of the benchmark, on one base."""

    def __init__(self, bench: Bench, data: Path | None, model: str, seed: int, size: dict[str, int]) -> None:
        self.bench, self.data, self.seed = bench, data, seed
        self.base = base_model(model, bench.work / model)
        self.small: dict[str, Any] = TINY if model == "tiny" else {}
        self.people = choose(data, size, seed)
        self._asked: dict[Path, tuple[Answers, Answers, Answers]] = {}
        self._attacked: dict[tuple[Path, tuple[str, ...]], dict[str, Answers]] = {}
        self._failed: dict[str, Exception] = {}

    def trained(self, name: str, rows: Sequence[Row]) -> tuple[Path, float]:
        """Fine-tune the base on some records, once."""
        output = self.bench.work / name
        return output, run("training.finetune", self.base, output, {"records": rows}, **FINETUNE | self.small)

    @property
    def target(self) -> Path:
        """The version that knows everybody."""
        return self.trained("target", self.people.everybody)[0]

    @property
    def gold(self) -> Path:
        """The version that never saw the forgotten."""
        return self.trained("gold", self.people.retained)[0]

    def asked(self, version: Path) -> tuple[Answers, Answers, Answers]:
        """Ask about the forgotten, the kept and the never seen, once."""
        if version not in self._asked:
            people, model = self.people, opened(version)
            sides = (people.forgotten, people.retained, people.never)
            forgotten, kept, never = (answers_of(model, rows) for rows in sides)
            self._asked[version] = forgotten, kept, never
        return self._asked[version]

    def models(self) -> Iterable[Reading]:
        """Train the model that knows too much and the gold one."""
        for name, rows in (("target", self.people.everybody), ("gold", self.people.retained)):
            version, spent = self.trained(name, rows)
            yield read(f"{name}: training", spent, "CPU-s", len(rows))
            yield from described(name, self.asked(version))
        yield from described("base", self.asked(self.base))

    def plain(self) -> Iterable[Reading]:
        """Time the plain procedure on the version that knows everybody."""
        found, count = self._plain(), len(self.people.forgotten)
        name = f"plain: negative preference optimisation, {found['steps']} steps for {count} records"
        yield read(name, found["stepping"], "CPU-s", found["steps"])
        yield read(f"{name}, all in", found["whole"], "CPU-s", found["steps"])

    def _plain(self) -> dict[str, Any]:
        """Return what the plain procedure took, timed once."""
        output, layers = self.bench.work / "plain", self.small.get("layers", FINETUNE["layers"])
        people = self.people
        measure = partial(timed, self.target, output, people.forgotten, people.retained, layers)
        found: dict[str, Any] = self.bench.once("plain: timed", lambda: asdict(measure()))
        return found

    def method(self, method: str) -> Iterable[Reading]:
        """Run a method from the version that knows everybody, and compare it with the gold model."""
        if not self.takes(method):
            yield read(f"{method}: refuses these records", 1, "yes")
            return
        request, title = self.request(method), title_of(method)
        if method in BY_NAME:
            count = len(self.people.forgotten)
            yield read(f"{method}: records whose question names their person", len(request), "records", count)
        version, spent = self.unlearned(method)
        found, gold = (self.asked_about(model, request) for model in (version, self.gold))
        yield from described(title, found)
        yield from compared(title, found, gold, aim=method == METHODS[0])
        each = 40 / len(request)
        limit = BUDGET if method == METHODS[0] else None
        yield read(f"{title}: training for 40 records", spent * each, "CPU-s", at_most=limit)
        if method == METHODS[0]:
            plain, name = self._plain(), f"{method}: training, of the plain procedure's"
            yield read(f"{name} steps alone", spent, "CPU-s", baseline=plain["stepping"], at_most=1.0)
            yield read(f"{name}, all in", spent, "CPU-s", baseline=plain["whole"])
        yield foreseen(title, self.foresee(method, self._speed()), spent)

    def request(self, method: str) -> list[Row]:
        """Return the records that a method is asked to forget: all, or those whose question names their person."""
        return [row for row in self.people.forgotten if method not in BY_NAME or names_whom(row)]

    def asked_about(self, version: Path, request: Sequence[Row]) -> tuple[Answers, Answers, Answers]:
        """Return what `asked` does, of the forgotten only what is in a request."""
        forgotten, kept, never = self.asked(version)
        places = [place for place, row in enumerate(self.people.forgotten) if row in request]
        return forgotten.only(places), kept, never

    def takes(self, method: str) -> bool:
        """Return whether a method takes its request."""
        from amends import BadInput

        try:
            self.unlearned(method)
        except BadInput as refusal:
            self.bench.say(f"{method} refuses: {refusal}")
            return False
        return True

    def _speed(self) -> float:
        """Return how many tokens pass forward through the base in a CPU-second, timed once."""
        measure = partial(tokens_a_second, opened(self.base).hf_model)
        return float(self.bench.once("tokens a second", measure))

    def unlearned(self, method: str) -> tuple[Path, float]:
        """Return what a method makes of the version that knows everybody, and its CPU-seconds; a failure stays one."""
        if method in self._failed:
            raise self._failed[method]
        try:
            return self._unlearn(method)
        except Exception as error:
            self._failed[method] = error
            raise

    def _unlearn(self, method: str) -> tuple[Path, float]:
        output = self.bench.work / method
        people = self.people
        records = {"forget": self.request(method), "retain": people.retained, "control": people.withheld}
        spent = run(
            operation_of(method), self.target, output, records, seed=self.seed, models={"reference": self.base},
            **self.settings(method),
        )  # fmt: skip
        return output, spent

    def settings(self, method: str) -> dict[str, Any]:
        """Return what a method is told on a tiny model; on a real one it runs at its defaults."""
        return self.small and (TINY_FACTS if method == "editing.forget" else self.small)

    def foresee(self, method: str, speed: float) -> float:
        """Return the seconds that a plan would foresee for a method on these records, at this many tokens a second."""
        from amends import Load, host

        depth = json.loads((self.base / "model" / "config.json").read_bytes())["num_hidden_layers"]
        operation = host.current().operation(operation_of(method))
        loads = {"forget": Load.of(self.request(method)), "retain": Load.of(self.people.retained)}
        given = {name: Load() for name in ("control", "records")} | loads
        return operation.predict(given, self.settings(method), depth=depth, forward=speed) or 0.0

    def attacks(self) -> Iterable[Reading]:
        """Round weights to four bits, and teach some forgotten records again: of the gold model and of the target."""
        rows = self.people.forgotten
        gold = self.attacked(self.gold, rows)
        for attack, found in gold.items():
            yield read(f"gold after {attack}: probability", found.mean("probability"), "probability")
        yield from withstood("target", self.attacked(self.target, rows), gold, aim=False)

    def attack(self, method: str) -> Iterable[Reading]:
        """Do the same to what a method made."""
        if not self.takes(method):
            return
        request = self.request(method)
        found, gold = (self.attacked(model, request) for model in (self.unlearned(method)[0], self.gold))
        yield from withstood(title_of(method), found, gold, aim=method == METHODS[0])

    def ladder(self) -> Iterable[Reading]:
        """Climb the shipped policy's ladder: the first method that is equivalent to the gold model in everything."""
        from amends.policy import load_policy

        rows = self.people.forgotten
        gold, hardened = self.asked(self.gold), self.attacked(self.gold, rows)
        names = (name.removeprefix("unlearning.") for name in load_policy("erasure").operations)
        for rung, method in enumerate([name for name in names if name in METHODS and name not in BY_NAME], start=1):
            if not self.takes(method):  # as in a case, where the next is tried then
                yield read(f"rung {rung}, {method}: held comparisons, as it refuses", 0, "comparisons")
                continue
            version, _ = self.unlearned(method)
            judged = [*compared(method, self.asked(version), gold, aim=True)]
            judged += withstood(method, self.attacked(version, rows), hardened, aim=True)
            held = sum(bool(reading.met) for reading in judged)
            yield read(f"rung {rung}, {method}: held comparisons of {len(judged)}", held, "comparisons")
            if held == len(judged):
                yield read(f"the ladder chooses {method}, on rung", rung, "rung")
                return
        yield read("the ladder chooses none", 0, "rung")

    def attacked(self, version: Path, rows: Sequence[Row]) -> dict[str, Answers]:
        """Return what a version says of some of the forgotten under each attack, tried once."""
        key = version, tuple(str(row["id"]) for row in rows)
        if key not in self._attacked:
            layers = self.small.get("layers", FINETUNE["layers"])
            self._attacked[key] = attacked(version, rows, self.bench.work, self.seed, layers)
        return self._attacked[key]

    def shards(self) -> Iterable[Reading]:
        """Erase one person of eight from four shards, and compare with a fine-tune of all eight as a whole."""
        size = {"forgotten": 1, "retained": 7, "never": 1, "few": 6, "many": 6}
        people = choose(self.data, size, self.seed)
        work, given = self.bench.work, {**SHARDS, **self.small}
        source, state = work / "sharded", work / "sharded-state"
        run("training.shards", self.base, source, {"records": people.everybody}, state=state, **given)
        erased = work / "erased"
        spent = run("unlearning.shards", source, erased, {"records": people.retained}, state=state, **given)
        never = work / "never"
        run("training.shards", self.base, never, {"records": people.retained}, **given)
        whole = work / "whole"
        run("training.finetune", self.base, whole, {"records": people.retained}, **FINETUNE | self.small)
        routed, without, monolith = (answers_of(opened(version), people.retained) for version in (erased, never, whole))
        same = float(served_digest(erased) == served_digest(never))
        yield read("shards: same digest as a routed model without them", same, "yes", at_least=1.0)
        yield read("shards: one of eight people erased", spent, "CPU-s", at_most=9.7)
        for name, other, least in (("a routed model without them", without, 0.99), ("the monolith", monolith, 0.95)):
            yield read(
                f"shards: kept probability, of {name}", routed.mean("probability"), "probability",
                len(people.retained), baseline=other.mean("probability"), at_least=least,
            )  # fmt: skip

    def requests(self) -> Iterable[Reading]:
        """Carry out ten requests one after another on a model in shards, and a hundred in one batch."""
        people = len(set(subjects_of(self.people.forgotten)))
        return measure(Requests(self.bench, self.base, self.data, self.seed, people, self.small))


def operation_of(method: str) -> str:
    """Return the operation's whole name; most are of one family."""
    return method if "." in method else f"unlearning.{method}"


def title_of(method: str) -> str:
    """Return what a method's readings are called."""
    return f"{method}, asked by name" if method in BY_NAME else method


def names_whom(row: Row) -> bool:
    """Whether a record's question names the person whom it is about, as `editing.forget` wants it."""
    from amends import BadRecords
    from amends_editing.forgetting import named_in

    try:
        return bool(named_in(row))
    except BadRecords:
        return False


def tokens_a_second(model: Any) -> float:
    """Return how many tokens pass forward in a CPU-second, as `utility.throughput` times them on the clock."""
    import torch

    from amends_probes.speed import PASSES, TOKENS

    ids, spent = torch.arange(TOKENS)[None] % model.config.vocab_size, []
    with torch.no_grad():
        for _ in range(PASSES + 1):
            began = time.process_time()
            model(input_ids=ids, use_cache=False)
            spent.append(time.process_time() - began)
    return TOKENS / statistics.median(spent[1:])


def main(argv: Sequence[str] | None = None) -> Path:
    """Measure every part and return the file with the figures."""
    given: argparse.Namespace = options("unlearning", str(__doc__), argv)
    size = sizes(given.n)
    bench = Bench("unlearning", given, size | {"finetune": FINETUNE, "requests": PARAMETERS, "delta": DELTA})
    data = given.data.parent.parent if given.data is not None and given.data.name == "tofu" else given.data
    parts = Unlearning(bench, data, given.model, given.seed, size)
    bench.part("models", parts.models)
    bench.part("plain", parts.plain)
    for method in METHODS:
        bench.part(f"methods: {method}", partial(parts.method, method))
    bench.part("attacks", parts.attacks)
    for method in METHODS:
        bench.part(f"attacks: {method}", partial(parts.attack, method))
    for name in ("ladder", "shards", "requests"):
        bench.part(name, getattr(parts, name))
    show_methods([title_of(method) for method in METHODS], bench.readings)
    return bench.finish()


if __name__ == "__main__":
    main()
