"""Edit as a case does, and read what the probes read besides: what follows from an edit, how the model speaks after it.

What follows is asked on KnowEdit (Zhang et al., 2024), whose answers need not be known before. Speech is read on
CounterFact, whose other records about the same answer are the texts that consistency compares with. Erased facts are
taught again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from editing_beside import row_of
from figures import Reading, read
from material import Row, write
from unlearning_runs import opened, run

from amends import ProbeTask, Records, host
from amends_editing.facts import Fact
from amends_editing.files import read_edits

FILE = "knowedit_wiki_counterfact_test_cf.json"
METHODS = ("alphaedit", "patch")  # the first of policies/editing.yaml within the weights, and beside them
FOLLOWS = ("editing.accuracy", "editing.portability", "editing.reverse")
SPEAKS = ("editing.fluency",)
REFERENCES = 10  # texts about an answer


@dataclass
class Remembered:
    """What a run computed, for the next run of the same part: the statistics of running text."""

    kept: dict[tuple[str, ...], bytes] = field(default_factory=dict)

    def once(self, name: str, of: Iterable[str], make: Callable[[], bytes]) -> bytes:
        """Return what `make` gives, computed once."""
        key = (name, *of)
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


@dataclass
class Workshop:
    """Where versions are made and asked.

    Args:
        base: The version that is edited.
        work: A folder for what is made; what it holds already is not made again.
        text: Running text.
        seed: Of operations and probes.
        more: Parameters of an operation that are not its defaults.
    """

    base: Path
    work: Path
    text: Sequence[str]
    seed: int
    more: Mapping[str, dict[str, Any]]
    memory: Remembered = field(default_factory=Remembered)

    @cached_property
    def unedited(self) -> Any:
        """The version that is edited, opened once."""
        return opened(self.base)

    def edited(self, method: str, name: str, rows: Sequence[Row]) -> Path:
        """Return the version with these edits."""
        output = self.work / f"{name}-{method}"
        records = {"edits": rows, "text": [{"text": passage} for passage in self.text]}
        given = self.more.get(method, {})
        run(f"editing.{method}", self.base, output, records, seed=self.seed, memory=self.memory, **given)
        return output

    def asked(
        self, title: str, version: Path, probes: Sequence[str], rows: Sequence[Row], **more: Any
    ) -> Iterator[Reading]:
        """Yield what the probes read of a version about these edits; what none of them asks is no reading."""
        records = Records("", write(self.work / "asked.jsonl", rows))
        model = self.unedited if version == self.base else opened(version)
        task = ProbeTask(self.work, self.seed, model_path=version, open_model=lambda path: model)
        for name in probes:
            for one in host.load().probe(name)(task, edits=records, **more):
                if not one.n:
                    continue
                interval = None if one.low is None or one.high is None else (one.low, one.high)
                yield read(f"{title}: {one.name.removeprefix('editing.')}", one.value, one.unit, one.n, interval)


def knowedit(data: Path, count: int, seed: int) -> list[Row]:
    """Return facts that bring questions about what follows, one for each subject, in an order that the seed draws.

    Raises:
        SystemExit: KnowEdit does not lie beside the data.
    """
    file = data.parent / FILE
    if not file.is_file():
        raise SystemExit(f"bench-editing: {file} is not there; it holds KnowEdit's questions about what follows")
    rows = [row for row in read_edits(file) if row["portability"] and row["subject"] in row["prompt"]]
    random.Random(seed).shuffle(rows)
    return list({row["subject"]: row for row in reversed(rows)}.values())[::-1][:count]


def with_references(facts: Sequence[Fact], data: Path) -> list[Row]:
    """Return facts as rows with the sentences of other subjects that have the fact's new answer already."""
    sentences: dict[str, dict[str, str]] = {}
    for row in read_edits(data):
        sentences.setdefault(row["old"], {})[row["subject"]] = f"{row['prompt']} {row['old']}."
    found = []
    for fact in facts:
        others = [text for name, text in sentences.get(fact.target, {}).items() if name != fact.subject]
        found.append({**row_of(fact), "references": others[:REFERENCES]})
    return found


def measure(shop: Workshop, follows: Sequence[Row], speaks: Sequence[Row]) -> Iterator[Reading]:
    """Read both kinds of probes on the unedited model and after each method."""
    yield from shop.asked("unedited", shop.base, FOLLOWS, follows)
    yield from shop.asked("unedited", shop.base, SPEAKS, speaks)
    for method in METHODS:
        yield from shop.asked(method, shop.edited(method, "follows", follows), FOLLOWS, follows)
        yield from shop.asked(method, shop.edited(method, "speaks", speaks), SPEAKS, speaks)


def taught_again(shop: Workshop, facts: Sequence[Fact], method: str) -> Iterator[Reading]:
    """Erase facts, and read every sign of them before and after, five steps of relearning among them."""
    rows = [{**row_of(fact), "verb": "erase", "target": ""} for fact in facts]
    for title, version in (("unedited", shop.base), (f"erased by {method}", shop.edited(method, "erased", rows))):
        yield from shop.asked(title, version, ("editing.erasure",), rows, relearned=len(rows))
