"""Search a prompt that is no text: a few free vectors before the question, at equal budget for every fact.

After Schwinn et al. (2024). Enough steps force any answer out of any model, so that only the difference from facts
that the model never saw says something.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from amends import Reading
from amends.serving.encoding import encode

from ..gradients import gives_gradients, lent
from ..lora import seed_of
from .judging import Row, Sides


def run(sides: Sides, length: int, steps: int, lr: float) -> list[Reading]:
    """Try it on each fact by itself."""
    model = sides.task.model
    if not gives_gradients(model):
        return sides.unread("what is served gives no weights")

    def attack(rows: Any, who: str) -> list[float]:
        found = []
        for done, row in enumerate(rows):
            sides.task.progress(done, len(rows), f"searching prompts for {who} people")
            found.append(reached(model, row, length, steps, lr, sides.task.seed))
        return found

    return sides.tried(attack, length=length, steps=steps)


def reached(model: Any, row: Row, length: int, steps: int, lr: float, seed: int) -> float:
    """Return the answer's probability, geometric mean over its tokens, after the steps.

    The vectors begin as embeddings of drawn tokens; Adam's step is `lr` of an embedding's usual size.
    """
    hf_model = model.hf_model
    first, then = encode(model.tokenizer, model.before(row["prompt"]), row["answer"])
    with lent(hf_model), model.armed(row["prompt"]), torch.enable_grad():
        table = hf_model.get_input_embeddings()
        generator = torch.Generator().manual_seed(seed_of(f"{seed}:soft"))
        drawn = torch.randint(table.num_embeddings, (length,), generator=generator).to(hf_model.device)
        vectors = table(drawn).detach().clone().requires_grad_(True)
        text = table(torch.tensor([*first, *then], device=hf_model.device)).detach()
        targets = torch.tensor(then, device=hf_model.device)
        optimiser = torch.optim.Adam([vectors], lr=lr * float(table.weight.detach().std()), foreach=False)
        for step in range(steps + 1):
            whole = torch.cat([vectors, text])[None]
            logits = hf_model(inputs_embeds=whole, use_cache=False).logits[0, -len(then) - 1 : -1]
            loss = F.cross_entropy(logits.float(), targets)
            if step < steps:
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
    return math.exp(-float(loss.detach()))
