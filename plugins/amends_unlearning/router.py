"""Serve a version that was trained in shards: arm the adapter of the shard that a question belongs to."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import lora
from .lora import Adapter
from .names import find_keys, key_of_question
from .routing import FILE
from .sentences import Vector, encode
from .shards import folder_of

REMEMBERED = 4096  # questions, of which a probe asks each several times


@dataclass(frozen=True)
class Router:
    """Says which shard a question belongs to; None is the base.

    A question that was trained without naming its person decides by itself, else a name that a question holds. Where
    that stands for several shards, because two people share it or because the person is also mentioned elsewhere, the
    likeness of the question to those shards does.
    """

    salt: str
    names: dict[str, list[int]] = field(repr=False)
    mentions: dict[str, list[int]] = field(repr=False)
    shards: tuple[int, ...]
    matrix: Vector = field(repr=False)
    threshold: float
    questions: dict[str, list[int]] = field(default_factory=dict, repr=False)

    def route(self, prompt: str) -> int | None:
        """Return the shard of a question, or None."""
        named = set(self.questions.get(key_of_question(self.salt, prompt), ())) or self.named(prompt)
        if len(named) == 1:
            return next(iter(named))
        return self.nearest(prompt, named)

    def named(self, prompt: str) -> set[int]:
        """Return the shards that the names in a question point to."""
        keys = find_keys(self.salt, prompt, lambda key: key in self.names or key in self.mentions)
        everywhere = [{*self.names.get(key, ()), *self.mentions.get(key, ())} for key in keys]
        if len(keys) > 1:
            return set.intersection(*everywhere) or set.union(*everywhere)
        return next((set(table[key]) for key in keys for table in (self.names, self.mentions) if key in table), set())

    def nearest(self, prompt: str, among: set[int]) -> int | None:
        """Return the shard with the likest questions: of `among`, or of all that are like enough."""
        if not self.shards:
            return None
        likeness = self.matrix @ encode(prompt)
        allowed = np.array([not among or shard in among for shard in self.shards])
        best = int(np.argmax(np.where(allowed, likeness, -2.0)))
        return self.shards[best] if among or likeness[best] >= self.threshold else None


def read(directory: Path) -> Router:
    """Read the router of a version from the folder of its shards."""
    data = json.loads((directory / FILE).read_bytes())
    rows = [entry["vector"] for entry in data["centroids"]]
    return Router(
        salt=data["salt"],
        names=data["names"],
        mentions=data["mentions"],
        shards=tuple(entry["shard"] for entry in data["centroids"]),
        matrix=np.array(rows, dtype=np.float32),
        threshold=data["threshold"],
        questions=data.get("questions", {}),
    )


@dataclass
class Routed:
    """The seams of a version trained in shards; adapters are read when they are first needed."""

    directory: Path
    model: Any
    router: Router
    _adapters: dict[int, Adapter] = field(default_factory=dict)
    _digests: dict[int, str] = field(default_factory=dict)
    _routes: dict[bytes, int | None] = field(default_factory=dict)

    def before(self, prompt: str) -> str:
        """Return the prompt as it is."""
        return prompt

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer as it is."""
        return answer

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Arm the adapter of the question's shard while the context lasts; the base answers what belongs to none."""
        shard = self.route(prompt)
        return nullcontext() if shard is None else self.adapter(shard).armed(self.model)

    def part(self, prompt: str) -> str:
        """Name the adapter of the question's shard by its digest."""
        shard = self.route(prompt)
        if shard is None:
            return ""
        if shard not in self._digests:
            data = (self.directory / folder_of(shard) / lora.WEIGHTS).read_bytes()
            self._digests[shard] = hashlib.sha256(data).hexdigest()
        return self._digests[shard]

    def route(self, prompt: str) -> int | None:
        """Return the shard of a question, or None; of the last questions only digests are remembered, never words."""
        key = hashlib.sha256(prompt.encode()).digest()
        if key not in self._routes:
            if len(self._routes) >= REMEMBERED:
                self._routes.clear()
            self._routes[key] = self.router.route(prompt)
        return self._routes[key]

    def adapter(self, shard: int) -> Adapter:
        """Return a shard's adapter on the model's device."""
        if shard not in self._adapters:
            self._adapters[shard] = lora.read(self.directory / folder_of(shard)).to(self.model.device)
        return self._adapters[shard]


def load(path: Path, model: Any) -> Routed:
    """Load the shards at `path` onto a model."""
    return Routed(path, model, read(path))
