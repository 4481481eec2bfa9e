"""Answer greedily: stop at the end of the sequence, or, in the template, where it would begin again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from amends.errors import AmendsError
from amends.serving.encoding import STOP, end_of

ROWS = 16
TAIL = 16  # tokens that are looked at for the stop; a byte-level tokenizer needs ten


class _NextQuestion(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Stop a row that has begun the next question."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, begins: int) -> None:
        self.tokenizer = tokenizer
        self.begins = begins

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        tails = input_ids[:, self.begins :][:, -TAIL:]
        said = self.tokenizer.batch_decode(tails)
        return torch.tensor([STOP in tail for tail in said], device=input_ids.device)


class _Numbers(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Look at every token's logits."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        check_numbers(scores)
        return scores


def check_numbers(logits: Tensor) -> None:
    """Refuse logits that are no numbers: they have a largest entry, too, and it would pass for an answer.

    Raises:
        AmendsError: One is NaN or infinite; minus infinity is a token that cannot come.
    """
    if logits.isnan().any() or logits.isposinf().any():
        raise AmendsError("the model gives no finite numbers, so that nothing it says means anything; take another")


@torch.inference_mode()
def greedy(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    is_template: bool = True,
) -> list[str]:
    """Continue each prompt's ids greedily and return the stripped texts, in order.

    Args:
        model: The weights.
        tokenizer: Their tokenizer.
        prompts: The ids of each.
        max_new_tokens: Where to stop at the latest.
        is_template: Whether the next question of the template ends an answer too.

    Raises:
        AmendsError: A logit is NaN or infinite.
    """
    numbers = LogitsProcessorList([_Numbers()])
    answers = [""] * len(prompts)
    by_length = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    for start in range(0, len(prompts), ROWS):
        batch = by_length[start : start + ROWS]
        ids, mask = _pad_left([prompts[i] for i in batch], _pad_of(tokenizer), model.device)
        stops = StoppingCriteriaList([_NextQuestion(tokenizer, ids.shape[1])] if is_template else [])
        config = settings_of(model, tokenizer, max_new_tokens)
        out = model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config,
            stopping_criteria=stops, logits_processor=numbers,
        )  # fmt: skip
        for index, row in zip(batch, out[:, ids.shape[1] :].tolist(), strict=True):
            text = text_of(tokenizer, row, config.eos_token_id)
            answers[index] = (text.partition(STOP)[0] if is_template else text).strip()
    return answers


def _pad_left(rows: Sequence[list[int]], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask, shape (rows, longest)."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def settings_of(model: Any, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> GenerationConfig:
    """Return how this package lets a model speak: greedily, until any of the tokens that end its answers."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=sorted({end_of(tokenizer), *ends}),
        pad_token_id=_pad_of(tokenizer),
    )


def text_of(tokenizer: PreTrainedTokenizerBase, ids: list[int], ends: Sequence[int]) -> str:
    """Return the text of what was said before its end."""
    until = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return str(tokenizer.decode(ids[:until], skip_special_tokens=True))


def _pad_of(tokenizer: PreTrainedTokenizerBase) -> int:
    return end_of(tokenizer) if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
