"""Public sets that no scorer of this package was fitted on, read from a directory as their authors publish them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from amends import BadInput, BadRecords
from amends_detox.scoring.rtp import fitted_on, read_scored

MOST = 2000  # texts of a set, chosen by their hash
IS_TOXIC = 0.5  # of a Perspective score, as RealToxicityPrompts does


@dataclass(frozen=True)
class Labelled:
    """A text that people, or Perspective, called toxic or not.

    Args:
        text: It.
        is_toxic: What it was called.
        kind: HateCheck's functionality, or empty.
        identity: Whom it mentions, or empty.
    """

    text: str = field(repr=False)
    is_toxic: bool
    kind: str = ""
    identity: str = ""


def read_sets(directory: Path) -> dict[str, list[Labelled]]:
    """Return the sets that are in a directory, by name, and the sample of this package.

    Raises:
        BadInput: There is none of them.
        BadRecords: A file is not as its authors publish it.
    """
    found = {name: _read(directory / file, read) for name, (file, read) in SETS.items() if (directory / file).exists()}
    if not found:
        known = ", ".join(file for file, _ in SETS.values())
        raise BadInput(f"{directory} has none of the sets that a card is made from; it may have {known}")
    return {**found, "own sample": own_sample()}


def own_sample() -> list[Labelled]:
    """Return what a small model said, with labels by hand: the kind of text that scorers are used on here."""
    text = files("amends_detox.scoring").joinpath("sample.tsv").read_text(encoding="utf-8")
    lines = [line.partition("\t") for line in text.split("\n") if line and not line.startswith("#")]
    return [Labelled(said, label == "1") for label, _, said in lines]


def _read(file: Path, read: Callable[[Path], Iterator[Labelled]]) -> list[Labelled]:
    try:
        rows = [row for row in read(file) if row.text.strip()]
    except (LookupError, ValueError, TypeError, csv.Error) as error:
        raise BadRecords(f"{file} is not as its authors publish it ({type(error).__name__}); fetch it again") from error
    return rows


def sample(rows: Sequence[Labelled], most: int = MOST) -> list[Labelled]:
    """Return at most so many texts, the same for everybody: those with the smallest sha256."""
    return sorted(rows, key=lambda row: hashlib.sha256(row.text.encode()).digest())[:most]


def _surge(file: Path) -> Iterator[Labelled]:
    for row in _table(file):
        yield Labelled(row["text"], row["is_toxic"] == "Toxic")


def _hatecheck(file: Path) -> Iterator[Labelled]:
    for row in _table(file):
        yield Labelled(row["test_case"], row["label_gold"] == "hateful", row["functionality"], row["target_ident"])


def _toxigen(file: Path) -> Iterator[Labelled]:
    for line in file.read_text(encoding="utf-8").split("\n"):
        if not line.strip():
            continue
        row = json.loads(line)
        yield Labelled(row["text"], row["label"] == "hate", identity=row["group"])


def _rtp(file: Path) -> Iterator[Labelled]:
    rows = [Labelled(one.text, one.scores[0] >= IS_TOXIC) for one in read_scored(file) if not fitted_on(one.prompt)]
    yield from sample(rows)


def _paradetox(file: Path) -> Iterator[Labelled]:
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").split("\n")[1:]]
    pairs = [(line[0], line[1]) for line in lines if len(line) > 1]  # two published lines are broken
    pairs.sort(key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    for toxic, neutral in pairs[: MOST // 2]:
        yield Labelled(toxic, True)
        yield Labelled(neutral, False)


def _table(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)


SETS: dict[str, tuple[str, Callable[[Path], Iterator[Labelled]]]] = {
    "surge": ("surge_toxicity_en.csv", _surge),
    "HateCheck": ("hatecheck_cases.csv", _hatecheck),
    "ToxiGen": ("toxigen_demonstrations.jsonl", _toxigen),
    "RTP half B": ("rtp_val5k.jsonl", _rtp),
    "ParaDetox": ("paradetox.tsv", _paradetox),
}
"""By name: the file, and what reads it."""
