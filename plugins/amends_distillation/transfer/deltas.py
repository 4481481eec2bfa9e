"""What an operation changed in a model: the difference of two versions, by layer and map, as few directions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from amends import AmendsError, BadInput
from amends.operation.files import stream_tensors
from amends_distillation.transfer.anatomy import MAPS

Place = tuple[int, str]


@dataclass(frozen=True, eq=False)
class Change:
    """The change of one linear map, B A, with orthogonal directions, the longest first.

    Args:
        left: Directions of what is put out, shape (out, rank).
        sizes: Their singular values, shape (rank,).
        right: Directions of what goes in, shape (rank, in).
    """

    left: Tensor
    sizes: Tensor
    right: Tensor

    @property
    def whole(self) -> Tensor:
        """The change itself, shape (out, in)."""
        return (self.left * self.sizes) @ self.right

    @classmethod
    def of(cls, delta: Tensor, rank: int) -> Change:
        """Return the best change of some rank, or of every rank that is not noise where `rank` is 0.

        The sign of a pair of directions is free; it is taken so that the largest entry of the one that goes in is
        positive.
        """
        left, sizes, right = torch.linalg.svd(delta.double(), full_matrices=False)
        noise = sizes[0] * max(delta.shape) * torch.finfo(torch.float32).eps
        kept = int((sizes > noise).sum())
        kept = min(kept, rank) if rank else kept
        left, sizes, right = left[:, :kept], sizes[:kept], right[:kept]
        largest = right.abs().argmax(dim=1, keepdim=True)
        signs = right.gather(1, largest).sign()
        return cls(left * signs.T, sizes, right * signs)


def deltas(after: Path, before: Path) -> dict[Place, Tensor]:
    """Return by how much two versions differ in each linear map of their blocks, where they do.

    Raises:
        BadInput: They differ elsewhere, or are of different shapes.
        AmendsError: A weight is NaN or infinite.
    """
    names = {f"model.layers.{{}}.{module}.weight": name for name, module in MAPS.items()}
    new, old = dict(stream_tensors(after)), dict(stream_tensors(before))
    if {key: weight.shape for key, weight in new.items()} != {key: weight.shape for key, weight in old.items()}:
        raise BadInput(
            "the two versions are not of one build, so they have no difference; take a version and one made from it"
        )
    found: dict[Place, Tensor] = {}
    for key in [key for key, weight in new.items() if not torch.equal(weight, old[key])]:
        layer, pattern = _layer_of(key)
        if pattern not in names:
            raise BadInput(
                f"the two versions differ in {key}, and only the linear maps of the blocks can be carried; carry an "
                "edit of those alone"
            )
        delta = new[key].double() - old[key].double()
        if not bool(delta.isfinite().all()):
            raise AmendsError(f"{key} is NaN or infinite in a version; nothing is carried from it")
        found[layer, names[pattern]] = delta
    return dict(sorted(found.items()))


def _layer_of(key: str) -> tuple[int, str]:
    """Return the number of the layer that a tensor belongs to, and its name with a gap in the number's place."""
    parts = key.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    if number is None:
        return -1, key
    return int(parts[number]), ".".join([*parts[:number], "{}", *parts[number + 1 :]])
