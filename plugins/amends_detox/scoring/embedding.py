"""Sentence embeddings by the packaged all-MiniLM-L6-v2, in batches: thousands of texts are scored at once.

A text's neighbours change its row by 1e-7 as measured, far below what a score means; who needs equal bits takes
`amends.serving.Encoder`, at half the speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from amends.serving.sentences import LONGEST, WIDTH, sentence_encoder
from amends.store.digests import digest_file

AT_ONCE = 32


@cache
def encoder_digest() -> str:
    """Return the sha256 of the encoder's weights."""
    return str(digest_file(sentence_encoder() / "model.safetensors"))


@cache
def _encoder() -> tuple[AutoTokenizer, AutoModel]:
    transformers_logging.disable_progress_bar()
    source = sentence_encoder()
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    model = AutoModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True, local_files_only=True)
    return tokenizer, model.eval()


@torch.inference_mode()
def embed(texts: Sequence[str]) -> Tensor:
    """Return one row of unit length a text, shape (texts, 384): the mean of its tokens' last states."""
    found = torch.empty(len(texts), WIDTH)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    tokenizer, model = _encoder()
    for start in range(0, len(order), AT_ONCE):
        some = order[start : start + AT_ONCE]
        tokens = tokenizer(
            [texts[index] for index in some], truncation=True, max_length=LONGEST, padding=True, return_tensors="pt"
        )
        mask = tokens["attention_mask"][..., None].float()
        hidden = (model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
        found[some] = torch.nn.functional.normalize(hidden, dim=1)
    return found.clone()
