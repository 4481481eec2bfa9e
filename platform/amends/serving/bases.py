"""Find the base of a version that only refers to it, wherever the version's files were downloaded to.

A base is stored once per model, so a version that MLflow hands out may hold `model/reference.json`
alone. The base is then looked up by its digest:

- blobs: `AMENDS_BLOBS`, else `blobs` in `$AMENDS_HOME/amends.toml`, else `$AMENDS_HOME/blobs`;
- cache: `AMENDS_CACHE`, else `$AMENDS_HOME/cache`;
- `AMENDS_HOME` is `./.amends` unless it is set.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amends.errors import BadInput, Broken
from amends.operation.files import read_reference, weights_directory
from amends.store.blobs import open_blobs
from amends.store.cache import NodeCache, weights_of


def resolve_base(version: Path) -> Path:
    """Return the Hugging Face directory that holds a version's weights, from the workspace if need be.

    Raises:
        BadInput: The base is neither beside the version nor in a workspace that can be found.
    """
    digest = read_reference(version)
    if digest is None or _is_complete(version):
        return weights_directory(version)
    home = Path(os.environ.get("AMENDS_HOME") or ".amends").absolute()
    blobs = os.environ.get("AMENDS_BLOBS") or _blobs_of(home)
    lost = BadInput(
        f"the base {digest[:12]} of this version is not in {blobs}; "
        "set AMENDS_HOME (or AMENDS_BLOBS) to the workspace that made the version"
    )
    if "://" not in blobs and not Path(blobs).is_dir():
        raise lost
    try:
        cache = NodeCache(Path(os.environ.get("AMENDS_CACHE") or home / "cache"), open_blobs(blobs))
        return weights_of(cache.tree(digest))
    except Broken as error:
        raise lost from error


@contextmanager
def completed(version: Path) -> Iterator[Path]:
    """Lend a version's directory with its base at `base/`, without writing into the version."""
    if _is_complete(version):
        yield version
        return
    base = resolve_base(version)
    with tempfile.TemporaryDirectory(prefix="amends-version-") as folder:
        for part in version.iterdir():
            if part.name != "base":
                (Path(folder) / part.name).symlink_to(part.absolute())
        (Path(folder) / "base").symlink_to(base, target_is_directory=True)
        yield Path(folder)


def _is_complete(version: Path) -> bool:
    return read_reference(version) is None or (version / "base" / "config.json").exists()


def _blobs_of(home: Path) -> str:
    settings = home / "amends.toml"
    named = tomllib.loads(settings.read_text(encoding="utf-8")).get("blobs") if settings.exists() else None
    return str(named).replace("{home}", str(home)) if named else str(home / "blobs")
