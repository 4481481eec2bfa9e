"""Write down how far a student is, so that teaching one that was killed goes on, to the same bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from amends.records import digest_of

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Checkpoint:
    """The last state of one run, in a file of its scratch directory, replaced whole or not at all.

    Args:
        file: Where it is.
        of: All that the run depends on, as JSON; a checkpoint of anything else is not looked at.
    """

    def __init__(self, file: Path, of: Mapping[str, Any]) -> None:
        self._file, self._bound = file, digest_of(dict(of))

    def keep(self, position: int, weights: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
        """Keep weights and moments after so many steps."""
        tensors = {f"weight/{name}": tensor.detach().contiguous() for name, tensor in weights.items()}
        for name, tensor in weights.items():
            state = optimiser.state.get(tensor, {})
            tensors |= {f"{kind}/{name}": state[kind].contiguous() for kind in MOMENTS if kind in state}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        save_file(tensors, partial, metadata={"bound": self._bound, "position": str(position)})
        os.replace(partial, self._file)

    def take(self, weights: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> int:
        """Bring weights and optimiser to where an earlier attempt at just this run was; return its steps, or 0."""
        if not self._file.exists():
            return 0
        with safe_open(self._file, framework="pt") as held, torch.no_grad():
            told = held.metadata()
            if told["bound"] != self._bound:
                return 0
            names = set(held.keys())
            for name, tensor in weights.items():
                tensor.copy_(held.get_tensor(f"weight/{name}"))
                found = {kind: held.get_tensor(f"{kind}/{name}") for kind in MOMENTS if f"{kind}/{name}" in names}
                if found:
                    optimiser.state[tensor] = {k: v if k == "step" else v.to(tensor.device) for k, v in found.items()}
            return int(told["position"])
