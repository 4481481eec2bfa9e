"""Seams that a plugin can fill: stores of a subject's data, and run-time parts of a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from amends.records import Disclosure


class Workspace(Protocol):
    """What a plugin may know of the workspace."""

    @property
    def home(self) -> Path:
        """The workspace's directory."""


@dataclass(frozen=True)
class Finding:
    """One place in a store that holds a subject, named without personal data."""

    store: str
    place: str
    count: int = 1


@runtime_checkable
class Store(Protocol):
    """A place where a subject's data lives; every method is idempotent."""

    name: str

    def locate(self, disclosure: Disclosure) -> Iterable[Finding]:
        """Yield where the subject is."""

    def erase(self, disclosure: Disclosure) -> Iterable[Finding]:
        """Erase the subject and yield what was erased."""

    def verify(self, disclosure: Disclosure) -> Iterable[Finding]:
        """Yield what is still there; an empty answer claims absence."""


class Seams(Protocol):
    """A loaded attachment: what it does before, inside and after the model."""

    def before(self, prompt: str) -> str:
        """Return the prompt that the model shall see."""

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Arm the model for this prompt, as given before any `before`, while the context lasts."""

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer that the caller shall see."""


@runtime_checkable
class Named(Protocol):
    """Seams that can name what they arm, so that versions which share it are measured once."""

    def part(self, prompt: str) -> str:
        """Name what `inside` arms for this prompt: equal names, equal weights armed; empty where nothing is."""


@runtime_checkable
class Ending(Protocol):
    """Seams that know how the model goes on once it has answered a prompt of theirs, so that it need not."""

    def ending(self, prompt: str) -> str:
        """Return the text that ends an answer to this prompt and is no part of it; empty where none does."""


Setting = str | int | float
SETTINGS = "settings.json"


@runtime_checkable
class Tunable(Protocol):
    """Seams with settings that whoever asks may change for one request, such as how much is retrieved.

    The attachment's folder holds the same names with their defaults in `settings.json`, so that MLflow can list them
    without loading anything. A name belongs to one kind of attachment: begin it with that kind's own word.
    """

    @property
    def settings(self) -> Mapping[str, Setting]:
        """The settings that can be changed, with their values now."""

    def tuned(self, settings: Mapping[str, Setting]) -> Seams:
        """Return these seams with some settings changed; they themselves stay as they are."""


@runtime_checkable
class Attachment(Protocol):
    """A run-time part of a version that is not weights; `kind` names its folder under `attachments/`."""

    kind: str

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the part at `path` onto a model (a `PreTrainedModel`)."""
