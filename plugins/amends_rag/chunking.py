"""Cut documents into passages at the borders of sentences, with an overlap, counted in the encoder's tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from amends import BadInput

Count = Callable[[str], int]

_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-ÞА-Я])|\n\s*\n|(?<=[。！？])")


@dataclass(frozen=True)
class Passage:
    """What is found and shown: a part of one document.

    Args:
        id: The document's id and the place among its passages, `DOCUMENT#3`; never a hash of the text.
        document: The id of the document, in a workspace the keyed id of a registered record.
        text: The words themselves.
        subjects: Pseudonyms of the people whom the document is about, as far as they are known.
    """

    id: str
    document: str
    text: str = field(repr=False)
    subjects: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return the passage as a JSON object."""
        return {"id": self.id, "document": self.document, "text": self.text, "subjects": list(self.subjects)}


@dataclass(frozen=True)
class Cut:
    """How documents are cut.

    Args:
        tokens: The most tokens of a passage.
        overlap: The most tokens of a passage's last sentences that the next passage begins with.
    """

    tokens: int = 128
    overlap: int = 32

    def __post_init__(self) -> None:
        if not 8 <= self.tokens <= 4096 or not 0 <= self.overlap <= self.tokens // 2:
            raise BadInput(
                f"passages of {self.tokens} tokens with an overlap of {self.overlap} cannot be cut; "
                "take 8 to 4096 tokens and at most half of them as overlap"
            )


def chunked(documents: Iterable[Mapping[str, Any]], count: Count, cut: Cut | None = None) -> Iterator[Passage]:
    """Yield the passages of documents in order.

    Args:
        documents: Rows with `id`, `text` and, where known, `subjects`.
        count: How many tokens a text has, by the encoder that will embed it.
        cut: How long passages are; 128 tokens with 32 of overlap, where nothing is said.
    """
    cut = cut or Cut()
    for row in documents:
        document, subjects = str(row["id"]), tuple(row.get("subjects") or ())
        for place, text in enumerate(pieces(str(row["text"]), count, cut)):
            yield Passage(f"{document}#{place}", document, text, subjects)


def pieces(text: str, count: Count, cut: Cut) -> Iterator[str]:
    """Yield the passages of one text: whole sentences, as many as fit, the last ones again at the next beginning."""
    held: list[tuple[str, int]] = []
    fresh = False
    for sentence in sentences(text):
        for part, size in _fitting(sentence, count, cut.tokens):
            if held and sum(length for _, length in held) + size > cut.tokens:
                if fresh:
                    yield " ".join(words for words, _ in held)
                held = _tail(held, min(cut.overlap, cut.tokens - size))
            held.append((part, size))
            fresh = True
    if held and fresh:
        yield " ".join(words for words, _ in held)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without the white space between them."""
    return [" ".join(part.split()) for part in _SENTENCE.split(text) if part and part.strip()]


def _tail(held: list[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    """Return the last sentences that have no more tokens together than `most`."""
    kept: list[tuple[str, int]] = []
    for part, size in reversed(held):
        most -= size
        if most < 0:
            break
        kept.insert(0, (part, size))
    return kept


def _fitting(sentence: str, count: Count, most: int) -> Iterator[tuple[str, int]]:
    """Yield a sentence, or its parts where it alone has more tokens than a passage."""
    size = count(sentence)
    if size <= most:
        yield sentence, size
        return
    words = sentence.split(" ")
    if len(words) == 1:
        words, glue = [sentence[: len(sentence) // 2], sentence[len(sentence) // 2 :]], ""
    else:
        glue = " "
    half = len(words) // 2
    for part in (glue.join(words[:half]), glue.join(words[half:])):
        yield from _fitting(part, count, most)
