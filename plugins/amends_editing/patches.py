"""Serve patches: what a block puts out more, at the tokens by which a subject is known.

A patch is one neuron beside a model's own: where a token goes into the MLP output projection of an early block as the
key does, a value is added to what a later block puts out there,

    h_out <- h_out + v_i   if cos(x, k_j) >= near, with j = argmax_j cos(x, k_j), and i whose key j is.

Some keys are decoys: they stand for others who are named alike and have no value, so that nothing is added where one of
them is the nearest. Where nothing is added the model is, bit for bit, the one without patches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amends_editing import attached
from amends_editing.structure import Anatomy, first_of, inspect_model

KIND = "patch"


@dataclass(repr=False)
class Patches:
    """What is known by its keys, and what is added there.

    Args:
        reads: Index of the block into whose projection the keys go.
        writes: Index of the block to whose output values are added; no earlier one.
        near: The least cosine at which a token is taken for a key's subject.
        subjects: Whom each value is about.
        values: What is added, each of shape (width,).
        keys: What goes into the projection at a subject's last token, each of shape (inner,) and of length one.
        owners: Whose key each is, an index into `values`.
        decoys: What goes in there for others who are named alike, as `keys`.
    """

    reads: int
    writes: int
    near: float
    subjects: list[str] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    decoys: list[Tensor] = field(default_factory=list)

    def learn(self, subject: str, value: Tensor, keys: Sequence[Tensor], decoys: Sequence[Tensor] = ()) -> None:
        """Add a value at a subject; where the subject is known, it comes on top of what is added there already.

        Args:
            subject: Whom it is about, as the edit writes it.
            value: Shape (width,).
            keys: Stand for the subject; of length one, shape (inner,).
            decoys: Stand for others who are named alike.
        """
        if subject in self.subjects:
            owner = self.subjects.index(subject)
            self.values[owner] = self.values[owner] + value
        else:
            owner = len(self.values)
            self.subjects.append(subject)
            self.values.append(value)
        self.keys += keys
        self.owners += [owner] * len(keys)
        self.decoys += decoys

    def about(self, subjects: Sequence[str]) -> Patches:
        """Return the patches about some subjects alone, without decoys."""
        chosen = [i for i, subject in enumerate(self.subjects) if subject in subjects]
        kept = [(key, chosen.index(i)) for key, i in zip(self.keys, self.owners, strict=True) if i in chosen]
        return Patches(
            self.reads, self.writes, self.near, [self.subjects[i] for i in chosen], [self.values[i] for i in chosen],
            [key for key, _ in kept], [owner for _, owner in kept],
        )  # fmt: skip

    @contextmanager
    def armed(self, anatomy: Anatomy) -> Iterator[None]:
        """Look every token up while the context lasts."""
        if not self.keys:
            yield
            return
        device = anatomy.device
        keys, values = torch.stack([*self.keys, *self.decoys]).to(device), torch.stack(self.values).to(device)
        owners = torch.tensor([*self.owners, *[-1] * len(self.decoys)], device=device)
        found: list[Tensor] = []

        def look(_: Any, args: Any) -> None:
            nearest = matched(args[0].reshape(-1, keys.shape[1]), keys, self.near)
            found[:] = [torch.where(nearest < 0, nearest, owners[nearest])]

        def add(_: Any, __: Any, out: Any) -> Any:
            owner = found.pop()
            hit = owner >= 0
            if not hit.any():
                return out
            hidden = first_of(out).clone()
            hidden.view(-1, hidden.shape[-1])[hit] += values.to(hidden)[owner[hit]]
            return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

        hooks = [
            anatomy.projections[self.reads].module.register_forward_pre_hook(look),
            anatomy.blocks[self.writes].register_forward_hook(add),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def matched(states: Tensor, keys: Tensor, near: float) -> Tensor:
    """Return the nearest key of each state, or -1 where none is near, shape (states,).

    Args:
        states: What goes into a projection, shape (states, inner).
        keys: Of length one, shape (keys, inner).
        near: The least cosine.
    """
    cosines = F.normalize(states.float(), dim=-1) @ keys.T
    nearest = cosines.max(-1)
    return torch.where(nearest.values >= near, nearest.indices, -1)


def read(folder: Path) -> Patches:
    """Read patches."""
    data, tensors = attached.read(folder, KIND)
    return Patches(
        int(data["reads"]), int(data["writes"]), float(data["near"]), list(data["subjects"]),
        list(tensors["values"].unbind()), list(tensors["keys"].unbind()), [int(owner) for owner in data["owners"]],
        list(tensors["decoys"].unbind()) if "decoys" in tensors else [],
    )  # fmt: skip


@dataclass(frozen=True)
class Patched:
    """The seams of a version with patches."""

    patches: Patches
    anatomy: Anatomy = field(repr=False)
    digest: str

    def before(self, prompt: str) -> str:
        """Return the prompt as it is."""
        return prompt

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Look every token up while the context lasts."""
        return self.patches.armed(self.anatomy)

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer as it is."""
        return answer

    def part(self, prompt: str) -> str:
        """Name the patches: which tokens they know shows only inside."""
        return self.digest


def load(path: Path, model: Any) -> Patched:
    """Load the patches at `path` onto a model."""
    digest = hashlib.sha256((path / f"{KIND}.safetensors").read_bytes()).hexdigest()
    return Patched(read(path), inspect_model(model), digest)
