"""Answer greedily: stop at the end of the sequence, or where the template or an attachment's prompt begins again."""

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


class _Ends(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Stop a row that has said one of the texts that end it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, begins: int, stops: Sequence[Sequence[str]]) -> None:
        self.tokenizer = tokenizer
        self.begins = begins
        self.stops = stops

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        tails = self.tokenizer.batch_decode(input_ids[:, self.begins :][:, -TAIL:])
        said = [any(stop in tail for stop in stops) for tail, stops in zip(tails, self.stops, strict=True)]
        return torch.tensor(said, device=input_ids.device)


def until(text: str, stops: Sequence[str]) -> str:
    """Return an answer without whatever follows the first of the texts that end it."""
    for stop in stops:
        text = text.partition(stop)[0]
    return text.strip()


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
    endings: Sequence[Sequence[str]] = (),
) -> list[str]:
    """Continue each prompt's ids greedily and return the stripped texts, in order.

    Args:
        model: The weights.
        tokenizer: Their tokenizer.
        prompts: The ids of each.
        max_new_tokens: Where to stop at the latest.
        is_template: Whether the next question of the template ends an answer too.
        endings: Further texts that end the answer to each prompt; none do, where nothing is said.

    Raises:
        AmendsError: A logit is NaN or infinite.
    """
    numbers = LogitsProcessorList([_Numbers()])
    answers, stops = [""] * len(prompts), [stops_of(is_template, some) for some in endings or [()] * len(prompts)]
    by_length = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    for start in range(0, len(prompts), ROWS):
        batch = by_length[start : start + ROWS]
        ids, mask = _pad_left([prompts[i] for i in batch], _pad_of(tokenizer), model.device)
        listening = [stops[i] for i in batch]
        ends = StoppingCriteriaList([_Ends(tokenizer, ids.shape[1], listening)] if any(listening) else [])
        config = settings_of(model, tokenizer, max_new_tokens)
        out = model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config,
            stopping_criteria=ends, logits_processor=numbers,
        )  # fmt: skip
        for index, row in zip(batch, out[:, ids.shape[1] :].tolist(), strict=True):
            text = text_of(tokenizer, row, config.eos_token_id)
            answers[index] = until(text, stops[index])
    return answers


def stops_of(is_template: bool, endings: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the texts that end an answer, besides the tokens that do."""
    return (STOP, *endings) if is_template else tuple(endings)


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
