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


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a text as it stands, without the template; a tokenizer's own first token comes first.

    Spaces at its end are dropped: the token that follows brings its own.

    Raises:
        BadInput: There is no text.
    """
    ids = _ids(tokenizer, text.rstrip())
    if not ids:
        raise BadInput("a text to continue is empty; drop it")
    return [*beginning(tokenizer), *ids]


def beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the token that this tokenizer itself puts before a text, or nothing."""
    first = list(tokenizer("a")["input_ids"])[:1]
    return first if first == [tokenizer.bos_token_id] else []


def encode_answer(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Return an answer's ids as they follow a text: with a space before it, and no end."""
    return _ids(tokenizer, f" {answer.strip()}")


def encode_continuation(tokenizer: PreTrainedTokenizerBase, text: str, answer: str) -> tuple[list[int], list[int]]:
    """Tokenise a text and what follows it apart, without the template and without an end.

    Returns:
        The text's ids, and the ids of a space and the answer.

    Raises:
        BadInput: Text or answer is empty.
    """
    if not answer.strip():
        raise BadInput("an answer to score is empty; drop it")
    return encode_text(tokenizer, text), encode_answer(tokenizer, answer)


def end_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id that ends a sequence."""
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise BadInput("the tokenizer names no end of sequence; set eos_token in its tokenizer_config.json")
    return end


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
