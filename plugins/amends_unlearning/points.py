"""Write down how far a run is, so that one that was killed is gone on with, to the same bytes.

A checkpoint is safetensors behind a line of JSON, replaced whole or not at all. It names all that it depends on by a
digest, so that another run never goes on from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from amends.records import canonical_json, digest_of

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Point:
    """A checkpoint.

    Args:
        position: How many steps were behind it.
        chain: Of all that it depends on.
        tensors: Weights and optimiser.
        more: Whatever else the training needs, as JSON.
    """

    position: int
    chain: str
    tensors: Mapping[str, Tensor]
    more: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return a line of JSON, then safetensors."""
        header = canonical_json({"chain": self.chain, "more": dict(self.more), "position": self.position})
        whole = {name: self.tensors[name].detach().cpu().contiguous() for name in sorted(self.tensors)}
        return header + b"\n" + bytes(save_tensors(whole))


def read_point(data: bytes) -> Point:
    """Read what `Point.to_bytes` wrote."""
    header, _, body = data.partition(b"\n")
    told = json.loads(header)
    return Point(told["position"], told["chain"], load_tensors(body), told["more"])


class Halfway:
    """The last checkpoint of one run, in a file of its scratch directory.

    Args:
        file: Where it is.
        of: All that the run depends on, as JSON; a checkpoint of anything else is not looked at.
    """

    def __init__(self, file: Path, of: Mapping[str, Any]) -> None:
        self._file, self._chain = file, digest_of(dict(of))

    def found(self) -> Point | None:
        """Return the checkpoint of an earlier attempt at just this run, or None."""
        point = read_point(self._file.read_bytes()) if self._file.exists() else None
        return point if point is not None and point.chain == self._chain else None

    def keep(self, position: int, tensors: Mapping[str, Tensor], more: Mapping[str, Any] | None = None) -> None:
        """Replace the checkpoint."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._file, Point(position, self._chain, tensors, more or {}).to_bytes())


def taken(weights: Mapping[str, Tensor], optimiser: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Return copies of weights and, where there is an AdamW, of its moments; it has none before its first step."""
    found = {f"weight/{name}": tensor for name, tensor in weights.items()}
    for name, tensor in weights.items():
        state = {} if optimiser is None else optimiser.state.get(tensor, {})
        found |= {f"{kind}/{name}": state[kind] for kind in MOMENTS if kind in state}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def give_back(
    weights: Mapping[str, Tensor], optimiser: torch.optim.Optimizer | None, tensors: Mapping[str, Tensor]
) -> None:
    """Bring weights and optimiser to what `taken` gave."""
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(tensors[f"weight/{name}"])
            state = {kind: tensors.get(f"{kind}/{name}") for kind in MOMENTS}
            if optimiser is not None and state["step"] is not None:
                moved = {k: v if k == "step" else v.to(tensor.device) for k, v in state.items() if v is not None}
                optimiser.state[tensor] = moved


def replace_file(file: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("wb") as written:
        written.write(data)
        written.flush()
        os.fsync(written.fileno())
    partial.replace(file)
