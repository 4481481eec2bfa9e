"""Say in an `MLmodel` how MLflow loads a version, beside its untouched files.

A version whose change is all in its weights carries the `transformers` flavor, for a plain client
without Amends, and the `python_function` flavor. One with attachments, or with its base elsewhere,
carries `python_function` alone: a transformers flavor would silently load something else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from transformers import AutoTokenizer

from amends.errors import BadInput
from amends.operation.files import read_reference
from amends.operation.seams import SETTINGS, Setting
from amends.records import digest_of
from amends.serving.model import attachment_kinds

MLMODEL = "MLmodel"
TOKENIZER = "components/tokenizer"  # where MLflow's transformers flavor looks, and nowhere else
ADDED = (MLMODEL, f"{TOKENIZER}/")
LOADER = "amends.serving.pyfunc"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
EPOCH = "1970-01-01 00:00:00"
MAX_NEW_TOKENS = 48
_TYPES = {int: DataType.long, float: DataType.double, str: DataType.string}
_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.jinja")


def write_mlmodel(version: Path) -> None:
    """Write `MLmodel`, and a tokenizer's copy where a flavor needs one, into a version's directory."""
    for name, data in added_files(version).items():
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        (version / name).write_bytes(data)


def added_files(version: Path) -> dict[str, bytes]:
    """Return what MLflow needs beside a version's own files, by relative name; a function of those files alone.

    Raises:
        BadInput: The version holds no model.
    """
    kinds, base = attachment_kinds(version), read_reference(version)
    if base is None and not (version / "model" / "config.json").exists():
        raise BadInput("there is no model/config.json in this version; nothing can be served")
    is_plain = not kinds and base is None
    flavors: dict[str, Any] = {
        "python_function": {"loader_module": LOADER, "python_version": PYTHON, "streamable": True}
    }
    copies = {}
    if is_plain:
        flavors["transformers"] = _transformers_flavor(version / "model")
        copies = {f"{TOKENIZER}/{file.name}": file.read_bytes() for file in _tokenizer_files(version / "model")}
    metadata = {"amends": {"attachments": list(kinds), "base": base}}
    return {MLMODEL: _mlmodel(flavors, metadata, _settings_of(version, kinds)), **copies}


def _settings_of(version: Path, kinds: Sequence[str]) -> dict[str, Setting]:
    """Return what whoever asks may change, with its defaults: how long an answer is, and the attachments' settings."""
    files = (version / "attachments" / kind / SETTINGS for kind in kinds)
    found = [json.loads(file.read_bytes()) for file in files if file.exists()]
    return {"max_new_tokens": MAX_NEW_TOKENS} | {name: value for one in found for name, value in sorted(one.items())}


def _mlmodel(flavors: dict[str, Any], metadata: dict[str, Any], settings: Mapping[str, Setting]) -> bytes:
    text = ColSpec(DataType.string)
    params = [ParamSpec(name, _TYPES[type(value)], value) for name, value in settings.items()]
    model = Model(
        utc_time_created=EPOCH,
        flavors=flavors,
        signature=ModelSignature(Schema([text]), Schema([text]), ParamSchema(params)),
        model_uuid=digest_of([flavors, metadata])[:32],
        metadata=metadata,
    )
    written: str = model.to_yaml()
    return written.encode()


def _transformers_flavor(model: Path) -> dict[str, Any]:
    config = json.loads((model / "config.json").read_bytes())
    kind = config["architectures"][0]
    return {
        "task": "text-generation",
        "instance_type": "TextGenerationPipeline",
        "framework": "pt",
        "model_binary": "model",
        "pipeline_model_type": kind,
        "source_model_name": kind,
        "components": ["tokenizer"],
        "tokenizer_type": type(AutoTokenizer.from_pretrained(model, local_files_only=True)).__name__,
        "torch_dtype": str(getattr(torch, str(config.get("dtype") or "float32"))),
        "transformers_version": transformers.__version__,
    }


def _tokenizer_files(model: Path) -> list[Path]:
    return sorted({file for pattern in _TOKENIZER_FILES for file in model.glob(pattern) if file.is_file()})
