"""The directory that MLflow is given: a version's files as they are, and beside them what is MLflow's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amends.errors import BadInput
from amends.store.trees import Manifest, read_manifest

# What stands beside the files of a version: MLflow's own files, and the tokenizer where its transformers flavor looks.
ADDED = frozenset({"MLmodel", "registered_model_meta", "conda.yaml", "python_env.yaml", "requirements.txt"})
ADDED_FOLDER = "components/tokenizer/"


def tree_of(directory: Path) -> Manifest:
    """Return the manifest of a directory without what MLflow added to it."""
    found = read_manifest(directory)
    return Manifest({name: entry for name, entry in found.files.items() if not is_added(name)})


def is_added(name: str) -> bool:
    """Whether a file beside a version's own was put there for MLflow."""
    return name in ADDED or name.startswith(ADDED_FOLDER)


def check_directory(directory: Path, manifest: Manifest) -> None:
    """Refuse a directory that is not the tree with an `MLmodel` beside it.

    Raises:
        BadInput: A file is missing, changed or too many, or there is no `MLmodel`.
    """
    if (directory / "base").is_symlink():
        raise BadInput(f"{directory.name} links its base; give the version's own files only")
    if not (directory / "MLmodel").is_file():
        raise BadInput(f"{directory.name} has no MLmodel file; write one beside the tree")
    if tree_of(directory).digest != manifest.digest:
        raise BadInput(f"{directory.name} does not hold the files of its manifest; materialise the version again")


def files_of(directory: Path) -> Iterator[str]:
    """Yield every file of a directory by its relative name."""
    return (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
