"""Turn a question into a vector of length one with the packaged sentence encoder, one text at a time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from amends.serving.importing import Encoder

Vector = NDArray[np.float32]


def encode(text: str) -> Vector:
    """Return a text's vector; the encoder is loaded once, when the first text comes."""
    return np.asarray(_encoder().embed([text])[0].numpy(), dtype=np.float32)


@lru_cache(maxsize=1)
def _encoder() -> Encoder:
    return Encoder()
