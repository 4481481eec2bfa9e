"""Serve patches: what a block puts out more, at the tokens by which a subject is known.

A patch is one neuron beside a model's own: where a token goes into the MLP output projection of an early block as the
key does, a value is added to what a later block puts out there,

    h_out <- h_out + v_i   if cos(x, k_j) >= near_j, with j = argmax_j cos(x, k_j), and i whose key j is.

Some keys are decoys: they stand for others who are named alike, and for the first token of any text, and have no value,
so that nothing is added where one of them is the nearest. Where nothing is added the model is, bit for bit, the one
without patches.
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
from amends_editing.facts import Fact, Verb
from amends_editing.structure import Anatomy, first_of, inspect_model

KIND = "patch"


@dataclass(repr=False)
class Keys:
    """What stands for a subject, or for others than it: keys of length one, with how near a token must come.

    Args:
        keys: What goes into the projection, shape (keys, inner).
        near: The least cosine with each, shape (keys,).
    """

    keys: Tensor
    near: Tensor

    def __len__(self) -> int:
        return len(self.near)

    def __add__(self, other: Keys) -> Keys:
        return Keys(torch.cat([self.keys, other.keys]), torch.cat([self.near, other.near]))

    def split(self, sizes: Sequence[int]) -> list[Keys]:
        """Return them in parts of these sizes."""
        parts = zip(torch.split(self.keys, list(sizes)), torch.split(self.near, list(sizes)), strict=True)
        return [Keys(*some) for some in parts]

    def matched(self, states: Tensor) -> Tensor:
        """Return the nearest key of each state, or -1 where that is not near enough, shape (states,).

        Args:
            states: What goes into the projection, shape (states, inner).
        """
        if not len(self):
            return torch.full((len(states),), -1, device=states.device)
        nearest = (F.normalize(states.float(), dim=-1) @ self.keys.T).max(-1)
        return torch.where(nearest.values >= self.near[nearest.indices], nearest.indices, -1)


@dataclass(repr=False)
class Patch:
    """What is known of one subject.

    Args:
        facts: What was told of it, oldest first; each has the subject as edits write it.
        value: What is added, shape (width,).
        keys: By which it is known.
        decoys: By which others who are named alike are.
    """

    facts: tuple[Fact, ...]
    value: Tensor
    keys: Keys
    decoys: Keys

    @property
    def subject(self) -> str:
        """Whom it is about."""
        return self.facts[0].subject


@dataclass(repr=False)
class Patches:
    """All patches of a version.

    Args:
        reads: Index of the block into whose projection the keys go.
        writes: Index of the block to whose output values are added; no earlier one.
        near: The least cosine at which a token is taken for a key's subject, for keys to come.
        first: A decoy for the first token of any text, of which all have nearly the same key; shape (1, inner).
        by_subject: One for each subject, in the order in which they were learnt.
    """

    reads: int
    writes: int
    near: float
    first: Tensor
    by_subject: dict[str, Patch] = field(default_factory=dict)
    _ready: dict[str, tuple[Keys, Tensor, Tensor]] = field(default_factory=dict, init=False)

    def learn(self, patch: Patch) -> None:
        """Take a patch in; it takes the place of the one about its subject."""
        self.by_subject[patch.subject] = patch
        self._ready.clear()

    def known(self, device: Any = "cpu") -> tuple[Keys, Tensor, Tensor]:
        """Return all keys and decoys, the number of the patch of each, -1 for decoys, and the patches' values."""
        if str(device) not in self._ready:
            keys, owners, values = self._known()
            there = Keys(keys.keys.to(device), keys.near.to(device))
            self._ready[str(device)] = there, owners.to(device), values.to(device)
        return self._ready[str(device)]

    def _known(self) -> tuple[Keys, Tensor, Tensor]:
        patches = list(self.by_subject.values())
        first = Keys(self.first, torch.full((len(self.first),), self.near))
        parts = [*(patch.keys for patch in patches), *(patch.decoys for patch in patches), first]
        keys = Keys(torch.cat([some.keys for some in parts]), torch.cat([some.near for some in parts]))
        owners = [number for number, patch in enumerate(patches) for _ in range(len(patch.keys))]
        owners += [-1] * (len(keys) - len(owners))
        return keys, torch.tensor(owners), torch.stack([patch.value for patch in patches])

    @contextmanager
    def armed(self, anatomy: Anatomy) -> Iterator[None]:
        """Look every token up while the context lasts."""
        if not self.by_subject:
            yield
            return
        keys, owners, values = self.known(anatomy.device)
        found: list[Tensor] = []

        def look(_: Any, args: Any) -> None:
            nearest = keys.matched(args[0].reshape(-1, args[0].shape[-1]))
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


def written(patches: Patches) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return patches as JSON and tensors."""
    everyone = list(patches.by_subject.values())
    told = [
        {
            "subject": patch.subject,
            "facts": [{"id": fact.id, "prompt": fact.prompt, "target": fact.target} for fact in patch.facts],
            "keys": len(patch.keys),
            "decoys": len(patch.decoys),
        }
        for patch in everyone
    ]
    known, _, values = patches.known()
    tensors = {"values": values, "keys": known.keys, "near": known.near}
    return {"reads": patches.reads, "writes": patches.writes, "near": patches.near, "patches": told}, tensors


def read(folder: Path) -> Patches:
    """Read patches."""
    data, tensors = attached.read(folder, KIND)
    counts = [int(one[part]) for part in ("keys", "decoys") for one in data["patches"]]
    *parts, first = Keys(tensors["keys"], tensors["near"]).split([*counts, len(tensors["keys"]) - sum(counts)])
    mine, others = parts[: len(data["patches"])], parts[len(data["patches"]) :]
    patches = Patches(int(data["reads"]), int(data["writes"]), float(data["near"]), first.keys)
    for one, value, keys, decoys in zip(data["patches"], tensors["values"], mine, others, strict=True):
        facts = [Fact(fact["id"], Verb.MODIFY, one["subject"], fact["prompt"], fact["target"]) for fact in one["facts"]]
        patches.learn(Patch(tuple(facts), value, keys, decoys))
    return patches


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
