"""Sample many answers to each question: greedy decoding shows one, and hides what comes out one time in fifty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amends import BadInput, Reading
from amends.operation.measuring import person_of
from amends.operation.statistics import clopper_pearson, count_people
from amends.serving.encoding import STOP, encode_answer, encode_prompt, end_of

from ..gradients import gives_gradients
from ..lora import seed_of
from .judging import Row, Sides, is_said, key_of

MORE = 8  # tokens beyond the answer's own length
TAIL = 16  # tokens that are looked at for the stop


def run(sides: Sides, samples: int, tokens: int, temperature: float) -> list[Reading]:
    """Read each fact's success rate, and the upper bound of the worst one's (Clopper and Pearson, 1934)."""
    if samples < 1 or tokens < 1 or not temperature > 0:
        raise BadInput("sampled extraction needs samples, tokens and temperature above zero")
    if not gives_gradients(sides.task.model):
        return [*sides.unread("what is served gives no weights"), _worst(sides, [], [], samples)]
    model, success, asked = sides.task.model, {}, {}
    for who, rows in sides.rows.items():
        keyed = [(row, key) for row in rows if (key := key_of(row))]
        found = []
        for done, (row, key) in enumerate(keyed):
            sides.task.progress(done, len(keyed), f"sampling answers about {who} people")
            most = min(tokens, len(encode_answer(model.tokenizer, row["answer"])) + MORE)
            generator = torch.Generator().manual_seed(seed_of(f"{sides.task.seed}:sampling:{row['id']}"))
            said = sample(model, row["prompt"], samples, most, temperature, generator)
            found.append(float("nan") if said is None else sum(n for text, n in said if is_said(key, text)) / samples)
        success[who], asked[who] = found, [row for row, _ in keyed]
    left_out = sum(len(rows) for rows in sides.rows.values()) - sum(map(len, asked.values()))
    read = sides.read(success, "share of samples", rows=asked, samples=samples, left_out=left_out)
    return [*read, _worst(sides, success["forgotten"], asked["forgotten"], samples)]


def _worst(sides: Sides, rates: Sequence[float], rows: Sequence[Row], samples: int) -> Reading:
    """Return the highest success rate of a forgotten fact; its bound holds for all facts at once (Bonferroni)."""
    margin = sides.choice.margin
    facts, level = len(rates), 1 - 2 * margin.each / max(len(rates), 1)
    value = float(np.max(rates)) if facts else math.nan
    low, high = (0.0, 1.0) if math.isnan(value) else clopper_pearson(round(value * samples), samples, level)
    power = 0.0 if math.isnan(value) else 1 - (1 - min(margin.delta, 1.0)) ** samples
    detail = {**margin.detail(), "samples": samples, "facts": facts, "level": level, "half": sides.choice.half}
    people = count_people([person_of(row) for row in rows])
    return Reading(f"{sides.probe}/worst", value, low, high, people, "share of samples", power, detail)


@torch.inference_mode()
def sample(
    model: Any, prompt: str, samples: int, tokens: int, temperature: float, generator: torch.Generator
) -> list[tuple[str, int]] | None:
    """Return the texts that independent samples give, each with how many gave it; None where no chance is a number.

    Samples that agree so far share one forward pass: their next tokens are drawn together, which gives the same
    distribution, and costs the less the surer the model is.
    """
    hf_model, tokenizer = model.hf_model, model.tokenizer
    ids = encode_prompt(tokenizer, model.before(prompt))
    ends = _ends(hf_model, tokenizer)
    finished: list[tuple[list[int], int]] = []
    running: list[tuple[list[int], int]] = [([], samples)]
    with model.armed(prompt):
        out = hf_model(input_ids=torch.tensor([ids], device=hf_model.device), use_cache=True)
        for place in range(tokens):
            logits, cache = out.logits[:, -1].float().cpu(), out.past_key_values
            if not logits.isfinite().all():
                return None
            grown, parents = [], []
            for parent, (before, count) in enumerate(running):
                for token, drawn in _draw(logits[parent], count, temperature, generator):
                    text = [*before, token]
                    if token in ends:
                        finished.append((before, drawn))
                    elif place == tokens - 1 or STOP in tokenizer.decode(text[-TAIL:]):
                        finished.append((text, drawn))
                    else:
                        grown.append((text, drawn))
                        parents.append(parent)
            running = grown
            if not running:
                break
            cache.batch_select_indices(torch.tensor(parents, device=hf_model.device))
            last = torch.tensor([[text[-1]] for text, _ in running], device=hf_model.device)
            out = hf_model(input_ids=last, past_key_values=cache, use_cache=True)
    return [(_after(model, prompt, tokenizer.decode(text)), count) for text, count in finished]


def _draw(logits: Tensor, count: int, temperature: float, generator: torch.Generator) -> list[tuple[int, int]]:
    chances = torch.softmax(logits / temperature, dim=-1)
    drawn = torch.multinomial(chances, count, replacement=True, generator=generator)
    return sorted(Counter(drawn.tolist()).items())


def _ends(hf_model: Any, tokenizer: Any) -> set[int]:
    named = getattr(hf_model.generation_config, "eos_token_id", None)
    return {end_of(tokenizer), *(named if isinstance(named, list) else [] if named is None else [named])}


def _after(model: Any, prompt: str, text: str) -> str:
    answer = text.partition(STOP)[0].strip()
    for seam in reversed(model.seams):
        answer = seam.after(prompt, answer)
    return str(answer)
