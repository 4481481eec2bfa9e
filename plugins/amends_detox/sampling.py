"""Continue texts by nucleus sampling (Holtzman et al., 2020), many at once and the same for a seed in any batch.

Every sample of a prompt has its own uniform numbers, drawn from the seed and the prompt alone, and a token is what the
inverse of the nucleus's distribution function says at the next of them. So neither the batch, nor the order of the
prompts, nor which others are asked changes what is drawn; and a parent and its candidate are asked with equal numbers,
which makes their difference less noisy. A CPU's logits move by 1e-5 with the size of a batch; a draw that lies so close
to a border may still fall on its other side.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, ProbeTask, Task
from amends.serving.encoding import encode_text, end_of
from amends.serving.model import Model

ROWS = 64  # sequences that share a forward pass
FIRST = 1024  # tokens that are looked at first; sorting a whole vocabulary takes half as long as the model itself


class NoNumbers(BadInput):
    """A model gave NaN or infinity where its next token should be drawn."""


def continuations(
    task: Task | ProbeTask, model: Model, prompts: Sequence[str], samples: int, tokens: int, top_p: float, seed: int
) -> list[list[str]]:
    """Continue each prompt as it stands, without a template, several times; a sample may be empty.

    Args:
        task: Told how far it is; may be cancelled.
        model: A served version. Its attachments act as in `Model.complete`: each prompt is then handled alone.
        prompts: Texts that are not empty.
        samples: Continuations of each.
        tokens: Where a continuation ends at the latest.
        top_p: The nucleus is the smallest set of tokens whose probability reaches this.
        seed: The only source of randomness.

    Returns:
        For each prompt its continuations, in order.

    Raises:
        BadInput: A number cannot be used, or a prompt is empty.
        NoNumbers: The model's logits are not finite.
    """
    if samples < 1 or tokens < 1 or not 0 < top_p <= 1:
        raise BadInput("sampling needs samples and tokens of at least 1 and top_p above 0 and at most 1")
    uniforms = _uniforms(prompts, (samples, tokens), seed)
    if model.seams:
        return [_through_seams(task, model, prompts, place, uniforms[place], top_p) for place in range(len(prompts))]
    rows = [encode_text(model.tokenizer, prompt) for prompt in prompts]
    found: list[list[str]] = [[] for _ in prompts]
    order = sorted(range(len(rows)), key=lambda place: (len(rows[place]), place))
    step = max(1, ROWS // samples)
    for start in range(0, len(order), step):
        task.progress(start, len(order), "sampling")
        some = order[start : start + step]
        drawn = _draw(model, [rows[place] for place in some], torch.stack([uniforms[place] for place in some]), top_p)
        for place, texts in zip(some, drawn, strict=True):
            found[place] = texts
    task.progress(len(order), len(order), "sampling")
    return found


def _uniforms(prompts: Sequence[str], shape: tuple[int, int], seed: int) -> list[Tensor]:
    """Return for each prompt its numbers in [0, 1), shape (samples, tokens); a prompt's second time has others."""
    seen: Counter[str] = Counter()
    found = []
    for prompt in prompts:
        digest = hashlib.sha256(f"{seed}\n{seen[prompt]}\n{prompt}".encode()).digest()
        seen[prompt] += 1
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        found.append(torch.rand(*shape, generator=generator, dtype=torch.float64))
    return found


def _through_seams(
    task: Task | ProbeTask, model: Model, prompts: Sequence[str], place: int, uniforms: Tensor, top_p: float
) -> list[str]:
    task.progress(place, len(prompts), "sampling")
    prompt = prompts[place]
    row = encode_text(model.tokenizer, model.before(prompt))
    with model.armed(prompt):
        texts = _draw(model, [row], uniforms[None], top_p)[0]
    for seam in reversed(model.seams):
        texts = [seam.after(prompt, text) for text in texts]
    return texts


