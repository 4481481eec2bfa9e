"""What an operation and a probe are given: a directory in, a directory out, a seed, a way to report and to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from amends.errors import Cancelled

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[int, int, str], None]


class State(Protocol):
    """What later erasure needs: named blobs of this lineage, encrypted at rest, never part of a version."""

    def names(self) -> tuple[str, ...]:
        """Return the names of the blobs, sorted."""

    def get(self, name: str) -> bytes:
        """Return one blob's bytes; `KeyError` if there is none."""

    def put(self, name: str, data: bytes) -> None:
        """Keep a blob under a name, replacing an earlier one."""

    def drop(self, name: str) -> None:
        """Forget a blob; nothing happens if there is none."""


class NoState:
    """State that keeps nothing: what a probe, or a counterfactual that must start clean, is given."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of the blobs, sorted."""
        return tuple(sorted(self.blobs))

    def get(self, name: str) -> bytes:
        """Return one blob's bytes."""
        return self.blobs[name]

    def put(self, name: str, data: bytes) -> None:
        """Keep a blob in memory."""
        self.blobs[name] = data

    def drop(self, name: str) -> None:
        """Forget a blob."""
        self.blobs.pop(name, None)


class Memory(Protocol):
    """What was computed from digests alone, kept on this machine until one of them is erased."""

    def once(self, name: str, of: Iterable[str], make: Callable[[], bytes]) -> bytes:
        """Return what `make` gives, from an earlier run of the same name and digests where there was one."""


class NoMemory:
    """Computes everything anew."""

    def once(self, name: str, of: Iterable[str], make: Callable[[], bytes]) -> bytes:
        """Return what `make` gives."""
        return make()


def _silent(done: int, total: int, message: str) -> None:
    """Report to nobody."""


@dataclass
class _Work:
    scratch: Path
    seed: int
    threads: int = 1
    device: str = "cpu"
    report: Progress = field(default=_silent, repr=False)
    is_cancelled: Callable[[], bool] = field(default=lambda: False, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked this task to stop."""
        return self.is_cancelled()

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Report `done` of `total`; never put personal data into the message.

        Raises:
            Cancelled: Somebody asked this task to stop.
        """
        if self.cancelled:
            raise Cancelled("the task was cancelled")
        self.report(done, total, message)


@dataclass
class Task(_Work):
    """One run of an operation: reads `source`, writes `output`, draws randomness from `seed` only.

    Args:
        source: The version to change (`model/`, `attachments/`, `recipe.json`), or None.
        output: An empty directory; what is written there becomes the candidate.
        scratch: A directory of this attempt, for a resumable checkpoint; one that was killed on this machine hands
            its own down to the next of the same job.
        seed: The only source of randomness.
        state: Encrypted blobs of this lineage that a later erasure needs.
        source_digest: The source's tree digest, where the host knows it.
        models: Materialised versions for the operation's `ModelVersion` parameters, by parameter name.
        memory: For what takes long and follows from digests alone; what it keeps may vanish at any time.
    """

    source: Path | None = None
    source_digest: str = ""
    output: Path = Path()
    state: State = field(default_factory=NoState)
    models: dict[str, Path] = field(default_factory=dict)
    memory: Memory = field(default_factory=NoMemory)

    def load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Load the source's weights in float32 and its tokenizer.

        Raises:
            BadInput: The task has no source.
        """
        from amends.operation.files import load_model

        return load_model(self._source(), self.device)

    def save(self, model: Any, tokenizer: Any) -> None:
        """Write the model as an ordinary Hugging Face directory under `output/model`."""
        from amends.operation.files import save_model

        save_model(self.output, model, tokenizer)

    def keep_weights(self) -> None:
        """Carry the source's weights over to the output as they are: by reference where the host knows their digest."""
        from amends.operation.files import keep_weights

        keep_weights(self._source(), self.source_digest, self.output)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the source's tensors shard by shard, so that a closed form never holds the whole model."""
        from amends.operation.files import stream_tensors

        return stream_tensors(self._source())

    def _source(self) -> Path:
        from amends.errors import BadInput

        if self.source is None:
            raise BadInput("this task has no source model; give the operation one")
        return self.source


@dataclass
class ProbeTask(_Work):
    """One run of a probe: `model` and, where it compares, `reference`, both served with their attachments.

    Args:
        open_model: Serves a version's directory, each loaded once; the host fills it in.
        model_path: The version to measure.
        reference_path: The parent, gold or counterfactual to compare with, or None.
        models: Materialised versions for the probe's `ModelVersion` parameters, by parameter name.
    """

    model_path: Path = Path()
    reference_path: Path | None = None
    models: dict[str, Path] = field(default_factory=dict)
    open_model: Callable[[Path], Any] = field(default=lambda path: None, repr=False)

    @property
    def model(self) -> Any:
        """The served model (`amends.serving.Model`)."""
        return self.open_model(self.model_path)

    @property
    def reference(self) -> Any:
        """The served reference, or None."""
        return None if self.reference_path is None else self.open_model(self.reference_path)
