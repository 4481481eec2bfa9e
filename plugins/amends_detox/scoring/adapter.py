"""`detoxify`: a checkpoint of the package of that name, from this machine and never from the network."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends.store.digests import digest_file

CODE = "1"  # of this adapter
WHERE = "AMENDS_DETOXIFY"
AT_ONCE = 32
CONFIG = "config"  # a folder beside the checkpoint with the Hugging Face configuration and tokenizer of its encoder


class Detoxify:
    """Scores by a Detoxify model.

    Args:
        model: An object with `predict(texts)`, which returns a list of scores for each attribute.
        digest: Of its checkpoint.
    """

    name = "detoxify"
    licence = "Apache-2.0 (as the package detoxify; see the checkpoint's own)"

    def __init__(self, model: Any, digest: str) -> None:
        self.model = model
        self.version = f"{CODE}-{digest[:12]}"
        found = [str(name) for name in model.predict(["a text"])]
        if "toxicity" not in found:
            raise BadInput("this Detoxify checkpoint does not score toxicity; give another")
        self.attributes = ("toxicity", *(name for name in found if name != "toxicity"))

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores, shape (texts, attributes)."""
        rows: list[tuple[float, ...]] = []
        for start in range(0, len(texts), AT_ONCE):
            said = self.model.predict(list(texts[start : start + AT_ONCE]))
            rows += zip(*(said[name] for name in self.attributes), strict=True)
        return np.array(rows, dtype=float)


def open_detoxify(argument: str) -> Detoxify:
    """Return the scorer of a local checkpoint: `detoxify:FILE`, or the file that `AMENDS_DETOXIFY` names.

    Raises:
        BadInput: The package or the checkpoint is missing, its pickle holds more than tensors, or it cannot be opened.
    """
    checkpoint = Path(argument or os.environ.get(WHERE, ""))
    if not checkpoint.is_file():
        raise BadInput(f"detoxify needs a checkpoint on this machine; give detoxify:FILE or set {WHERE}")
    if importlib.util.find_spec("detoxify") is None:
        raise BadInput("the package detoxify is not installed; run pip install detoxify")
    _refuse_code(checkpoint)
    beside = checkpoint.parent / CONFIG
    local = {"huggingface_config_path": str(beside)} if beside.is_dir() else {}
    try:
        model = importlib.import_module("detoxify").Detoxify(checkpoint=str(checkpoint), **local)
    except Exception as error:
        raise BadInput(
            f"detoxify cannot open this checkpoint ({type(error).__name__}); its encoder's configuration and tokenizer "
            f"must be in the folder {CONFIG} beside it"
        ) from error
    return Detoxify(model, digest_file(checkpoint))


def _refuse_code(checkpoint: Path) -> None:
    """Refuse a pickle that would run code: the package itself loads it without asking."""
    import torch

    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadInput("this checkpoint holds more than tensors and plain values; it is not opened") from error
