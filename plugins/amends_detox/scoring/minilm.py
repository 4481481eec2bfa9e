"""`minilm`: frozen all-MiniLM-L6-v2 and a linear head, one row of weights an attribute, fitted on soft labels.

Its head is `heads/minilm`; `ensemble` judges with another, `heads/judge`, which has a hidden layer. Both were written
by `amends detox fit-scorer`, and their JSON says by which command.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from amends_detox.scoring.embedding import embed, encoder_digest
from amends_detox.scoring.head import Head, read_head

CODE = "1"  # of the embedding and of the head's formula
HEADS = Path(__file__).parent / "heads"
LICENCE = (
    "Apache-2.0 (encoder: Apache-2.0; head: fitted on RealToxicityPrompts, Apache-2.0, and its Perspective scores)"
)


class MiniLM:
    """Scores by a head on sentence embeddings.

    Args:
        head: What `fit` or `read_head` gave.
        licence: Of the whole.
    """

    name = "minilm"

    def __init__(self, head: Head, licence: str = LICENCE) -> None:
        self.head = head
        self.attributes = tuple(head.facts["attributes"])
        self.licence = licence
        self.version = f"{CODE}-{head.digest[:12]}-{encoder_digest()[:8]}"

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores, shape (texts, attributes)."""
        with torch.inference_mode():
            scores: NDArray[np.float64] = self.head.logits(embed(texts).double()).sigmoid().numpy()
        return scores


@cache
def shipped(name: str) -> Head:
    """Return one of the heads of this package: `minilm` or `judge`."""
    return read_head(HEADS / name, encoder_digest())


def open_minilm(argument: str) -> MiniLM:
    """Return the scorer with the head of this package, or with the one in a directory.

    Raises:
        BadInput: The encoder or the head is missing, or they do not belong together.
    """
    if not argument:
        return MiniLM(shipped("minilm"))
    head = read_head(Path(argument), encoder_digest())
    return MiniLM(head, str(head.facts.get("licence", "as the texts that its head was fitted on")))
