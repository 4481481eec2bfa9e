"""Read pairs of a toxic text and a neutral one, and make tokens of them.

Where a corpus writes one side carelessly (ParaDetox has its toxic side lower-cased and without a final stop), the
difference between the sides is mostly that. `alike` writes both in one way, for methods that take the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from amends import BadRecords, Records
from amends.serving.encoding import encode_continuation, encode_text

STOPS = " \t\n.,;:!?…\"'"


@dataclass(frozen=True)
class Pair:
    """One text to be continued, which may be empty, and two continuations of it."""

    prompt: str = field(repr=False)
    toxic: str = field(repr=False)
    neutral: str = field(repr=False)

    def alike(self) -> Pair:
        """Return the pair with both sides in lower case and without a final stop."""
        if self.prompt:  # continuations that one model wrote, in one manner
            return self
        return Pair("", _plain(self.toxic), _plain(self.neutral))


@dataclass(frozen=True)
class Tokens:
    """A text's tokens, and which of them are looked at.

    Args:
        ids: All of them.
        start: The first of those that count, never that of the text: models keep a state of their own there, many
            times as long as any other (the attention sink), which would drown whatever is averaged with it.
    """

    ids: tuple[int, ...] = field(repr=False)
    start: int


def read_pairs(records: Records) -> list[Pair]:
    """Return the pairs; those with one text on both sides, as corpora have, say nothing and are left out.

    Raises:
        BadRecords: A side is empty, or no pair is left.
    """
    pairs = [_pair(number, row) for number, row in enumerate(records.rows(), start=1)]
    differing = [pair for pair in pairs if pair.toxic.strip() != pair.neutral.strip()]
    if not differing:
        raise BadRecords("there is no pair in these records; give at least one toxic text with another that is neutral")
    return differing


def _pair(number: int, row: Mapping[str, Any]) -> Pair:
    prompt, toxic, neutral = (str(row.get(name) or "") for name in ("prompt", "toxic", "neutral"))
    if not toxic.strip() or not neutral.strip():
        raise BadRecords(f"pair {number} lacks its toxic or its neutral text; write both")
    return Pair(prompt if prompt.strip() else "", toxic, neutral)


def _plain(text: str) -> str:
    words = " ".join(text.split()).lower()
    return words.rstrip(STOPS) or words


def read_texts(records: Records | None) -> list[str]:
    """Return texts that are to stay as they are: `text`, or else a prompt with its answer; none of no records.

    Raises:
        BadRecords: A row has none of these.
    """
    texts = []
    for number, row in enumerate(() if records is None else records.rows(), start=1):
        parts = [str(row.get(name) or "").strip() for name in ("text", "prompt", "answer")]
        text = parts[0] or " ".join(part for part in parts[1:] if part)
        if not text:
            raise BadRecords(f"row {number} of the texts to keep has neither text nor prompt; give it one")
        texts.append(text)
    return texts


def tokens_of(tokenizer: PreTrainedTokenizerBase, prompt: str, text: str) -> Tokens:
    """Tokenise a text after what it continues, apart, so that its tokens never depend on that.

    Raises:
        BadRecords: Nothing is left to look at.
    """
    first, then = encode_continuation(tokenizer, prompt, text) if prompt else ([], encode_text(tokenizer, text))
    if len(first) + len(then) < 2:
        raise BadRecords("a text of a pair is a single token; write a longer one")
    return Tokens((*first, *then), max(len(first), 1))
