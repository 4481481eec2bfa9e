"""kNN memory attention: one layer's heads also look into the documents (Wu et al., 2022, "Memorizing Transformers").

At one layer, about two thirds up, every head h looks up the k nearest of the documents' keys by q·k and attends to them
alone; a gate of its own mixes that with what it found in the prompt (section 3.2):

    V = g_h V_mem + (1 - g_h) V_local,   V_mem = softmax over its k nearest of (q·k / sqrt(size)) times their values

Queries and keys are taken before they are rotated, so a memory has no position: each lies at distance zero, as the
paper's memories carry no position bias either. The gates are fixed, or learnt in a few steps on the documents
themselves, each of which then looks into the others alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from amends import Seams, Setting
from amends_rag import attached
from amends_rag.anatomy import Attention, attention_of, hearing

KIND = "rag-memory"
STORE = "memory.safetensors"
AT_ONCE = 64  # queries a product


@dataclass(frozen=True, repr=False)
class Memory:
    """Keys and values of the documents' tokens at one layer.

    Args:
        keys: In float32, shape (groups, tokens, size); several heads may share a group.
        values: The same shape.
    """

    keys: Tensor
    values: Tensor

    def recall(self, queries: Tensor, k: int, hidden: slice | None = None) -> Tensor:
        """Return what each head finds for each query, shape (places, heads, size).

        Args:
            queries: Before they are rotated, shape (places, heads, size).
            k: How many memories a head attends to.
            hidden: Memories that must not be found: a document's own.
        """
        return torch.cat([self._recall(some, k, hidden) for some in torch.split(queries.float(), AT_ONCE)])

    def _recall(self, queries: Tensor, k: int, hidden: slice | None) -> Tensor:
        places, heads, size = queries.shape
        groups, tokens, _ = self.keys.shape
        asked = queries.transpose(0, 1).reshape(groups, -1, size)  # heads of one group stand together
        likeness = asked @ self.keys.transpose(1, 2) / size**0.5
        if hidden is not None:
            likeness[:, :, hidden] = -torch.inf
        best = likeness.topk(min(k, tokens), dim=-1)
        found = torch.stack([one[index] for one, index in zip(self.values, best.indices, strict=True)])
        mixed: Tensor = (best.values.softmax(-1).unsqueeze(-2) @ found).squeeze(-2)
        return mixed.reshape(heads, places, size).transpose(0, 1)


@contextmanager
def looking(attention: Attention, memory: Memory, gates: Tensor, k: int, hidden: slice | None = None) -> Iterator[None]:
    """Let a layer's heads look into a memory while the context lasts.

    Args:
        attention: The layer's.
        memory: What they look into.
        gates: Of the heads, in [0, 1], shape (heads,).
        k: How many memories a head attends to.
        hidden: See `Memory.recall`.
    """
    asked: list[Tensor] = []

    def mix(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        local = args[0].view(-1, attention.heads, attention.size)
        queries = asked.pop().reshape(-1, attention.heads, attention.size)
        found = memory.recall(queries, k, hidden).to(local)
        share = gates.to(local)[None, :, None]
        return ((local + share * (found - local)).view_as(args[0]), *args[1:])

    with hearing(attention.query, asked):
        hook = attention.output.register_forward_pre_hook(mix)
        try:
            yield
        finally:
            hook.remove()


@dataclass(frozen=True)
class Recalling:
    """The seams of a version with a memory at one layer.

    Args:
        attention: The layer's.
        memory: Of the documents.
        gates: Of the heads, as they were fixed or learnt.
        settings: `memory_k`, and `memory_gate`, which every gate is multiplied by.
        digest: Of the attachment.
    """

    attention: Attention = field(repr=False)
    memory: Memory = field(repr=False)
    gates: Tensor = field(repr=False)
    settings: Mapping[str, Setting]
    digest: str

    def before(self, prompt: str) -> str:
        """Return the prompt as it is."""
        return prompt

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Look into the memory while the context lasts; with every gate at zero nothing is touched."""
        gates = self.gates * float(self.settings["memory_gate"])
        if not bool(gates.any()):
            return nullcontext()
        return looking(self.attention, self.memory, gates, int(self.settings["memory_k"]))

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer as it is."""
        return answer

    def part(self, prompt: str) -> str:
        """Name the memory and how it is asked."""
        if not self.settings["memory_gate"]:
            return ""
        return f"{self.digest}/{sorted(self.settings.items())}"

    def tuned(self, settings: Mapping[str, Setting]) -> Seams:
        """Return these seams with other gates or another number of memories."""
        return replace(self, settings=checked(attached.changed(KIND, self.settings, settings)))


def checked(settings: Mapping[str, Setting]) -> Mapping[str, Setting]:
    """Return settings that can be used.

    Raises:
        BadInput: One is out of its bounds.
    """
    attached.between("memory_gate", settings["memory_gate"], 0.0, 1.0)
    attached.between("memory_k", settings["memory_k"], 1, 4096)
    return settings


def load(path: Path, model: Any) -> Recalling:
    """Load the memory at `path` onto a model."""
    kept = {name: tensor.float().to(model.device) for name, tensor in load_file(path / STORE).items()}
    attention = attention_of(model, int(attached.read_data(path)["layer"]))
    memory = Memory(kept["keys"], kept["values"])
    return Recalling(attention, memory, kept["gates"], attached.read_defaults(path), attached.digest_of_folder(path))
