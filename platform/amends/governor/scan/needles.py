"""The byte strings whose absence is to be shown. They are personal data themselves: in memory only."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amends.errors import Broken
from amends.governor.scan.forms import encoded, spellings, writings
from amends.governor.scan.tokenruns import Ids, written_runs
from amends.records import Disclosure, canonical_json, texts_of

SHORTEST_IDENTIFIER = 5  # bytes; a shorter one is met by chance in any large file
SHORTEST_TEXT = 12
SHORTEST_IDS = 8
PIECE = 1000  # characters; longer texts are searched piece by piece

Row = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Needle:
    """One byte string to look for: what it is part of (`source`) and how it is written (`form`)."""

    data: bytes
    source: str
    form: str


@dataclass(frozen=True, repr=False)
class Needles:
    """What to look for on behalf of one person; `left_out` counts, by reason, what cannot be looked for."""

    subject: str
    items: tuple[Needle, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Needles({self.subject}, {len(self.items)} strings)"

    def forms(self) -> dict[str, int]:
        """Return how many strings there are of each form, sorted."""
        return dict(sorted(Counter(item.form for item in self.items).items()))

    def to_bytes(self) -> bytes:
        """Return the needles as bytes, to be encrypted by the caller under the case's key before they rest anywhere."""
        rows = [[base64.b64encode(item.data).decode(), item.source, item.form] for item in self.items]
        return canonical_json({"subject": self.subject, "items": rows, "left_out": dict(self.left_out)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Needles:
        """Return the needles that `to_bytes` wrote.

        Raises:
            Broken: The bytes are something else.
        """
        try:
            value = json.loads(data)
            items = tuple(Needle(base64.b64decode(text), source, form) for text, source, form in value["items"])
            return cls(value["subject"], items, value["left_out"])
        except (ValueError, KeyError, TypeError):
            raise Broken("the stored needles cannot be read; build them again from the disclosure") from None


def build_needles(
    disclosure: Disclosure, records: Iterable[Row], retained: Iterable[Row], tokenizer: Any = None
) -> Needles:
    """Build what a scan looks for: identifiers, texts and token-id runs that are this person's alone.

    Args:
        disclosure: The person's identifiers in clear.
        records: The person's records.
        retained: Every record that is kept; what it says cannot show that somebody else is still here.
            For a living control person, give the records of all others.
        tokenizer: The model's tokenizer, for runs of ids; None leaves them out.
    """
    own, kept = tuple(records), tuple(retained)
    kept_text = "\n".join(text for row in kept for text in texts_of(row))
    left_out: Counter[str] = Counter()
    identifiers = _distinct(_identifiers(disclosure, kept_text, left_out))
    texts = _distinct(_texts(own, kept_text, left_out))
    bare = [item.data for item in identifiers]
    others = [item for item in texts if not any(data in item.data for data in bare)]
    runs = _distinct(_runs(own, kept, tokenizer)) if tokenizer is not None else []
    items = _distinct([*identifiers, *others, *runs])
    return Needles(disclosure.subject.pseudonym, tuple(items), dict(left_out))


def _identifiers(disclosure: Disclosure, kept_text: str, left_out: Counter[str]) -> Iterator[Needle]:
    for kind, values in disclosure.identifiers.items():
        for value in values:
            for spelling in spellings(kind, value):
                if spelling in kept_text:
                    left_out["spellings of an identifier that a kept record also has"] += 1
                elif len(encoded(spelling)) < SHORTEST_IDENTIFIER:
                    left_out["spellings of an identifier too short to tell from chance"] += 1
                else:
                    yield from _written(spelling, "identifier", SHORTEST_IDENTIFIER)


def _texts(records: Iterable[Row], kept_text: str, left_out: Counter[str]) -> Iterator[Needle]:
    for text in dict.fromkeys(piece for row in records for whole in texts_of(row) for piece in _pieces(whole)):
        if text in kept_text:
            left_out["texts that a kept record also has"] += 1
        elif len(encoded(text)) < SHORTEST_TEXT:
            left_out["texts too short to tell from chance"] += 1
        else:
            yield from _written(text, "text", SHORTEST_TEXT)


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def _written(text: str, source: str, shortest: int) -> Iterator[Needle]:
    return (Needle(data, source, form) for form, data in writings(text) if len(data) >= shortest)


def _runs(records: Sequence[Row], kept: Sequence[Row], tokenizer: Any) -> Iterator[Needle]:
    for form, data in written_runs(_sequences(records, tokenizer), _sequences(kept, tokenizer)):
        if len(data) >= SHORTEST_IDS:
            yield Needle(data, "ids", form)


def _sequences(rows: Sequence[Row], tokenizer: Any) -> list[Ids]:
    """Return the ids of every wording of the records, as training and probes see them; tokenised in one go."""
    from amends.serving.encoding import end_of, render

    pairs = list(dict.fromkeys(pair for row in rows for pair in _wordings(row)))
    if not pairs:
        return []
    asked = tokenizer([render(prompt) for prompt, _ in pairs], add_special_tokens=False)["input_ids"]
    answered = tokenizer([f" {answer}" for _, answer in pairs], add_special_tokens=False)["input_ids"]
    return [(*prompt, *answer, end_of(tokenizer)) for prompt, answer in zip(asked, answered, strict=True)]


def _wordings(row: Row) -> Iterator[tuple[str, str]]:
    prompt, answer = row["prompt"], row["answer"]
    yield from ((wording, answer) for wording in (prompt, *(row.get("paraphrases") or ())))
    yield from ((prompt, wrong) for wrong in row.get("wrong") or ())


def _distinct(items: Iterable[Needle]) -> list[Needle]:
    """Keep the first of needles with the same bytes."""
    found: dict[bytes, Needle] = {}
    for item in items:
        found.setdefault(item.data, item)
    return list(found.values())
