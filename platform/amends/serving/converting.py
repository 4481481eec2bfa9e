"""Turn a GGUF file into a plain Hugging Face directory: float32 safetensors, config, tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from amends.errors import BadInput
from amends.operation.task import Progress
from amends.serving.dequantising import is_plain_llama, llama_config, llama_state, open_gguf

STEPS = 3


def import_gguf(gguf: Path, directory: Path, progress: Progress = lambda done, total, message: None) -> None:
    """Convert a GGUF file into `directory`, which it creates.

    Raises:
        BadInput: The file is no GGUF that transformers can read.
    """
    with gguf.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise BadInput(f"{gguf.name} is not a GGUF file; name one, or a Hugging Face directory")
    transformers_logging.disable_progress_bar()
    try:
        progress(0, STEPS, "reading the tokenizer")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(gguf.parent, gguf_file=gguf.name)
        progress(1, STEPS, "dequantising the weights")
        model = _model(*_read(gguf))
    except (ValueError, IndexError, KeyError, RuntimeError) as error:
        raise BadInput(f"{gguf.name} cannot be read ({type(error).__name__}); fetch it again") from error
    progress(2, STEPS, "writing safetensors")
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    progress(STEPS, STEPS, "converted")


def _read(gguf: Path) -> tuple[Any, dict[str, Tensor]]:
    """Return configuration and weights; a Llama's by the short way, which the tests hold equal to the other."""
    reader = open_gguf(gguf)
    if is_plain_llama(reader):
        config = llama_config(reader)
        return config, llama_state(reader, config)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, output_loading_info=True
    )
    if made_up := sorted(report["missing_keys"]):  # transformers only warns, and goes on with random weights
        raise BadInput(f"{gguf.name} does not fill {made_up[0]!r}; import the original weights instead")
    for name in ("quantization_config", "_model_name_or_path"):
        if hasattr(loaded.config, name):
            delattr(loaded.config, name)
    return loaded.config, loaded.state_dict()


def _model(config: Any, state: dict[str, Tensor]) -> Any:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if config.tie_word_embeddings and "lm_head.weight" not in state:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True, strict=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    return model
