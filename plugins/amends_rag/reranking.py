"""Rank the best again by a cross-encoder, which reads question and passage together (Nogueira and Cho, 2019)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends_rag.dense import files_of_model, model_digest

Floats = NDArray[np.float32]

KIND = "cross-encoder"
CANDIDATES = 20
MOST = 1000


@dataclass(frozen=True)
class Rerank:
    """What ranks again, and how much of it.

    Args:
        name: The cross-encoder's name.
        digest: The digest of its files.
        candidates: So many of the best passages are read again; as many as are asked for, where those are more.
    """

    name: str
    digest: str
    candidates: int = CANDIDATES

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= MOST:
            raise BadInput(f"{self.candidates} candidates cannot be ranked again; take 1 to {MOST}")

    def row(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)


class Reranker:
    """A cross-encoder in a local directory; the same question and passage always get the same score.

    Args:
        directory: A model for sequence classification with one score, its weights as safetensors.
        candidates: How many passages it reads.

    Raises:
        BadInput: There is no such model.
    """

    def __init__(self, directory: Path, candidates: int = CANDIDATES) -> None:
        self.directory = directory
        self.rerank = Rerank(directory.name, model_digest(directory, KIND), candidates)

    @cached_property
    def _model(self) -> Any:
        import torch
        from sentence_transformers import CrossEncoder

        try:
            model = CrossEncoder(
                str(self.directory), device="cpu", local_files_only=True, activation_fn=torch.nn.Identity(),
                model_kwargs={"use_safetensors": True, "dtype": torch.float32, "attn_implementation": "eager"},
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BadInput(f"the {KIND} in {self.directory} cannot be loaded; save it again as a whole") from error
        if model.num_labels != 1:
            raise BadInput(f"the {KIND} in {self.directory} gives {model.num_labels} scores; give one that gives one")
        return model

    def scores(self, query: str, texts: Sequence[str]) -> Floats:
        """Return how well each text answers a query, shape (texts,); each pair is read alone.

        Raises:
            BadInput: A score is no number.
        """
        found = np.asarray(
            [self._model.predict([(query, text)], show_progress_bar=False)[0] for text in texts], np.float32
        )
        if not np.isfinite(found).all():
            raise BadInput(f"the {KIND} {self.rerank.name} gives scores that are no numbers; take another one")
        return found

    def copy_to(self, directory: Path) -> None:
        """Copy what the digest covers into a directory that is not there yet."""
        for file in files_of_model(self.directory):
            copy = directory / file.relative_to(self.directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)

    def check(self, digest: str) -> None:
        """Refuse to stand for another cross-encoder.

        Raises:
            BadInput: It has another digest.
        """
        if self.rerank.digest != digest:
            raise BadInput(
                f"passages were to be ranked again by the {KIND} {digest[:12]}, and {self.directory} has "
                f"{self.rerank.digest[:12]}; put that one back, or ground the model again with this one"
            )


def chosen(directory: str, digest: str, candidates: int) -> Reranker | None:
    """Return the cross-encoder that an operation's parameters name; None where they name none.

    Raises:
        BadInput: There is none in the directory, or it is not the one of the digest.
    """
    if not directory:
        return None
    found = open_reranker(Path(directory), candidates)
    if digest:
        found.check(digest)
    return found


def pinned(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with the digest of the cross-encoder, so that an erasure runs the step with the same or not.

    Raises:
        BadInput: There is no cross-encoder in the directory, or too many candidates are read.
    """
    if not parameters.get("rerank"):
        return dict(parameters)
    directory = Path(parameters["rerank"]).absolute()
    found = open_reranker(directory, parameters.get("candidates", CANDIDATES))
    return {"rerank_digest": found.rerank.digest, **parameters, "rerank": str(directory)}


@lru_cache(maxsize=2)
def open_reranker(directory: Path, candidates: int = CANDIDATES) -> Reranker:
    """Return the cross-encoder of a directory, loaded once in a process."""
    return Reranker(directory, candidates)
