"""One template for training, measuring and serving; prompt and answer are tokenised apart."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from amends.errors import BadInput

TEMPLATE = "Question: {prompt}\nAnswer:"
STOP = "\nQuestion:"


def render(prompt: str) -> str:
    """Put a prompt into the template."""
    return TEMPLATE.replace("{prompt}", prompt)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return the token ids of a rendered prompt, without special tokens."""
    return _ids(tokenizer, render(prompt))


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Tokenise a prompt and its answer apart, so that the answer's ids never depend on the prompt.

    Returns:
        The rendered prompt's ids, and the ids of a space, the answer and the end of the sequence.
    """
    return encode_prompt(tokenizer, prompt), [*_ids(tokenizer, f" {answer}"), end_of(tokenizer)]


def end_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id that ends a sequence."""
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise BadInput("the tokenizer names no end of sequence; set eos_token in its tokenizer_config.json")
    return end


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