@torch.inference_mode()
def _draw(model: Model, rows: Sequence[list[int]], uniforms: Tensor, top_p: float) -> list[list[str]]:
    """Continue rows of ids.

    Args:
        model: The served model.
        rows: One a prompt.
        uniforms: Shape (prompts, samples, tokens).
        top_p: Of the nucleus.
    """
    prompts, samples, tokens = uniforms.shape
    network, ends = model.hf_model, _ends(model)
    flat = uniforms.reshape(prompts * samples, tokens).to(network.device)
    logits, cache, mask = _read(network, rows, samples)
    drawn = torch.empty(prompts * samples, 0, dtype=torch.long, device=network.device)
    for step in range(tokens):
        following = nucleus(logits, flat[:, step], top_p)
        drawn = torch.cat([drawn, following[:, None]], dim=1)
        if step == tokens - 1 or bool(torch.isin(drawn, ends).any(dim=1).all()):
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        out = network(
            input_ids=following[:, None],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **_positions(network, mask, 1),
        )
        logits, cache = out.logits[:, -1], out.past_key_values
    texts = [_text(model.tokenizer, row, ends.tolist()) for row in drawn.tolist()]
    return [texts[start : start + samples] for start in range(0, len(texts), samples)]


def nucleus(logits: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """Draw a token from the smallest set whose probability reaches `top_p` (Holtzman et al., 2020, eq. 2 and 3).

    Args:
        logits: Shape (rows, vocabulary).
        uniform: u in [0, 1), shape (rows,); the token is the first whose cumulated probability exceeds u times the
            set's.
        top_p: At most 1.

    Returns:
        Ids, shape (rows,).

    Raises:
        NoNumbers: The logits give no probabilities.
    """
    likely = logits.float().softmax(-1)
    if not bool(likely.isfinite().all()):
        raise NoNumbers("the model gives no finite numbers; nothing can be drawn from it, so do not use it")
    first, ids = likely.topk(min(FIRST, likely.shape[-1]))
    drawn = _invert(first, ids, uniform, top_p)
    is_wide = first.double().sum(-1) < top_p
    if bool(is_wide.any()):
        drawn[is_wide] = _invert(*likely[is_wide].sort(descending=True), uniform[is_wide], top_p)
    return drawn


def _invert(likely: Tensor, ids: Tensor, uniform: Tensor, top_p: float) -> Tensor:
    """Return the inverse of the nucleus's distribution function, over probabilities that fall, at `uniform`."""
    mass = likely.double().cumsum(-1)
    size = (mass - likely < top_p).sum(-1, keepdim=True)
    within = mass.gather(-1, size - 1)
    place = torch.searchsorted(mass, uniform.to(mass)[:, None] * within, right=True).minimum(size - 1)
    return ids.gather(-1, place)[:, 0]


def _read(network: Any, rows: Sequence[list[int]], samples: int) -> tuple[Tensor, Any, Tensor]:
    """Read each prompt once; return logits of its next token, the cache and the mask, repeated for every sample."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=network.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=network.device)
    only = {"logits_to_keep": 1} if "logits_to_keep" in _takes(network) else {}
    out = network(input_ids=ids, attention_mask=mask, use_cache=True, **only, **_positions(network, mask, longest))
    cache = out.past_key_values
    if cache is None:
        raise BadInput("this model keeps no cache of what it read; it cannot be sampled from here")
    cache.batch_repeat_interleave(samples)
    return out.logits[:, -1].repeat_interleave(samples, 0), cache, mask.repeat_interleave(samples, 0)


def _positions(network: Any, mask: Tensor, last: int) -> dict[str, Tensor]:
    """Return the places of the last tokens of each row, its padding not counted, where the model asks for them."""
    if "position_ids" not in _takes(network):
        return {}
    return {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -last:]}


def _takes(network: Any) -> Any:
    return inspect.signature(network.forward).parameters


def _ends(model: Model) -> Tensor:
    more = getattr(model.hf_model.generation_config, "eos_token_id", None)
    known = more if isinstance(more, list) else [] if more is None else [more]
    return torch.tensor(sorted({end_of(model.tokenizer), *known}), device=model.hf_model.device)


def _text(tokenizer: Any, ids: list[int], ends: Sequence[int]) -> str:
    until = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return str(tokenizer.decode(ids[:until], skip_special_tokens=True))
