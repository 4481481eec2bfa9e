"""Compare a generated answer with the true one, by the words that the host compares texts by."""

from __future__ import annotations

from amends.operation.wording import RougeL, rouge_l

__all__ = ["RougeL", "rouge_l"]
