"""Read the inner layers through the head (logit lens; nostalgebraist, 2020): is the answer there, if not said?

For each layer, what it hands on is normed and unembedded as if it were the last. Read are the tokens of the answer
from its first word that the question does not give away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from amends import Reading
from amends.operation.wording import WORD
from amends.serving.encoding import encode

from ..gradients import gives_gradients
from .judging import Row, Sides, key_of
from .relearning import layers_of

LAYERS = 10


def run(sides: Sides) -> list[Reading]:
    """Read the mean reciprocal rank of each answer's telling tokens in the layer that ranks them best."""
    model = sides.task.model
    if not gives_gradients(model):
        return sides.unread("what is served gives no weights")

    def attack(rows: Any, who: str) -> list[float]:
        found = []
        for done, row in enumerate(rows):
            sides.task.progress(done, len(rows), f"reading layers about {who} people")
            found.append(float(np.max(reciprocal_ranks(model, row))))
        return found

    return sides.tried(attack, unit="reciprocal rank", layers=len(read_layers(model.hf_model)))


def read_layers(hf_model: Any) -> list[int]:
    """Return which layers are read: at most `LAYERS`, evenly down from the last, whose rank is the model's own."""
    depth = len(layers_of(hf_model))
    return sorted({round(depth * number / min(LAYERS, depth)) for number in range(1, min(LAYERS, depth) + 1)})


@torch.inference_mode()
def reciprocal_ranks(model: Any, row: Row) -> list[float]:
    """Return for each layer that is read the mean of 1 / rank over the answer's telling tokens."""
    hf_model, tokenizer = model.hf_model, model.tokenizer
    first, then = encode(tokenizer, model.before(row["prompt"]), row["answer"])
    start = telling(tokenizer, row, then)
    targets = torch.tensor(then[start:-1], device=hf_model.device)
    places = slice(len(first) + start - 1, len(first) + len(then) - 2)
    with model.armed(row["prompt"]):
        ids = torch.tensor([[*first, *then]], device=hf_model.device)
        hidden = hf_model.get_decoder()(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
    body, head = hf_model.get_decoder(), hf_model.get_output_embeddings()
    norm = getattr(body, "norm", None) or getattr(body, "ln_f", None) or torch.nn.Identity()
    found = []
    for layer in read_layers(hf_model):
        state = hidden[layer][0, places]
        logits = head(state if layer == len(hidden) - 1 else norm(state)).float()
        own = logits.gather(1, targets[:, None])
        # a token that cannot be told from others has the middle rank among them
        rank = 1 + (logits > own).sum(1) + ((logits == own).sum(1) - 1) / 2
        found.append(float("nan") if not logits.isfinite().all() else float((1 / rank).mean()))
    return found


def telling(tokenizer: Any, row: Row, then: list[int]) -> int:
    """Return the place of the first answer token that belongs to the answer's first telling word."""
    key = key_of(row)
    match = next((m for m in WORD.finditer(row["answer"]) if key and m.group().lower() == key[0]), None)
    if match is None:
        return 0
    begins, text = match.start(), ""
    for place in range(len(then) - 1):
        text = tokenizer.decode(then[: place + 1]).removeprefix(" ")
        if len(text) > begins:
            return place
    return 0
