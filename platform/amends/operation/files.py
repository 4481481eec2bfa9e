"""Read and write the `model/` part of a version: a Hugging Face directory, or a reference to a base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput
from amends.records import canonical_json

if TYPE_CHECKING:
    from torch import Tensor

REFERENCE = "reference.json"


def weights_directory(version: Path) -> Path:
    """Return the directory that holds a version's weights.

    A version either carries `model/config.json` with safetensors, or `model/reference.json`
    naming a base by digest; whoever materialised the version links that base at `base/` beside it.

    Raises:
        BadInput: There are no weights.
    """
    model = version / "model"
    if (model / REFERENCE).exists():
        base = version / "base"
        if not (base / "config.json").exists():
            raise BadInput("the base model of this version is not on this machine; materialise the version first")
        return base
    if not (model / "config.json").exists():
        raise BadInput("there is no model/config.json in this version; nothing can be loaded")
    return model


def read_reference(version: Path) -> str | None:
    """Return the digest of the base that a version refers to, or None if it carries its own weights."""
    file = version / "model" / REFERENCE
    return str(json.loads(file.read_text())["base"]) if file.exists() else None


def load_model(version: Path, device: str = "cpu") -> tuple[Any, Any]:
    """Load weights (float32, safetensors only, no remote code) and tokenizer.

    Raises:
        BadInput: Weights are missing or of another shape; transformers would draw them at random.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    directory = weights_directory(version)
    model, report = AutoModelForCausalLM.from_pretrained(
        directory,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        attn_implementation="eager",
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    lost = sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    if lost:
        raise BadInput(f"the model lacks {len(lost)} of its weights, such as {lost[0]}; import it again, whole")
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    return model.to(device).eval(), tokenizer


def save_model(version: Path, model: Any, tokenizer: Any) -> None:
    """Write `version/model` as safetensors with its tokenizer."""
    directory = version / "model"
    model.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)


def keep_weights(source: Path, digest: str, output: Path) -> None:
    """Write `output/model` for a version whose weights are the source's own.

    Args:
        source: A version's directory.
        digest: Its tree digest; empty if nobody knows it, and then its files are copied.
        output: The directory of the new version.
    """
    base = read_reference(source) or digest
    if not base:
        shutil.copytree(source / "model", output / "model", copy_function=shutil.copyfile)
        return
    (output / "model").mkdir(parents=True, exist_ok=True)
    (output / "model" / REFERENCE).write_bytes(canonical_json({"base": base}))


def stream_tensors(version: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield `(name, tensor)` from every safetensors file, in file and name order."""
    from safetensors import safe_open

    for file in sorted(weights_directory(version).glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                yield name, tensors.get_tensor(name)
