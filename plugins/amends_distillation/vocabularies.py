"""Whether teacher and student read text by one vocabulary: told by what their tokenizers do, not by their size."""

from __future__ import annotations

import json
from typing import Any

from amends import BadInput
from amends.records import digest_of

PARTS = ("normalizer", "pre_tokenizer", "model", "added_tokens")


def digest_of_tokenizer(tokenizer: Any) -> str:
    """Return a digest of all that decides which ids a text becomes; two vocabularies of one size differ in it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return digest_of(sorted(tokenizer.get_vocab().items()))
    told = json.loads(backend.to_str())
    return digest_of({part: told.get(part) for part in PARTS})


def check_same(teacher: Any, student: Any) -> None:
    """Refuse a pair whose distributions cannot be compared token by token.

    Raises:
        BadInput: Their tokenizers make different ids of a text.
    """
    if digest_of_tokenizer(teacher) != digest_of_tokenizer(student):
        raise BadInput(
            "teacher and student read text by different vocabularies, so their distributions cannot be compared; "
            "use distillation.sequence, which teaches by text alone"
        )
