"""From records to windows of tokens: what a student is taught on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, BadRecords, Records
from amends.serving.encoding import beginning, encode_text, end_of, render

SHORTEST = 8


def text_of(row: Mapping[str, Any]) -> str:
    """Return a row's text: `text`, or the prompt as it stands, or prompt and answer in the template of all models."""
    if row.get("text"):
        return str(row["text"])
    if row.get("answer"):
        return f"{render(str(row['prompt']))} {row['answer']}"
    return str(row.get("prompt", ""))


def texts_of(records: Records) -> list[str]:
    """Return the texts of records in the order of their ids, so that the order of a file decides nothing.

    Raises:
        BadRecords: None has any text.
    """
    rows = sorted(records.rows(), key=lambda row: str(row.get("id", "")))
    found = [text for text in map(text_of, rows) if text.strip()]
    if not found:
        raise BadRecords(f"records {records.digest[:12]} have no text; give each a 'text', or a prompt")
    return found


def windows(tokenizer: Any, texts: Iterable[str], length: int) -> Tensor:
    """Return the texts one after another, cut into windows, ids of shape (windows, length).

    Each text ends with the end of a sequence. What does not fill the last window is left out; texts that do not even
    fill one give one shorter window.

    Args:
        tokenizer: The student's.
        texts: What to cut.
        length: Tokens in a window; the first of each is only read, not predicted.

    Raises:
        BadInput: The length is too short, or there are too few tokens for any window.
    """
    if length < SHORTEST:
        raise BadInput(f"length is {length}; give a window at least {SHORTEST} tokens")
    ids = [one for text in texts for one in (*_ids(tokenizer, text), end_of(tokenizer))]
    if len(ids) < SHORTEST:
        raise BadRecords(f"the texts have {len(ids)} tokens together; give at least {SHORTEST}")
    length = min(length, len(ids))
    return torch.tensor(ids[: len(ids) // length * length]).view(-1, length)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids = encode_text(tokenizer, text)
    return ids[len(beginning(tokenizer)) :]
