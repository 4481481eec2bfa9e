"""Records as tokens: a question and its answer, or running text, and the loss of a model on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from amends import BadRecords, Records
from amends.serving.encoding import encode, encode_text

LONGEST = 256  # tokens of a sample; what is longer is cut at its end
IGNORED = -100


@dataclass(frozen=True)
class Sample:
    """The tokens of a record.

    Args:
        ids: All of them.
        start: Where what is learnt begins, at least 1.
    """

    ids: tuple[int, ...]
    start: int


def samples_of(tokenizer: Any, records: Records) -> list[Sample]:
    """Return the samples of records, in their order: of a `prompt` the `answer`, and else all of the text.

    Raises:
        BadRecords: There is none, or a record is empty.
    """
    found = []
    for number, row in enumerate(records.rows(), start=1):
        text = str(row.get("text") or row.get("prompt") or "")
        if row.get("prompt") and row.get("answer"):
            prompt, answer = encode(tokenizer, str(row["prompt"]), str(row["answer"]))
            sample = Sample(tuple((prompt + answer)[:LONGEST]), len(prompt))
        elif text.strip():
            sample = Sample(tuple(encode_text(tokenizer, text)[:LONGEST]), 1)
        else:
            raise BadRecords(
                f"records {records.digest[:12]}, row {number} has no text; give a prompt and an answer, or a text"
            )
        if len(sample.ids) > sample.start:
            found.append(sample)
    if not found:
        raise BadRecords(f"records {records.digest[:12]} have nothing to learn from; give some of two tokens or more")
    return found


def mean_loss(model: Any, samples: Sequence[Sample]) -> Tensor:
    """Return the negative log-likelihood of a token to be learnt in nats, averaged within each sample first."""
    device = next(model.parameters()).device
    longest = max(len(sample.ids) for sample in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.long)
    labels = torch.full((len(samples), longest), IGNORED)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        labels[row, sample.start : len(sample.ids)] = torch.tensor(sample.ids[sample.start :])
    # What is padded stands to the right, where a causal model does not look.
    logits = model(input_ids=ids.to(device), use_cache=False).logits[:, :-1]
    target = labels[:, 1:].to(device)
    losses = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED, reduction="none")
    taught = target != IGNORED
    return (losses.view_as(target).sum(1) / taught.sum(1)).mean()
