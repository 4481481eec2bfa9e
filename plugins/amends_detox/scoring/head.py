"""A fitted head on sentence embeddings: a few thousand numbers as safetensors, and where they came from as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from amends import BadInput
from amends.store.digests import digest_bytes

WEIGHTS, FACTS = "head.safetensors", "head.json"


@dataclass(frozen=True, repr=False)
class Head:
    """Logits from embeddings: linear, or through one hidden layer of tanh units.

    Args:
        tensors: `weight` and `bias`, shape (attributes, width) and (attributes,), and perhaps `hidden.weight` and
            `hidden.bias`, shape (width, 384) and (width,).
        facts: Its attributes, the encoder's digest, what it was fitted on and by which command.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the log-odds of every attribute, shape (texts, attributes)."""
        known = {name: tensor.to(embeddings.dtype) for name, tensor in self.tensors.items()}
        if "hidden.weight" in known:
            embeddings = torch.tanh(embeddings @ known["hidden.weight"].T + known["hidden.bias"])
        return embeddings @ known["weight"].T + known["bias"]

    @cached_property
    def digest(self) -> str:
        """The sha256 of its weights."""
        return digest_bytes(save({name: tensor.contiguous() for name, tensor in self.tensors.items()}))


def write_head(directory: Path, head: Head) -> None:
    """Write a head as `head.safetensors` and `head.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / WEIGHTS).write_bytes(save({name: tensor.contiguous() for name, tensor in head.tensors.items()}))
    (directory / FACTS).write_text(json.dumps(head.facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_head(directory: Path, encoder: str) -> Head:
    """Read a head.

    Args:
        directory: Where `write_head` wrote it.
        encoder: The digest of the encoder that it will be used on.

    Raises:
        BadInput: It is not there, not whole, or was fitted on another encoder.
    """
    try:
        head = Head(load((directory / WEIGHTS).read_bytes()), json.loads((directory / FACTS).read_text("utf-8")))
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"there is no whole head in {directory}; write one with amends detox fit-scorer") from error
    attributes = head.facts.get("attributes", [])
    if "weight" not in head.tensors or head.tensors["weight"].shape[0] != len(attributes) or not attributes:
        raise BadInput(f"the head in {directory} and its {FACTS} disagree; fit it again")
    if head.facts.get("encoder") != encoder:
        raise BadInput(f"the head in {directory} was fitted on another encoder; fit it again on this one")
    return head
