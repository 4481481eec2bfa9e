"""Find passages by their meaning: unit vectors of a sentence encoder, one text at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends.records import digest_of
from amends.serving.sentences import Encoder, sentence_encoder
from amends.store.digests import digest_file

Floats = NDArray[np.float32]

PACKAGED = "all-MiniLM-L6-v2"
SAFE = {"use_safetensors": True}
_READ = (".json", ".txt", ".safetensors", ".model")


class TextEncoder:
    """A sentence encoder with its name and digest; the same text always gives the same row.

    Args:
        directory: A local model; the packaged all-MiniLM-L6-v2, where nothing is said. A directory with
            `modules.json` is read by sentence-transformers, any other one is averaged over its tokens.

    Raises:
        BadInput: There is no model in the directory, or its weights are no safetensors.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or sentence_encoder()
        self.name = PACKAGED if directory is None else self.directory.name
        self.digest = model_digest(self.directory, "sentence encoder")
        self.is_packaged = directory is None

    @cached_property
    def _model(self) -> Any:
        if self.is_packaged or not (self.directory / "modules.json").is_file():
            return Encoder(self.directory)
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(self.directory), device="cpu", local_files_only=True, model_kwargs=SAFE)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.directory, local_files_only=True)

    @cached_property
    def dimension(self) -> int:
        """The length of a row."""
        return int(self.embed(["."]).shape[1])

    def count(self, text: str) -> int:
        """Return how many tokens a text has, without the marks of its ends."""
        return len(self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return a row of unit length per text, float32, shape (texts, dimension)."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        if isinstance(self._model, Encoder):
            rows = self._model.embed(texts).numpy()
        else:
            rows = np.stack([self._model.encode(text, normalize_embeddings=True) for text in texts])
        return np.ascontiguousarray(rows, np.float32)


@lru_cache(maxsize=16)
def model_digest(directory: Path, kind: str) -> str:
    """Return one digest of a local model's weights, tokenizer and configuration.

    Raises:
        BadInput: There is no model in the directory, or none with weights as safetensors, which alone are read.
    """
    try:
        found = {str(path.relative_to(directory)): digest_file(path) for path in files_of_model(directory)}
    except OSError:  # a name that no file system has, or a file that nobody may read
        found = {}
    if not found.keys() & {"config.json", "modules.json"}:
        raise BadInput(f"there is no {kind} in {str(directory)[:200]}; give a directory with a config.json")
    if not any(name.endswith(".safetensors") for name in found):
        raise BadInput(f"the {kind} in {directory} has no weights as safetensors; save it with them")
    return digest_of(found)


def files_of_model(directory: Path) -> list[Path]:
    """Return the files of a local model that are read, sorted."""
    return sorted(path for path in directory.rglob("*") if path.suffix in _READ and path.is_file())


@lru_cache(maxsize=2)
def open_encoder(directory: Path | None = None) -> TextEncoder:
    """Return the encoder of a directory, loaded once in a process."""
    return TextEncoder(directory)
