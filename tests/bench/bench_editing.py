"""Measure knowledge editing on CounterFact: quality and CPU-seconds an edit, beside the papers' plain procedure.

By default 200 facts edited one at a time, 100 in one update, 20 beside the weights, 200 in a row of four batches, 40
erased; `full` edits 1,000 in a row and erases 100. `apart` and `patches` do the same one at a time, at once and in a
row with patches beside the weights, and `namesakes` says whom these take for whom. `said` edits facts that the model
says by itself, `probes` reads what follows from edits (on KnowEdit, beside the data) and how the model speaks, and
`relearning` teaches erased facts again. Facts are those that the model ranks right, P(true) > P(new), in an order drawn
by the seed; hyper-parameters were chosen on counterfact-val alone. The text of covariances is WikiText-2's validation.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import editing_baseline
import editing_beside
import editing_erasure
import editing_namesakes
import editing_probes
import editing_sequence
import editing_time
from editing_records import Subject, Tally, ask, known_facts, known_shares, open_subject
from editing_runs import (
    Outcome,
    Setting,
    Write,
    in_a_row,
    in_one_update,
    methods,
    one_at_a_time,
    patches_apart,
    patches_at_once,
    patching,
)
from figures import Reading, mean, read
from harness import Bench, options
from material import base_model

LAYERS = (4, 5, 6, 7, 8)
WEIGHT, RIDGE, THRESHOLD, RATE = 15.0, 1.0, 0.7, 3e-3
LATE = (18, 19, 20, 21, 22, 23)  # UltraEdit's
TOKENS = 200_000
TEXT = Path("text") / "wikitext2_valid.txt"
PARTS = (
    "records", "covariance", "single", "time", "plain", "batch", "said", "erasure", "relearning", "probes", "beside",
    "apart", "namesakes", "sequence", "patches",
)  # fmt: skip
SOME = 32  # facts of the parts that ask them most
TINY = {  # a random model of a few thousand weights learns slowly, and has no room to leave all else alone
    "wise": {"steps": 200},
    "alphaedit": {"layers": "0", "max_drift": 50.0},
}
FIRST = "alphaedit"  # the first operation of policies/editing.yaml
SIDES = ("efficacy", "paraphrase", "neighbourhood", "greedy")
Targets = dict[str, float]
ALONE: Targets = {"efficacy": 0.99, "paraphrase": 0.93, "neighbourhood": 0.82}
AT_ONCE: Targets = {"efficacy": 0.98, "paraphrase": 0.93, "neighbourhood": 0.83}


def sizes(n: int | str | None) -> dict[str, int]:
    """Return how many facts each part edits, for the default, a number, or `full`."""
    if n == "full":
        return {
            "single": 200,
            "batch": 100,
            "sequence": 1000,
            "erased": 100,
            "plain": 8,
            "timed": 10,
            "drawn": 1000,
            "beside": 20,
        }
    count = 200 if n is None else int(n)
    some = {"single": count, "batch": min(count, 100), "sequence": count, "erased": max(count // 5, 2)}
    return {**some, "plain": min(count, 4), "timed": min(count, 4), "drawn": 2 * count, "beside": min(count, 20)}


def text_beside(data: Path) -> list[str]:
    """Return the passages of running text that lie beside the editing data."""
    file = data.resolve().parent.parent / TEXT
    if not file.is_file():
        raise SystemExit(f"bench-editing: {file} is not there; it holds the running text for covariances")
    text = file.read_text(encoding="utf-8").replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".")
    return [line.replace("<unk>", "").strip() for line in text.splitlines() if line.strip()]


def figures(name: str, tally: Tally, targets: Targets) -> Iterator[Reading]:
    """Return the shares of a tally as figures, with what is to be reached."""
    for side in SIDES:
        values = getattr(tally, side)
        share, interval = mean(values)
        yield read(f"{name}: {side}", share, "share", len(values), interval, at_least=targets.get(side))


def spent(name: str, outcome: Outcome, count: int, at_most: float | None, baseline: float | None = None) -> Reading:
    """Return the CPU-seconds of an edit."""
    return read(f"{name}: an edit", outcome.cpu_seconds / count, "CPU-s", count, at_most=at_most, baseline=baseline)


class Editing:
    """The parts of the benchmark, on one model."""

    def __init__(self, bench: Bench, data: Path, model: str, seed: int, size: dict[str, int]) -> None:
        self.bench, self.data, self.seed, self.size = bench, data, seed, size
        self.source = base_model(model, bench.work / model)
        self.subject: Subject = open_subject(self.source)
        deep = len(self.subject.anatomy.blocks) > LAYERS[-1] + 1
        self.layers, self.late = (LAYERS, LATE) if deep else ((0,), (0,))
        self.more: dict[str, dict[str, Any]] = {} if deep else TINY
        self._setting: Setting | None = None

    @property
    def setting(self) -> Setting:
        """The setting, with covariances read once."""
        if self._setting is None:
            self._setting = Setting(self.subject, self.moments(TOKENS)[0], self.layers, WEIGHT)
        return self._setting

    @property
    def methods(self) -> dict[str, Write]:
        """What writes a batch with each method, by its name."""
        return methods(self.setting, THRESHOLD, RIDGE, RATE, self.late)

    def moments(self, tokens: int) -> tuple[Any, float]:
        """Read covariances; returns them and the CPU-seconds."""
        from amends_editing.covariance import read_moments

        began = time.process_time()
        anatomy, tokenizer = self.subject.anatomy, self.subject.tokenizer
        found = read_moments(anatomy, tokenizer, text_beside(self.data), self.layers, tokens)
        return found, time.process_time() - began

    def facts(self, count: int) -> list[Any]:
        """Return the first facts of the seed's order."""
        return known_facts(self.subject, self.data, count, self.seed)

    def records(self) -> Iterable[Reading]:
        """Say which records are taken: those that the model ranks right, and how many it would say by itself."""
        right, said, count = known_shares(self.subject, self.data, self.size["drawn"], self.seed)
        yield read("records that the model ranks right, P(true) > P(new)", right, "share", count)
        yield read("records whose answer the model says first", said, "share", count)

    def covariance(self) -> Iterable[Reading]:
        """Time the covariances, and edit with those of a tenth of the text as well."""
        found, seconds = self.moments(TOKENS)
        few, _ = self.moments(TOKENS // 10)
        self._setting = Setting(self.subject, found, self.layers, WEIGHT)
        yield read(f"covariance of {len(self.layers)} layers, {found.tokens} tokens", seconds, "CPU-s", at_most=600.0)
        facts = self.facts(self.size["batch"])
        fewer = Setting(self.subject, few, self.layers, WEIGHT)
        yield from figures("a tenth of the text", in_one_update(fewer, facts, fewer.memit).tally, {})

    def single(self) -> Iterable[Reading]:
        """Edit one fact at a time on a fresh model."""
        facts = self.facts(self.size["single"])
        yield from figures("unedited", ask(self.subject, facts), {})
        outcome = one_at_a_time(self.setting, facts, self.methods[FIRST])
        yield from figures("one at a time", outcome.tally, ALONE)
        yield spent("one at a time", outcome, len(facts), at_most=3.0)
        size = sum(parameter.numel() * 4 for parameter in self.subject.anatomy.model.parameters())
        yield read("artifact of one edit", outcome.bytes_of_one / 1e6, "MB")
        yield read("registered version, as plain clients load it", size / 1e6, "MB")
        yield read("artifact of one edit, of the model", outcome.bytes_of_one / size, "share", at_most=0.01)

    def time(self) -> Iterable[Reading]:
        """Say where the time of one edit goes."""
        return editing_time.measure(self.setting, self.methods[FIRST], self.facts(self.size["timed"]))

    def plain(self) -> Iterable[Reading]:
        """Follow the papers' plain procedure on a few of the same facts."""
        facts = self.facts(self.size["plain"])
        plain = editing_baseline.Plain(self.subject, self.setting.moments, self.layers, WEIGHT)
        tally, seconds = editing_baseline.one_at_a_time(plain, facts)
        ours = one_at_a_time(self.setting, facts, self.methods[FIRST])
        yield from figures("plain procedure", tally, {})
        yield spent("one at a time, beside the plain procedure", ours, len(facts), 0.1, seconds / len(facts))

    def batch(self) -> Iterable[Reading]:
        """Edit many facts in one update, with each method."""
        facts = self.facts(self.size["batch"])
        for name, write in self.methods.items():
            outcome = in_one_update(self.setting, facts, write)
            yield from figures(f"batch, {name}", outcome.tally, AT_ONCE if name == FIRST else {})
            limit = {FIRST: 3.0, "ultraedit": 0.1}.get(name)
            yield spent(f"batch, {name}", outcome, len(facts), limit)

    def beside(self) -> Iterable[Reading]:
        """Edit some facts beside the weights, with each method at its defaults."""
        facts = self.facts(self.size["beside"])
        yield from figures("beside the weights, unedited", ask(self.subject, facts), {})
        work, more = self.bench.empty("beside"), self.more
        for name, tally, seconds in editing_beside.measure(self.source, work, facts, self.seed, more):
            yield from figures(f"beside the weights, {name}", tally, {})
            yield read(f"beside the weights, {name}: an edit", seconds / len(facts), "CPU-s", len(facts))

    def sequence(self) -> Iterable[Reading]:
        """Edit many facts in a row of batches, and draw the curve."""
        facts = self.facts(self.size["sequence"])
        with in_a_row(self.setting, self.methods[FIRST], len(facts)) as write:
            yield from self.curve(f"{len(facts)} in a row", write, facts, "editing-sequence.png")

    def apart(self) -> Iterable[Reading]:
        """Edit as patches beside the weights: one fact at a time on a fresh model, and many at once."""
        few, many = self.facts(self.size["single"]), self.facts(self.size["batch"])
        outcome = patches_apart(self.subject, few)
        yield from figures("one patch at a time", outcome.tally, ALONE)
        yield spent("one patch at a time", outcome, len(few), at_most=3.0)
        outcome = patches_at_once(self.subject, many)
        yield from figures("patches at once", outcome.tally, AT_ONCE)
        yield spent("patches at once", outcome, len(many), at_most=3.0)

    def namesakes(self) -> Iterable[Reading]:
        """Say whom patches know, and whom they take for somebody."""
        return editing_namesakes.measure(self.subject, self.facts(self.size["batch"]))

    def patches(self) -> Iterable[Reading]:
        """Edit as many in a row as patches beside the weights."""
        facts = self.facts(self.size["sequence"])
        with patching(self.subject) as write:
            yield from self.curve(f"{len(facts)} patches in a row", write, facts, "editing-patches.png")

    def said(self) -> Iterable[Reading]:
        """Edit facts that the model says by itself, which are few, within the weights and as patches."""
        facts = known_facts(self.subject, self.data, min(self.size["batch"], SOME), self.seed, said=True)
        yield read("said: facts", len(facts), "facts")
        if not facts:
            return
        yield from figures("said, unedited", ask(self.subject, facts), {})
        yield from figures(f"said, {FIRST}", in_one_update(self.setting, facts, self.methods[FIRST]).tally, {})
        yield from figures("said, patches", patches_at_once(self.subject, facts).tally, {})

    @cached_property
    def shop(self) -> editing_probes.Workshop:
        """Where versions are made as a case makes them, with the text read once."""
        text = text_beside(self.data)
        return editing_probes.Workshop(self.source, self.bench.work, text, self.seed, self.more)

    def probes(self) -> Iterable[Reading]:
        """Read what follows from edits and how the model speaks after them."""
        follows = editing_probes.knowedit(self.data, self.size["batch"], self.seed)
        speaks = editing_probes.with_references(self.facts(min(self.size["batch"], SOME)), self.data)
        return editing_probes.measure(self.shop, follows, speaks)

    def relearning(self) -> Iterable[Reading]:
        """Teach erased facts again."""
        return editing_probes.taught_again(self.shop, self.facts(min(self.size["batch"], SOME)), FIRST)

    def curve(self, name: str, write: Any, facts: Sequence[Any], picture: str) -> Iterable[Reading]:
        """Follow the four shares and the perplexity over the facts."""
        text = text_beside(self.data)
        file = self.bench.output / picture
        return editing_sequence.measure(name, self.subject, write, facts, text, file, self.bench.say)

    def erasure(self) -> Iterable[Reading]:
        """Erase facts, with the method that the policy takes first."""
        return editing_erasure.measure(self.setting, self.facts(self.size["erased"]), self.methods[FIRST])


def main(argv: Sequence[str] | None = None) -> Path:
    """Measure every part and return the file with the figures."""
    given = options("editing", str(__doc__), argv)
    if given.data is None or not given.data.is_file():
        raise SystemExit("bench-editing: give CounterFact with --data FILE (make bench-editing DATA=FILE)")
    size = sizes(given.n)
    settings = {"layers": LAYERS, "weight": WEIGHT, "ridge": RIDGE, "threshold": THRESHOLD, "rate": RATE, "late": LATE}
    bench = Bench("editing", given, size | settings | {"tokens": TOKENS})
    parts = Editing(bench, given.data, given.model, given.seed, size)
    for name in PARTS:
        bench.part(name, getattr(parts, name))
    return bench.finish()


if __name__ == "__main__":
    main()
