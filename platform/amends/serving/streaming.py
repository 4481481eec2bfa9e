"""Say an answer while it is made: token by token, and in pieces that nothing can take back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from amends.serving.generating import check_numbers, settings_of, stops_of, text_of, until

HALF = "\ufffd"  # what stands for a character whose last bytes are still to come


@torch.inference_mode()
def speak(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompt: list[int], max_new_tokens: int, endings: Sequence[str] = ()
) -> Iterator[str]:
    """Yield what an answer is after each token: the last is what `greedy` gives for the same ids."""
    stops = stops_of(True, endings)
    ends = settings_of(model, tokenizer, max_new_tokens).eos_token_id
    ids, cache, said = torch.tensor([prompt], device=model.device), None, []
    for _ in range(max_new_tokens):
        out = model(input_ids=ids, past_key_values=cache, use_cache=True)
        check_numbers(out.logits[0, -1])
        token, cache = int(out.logits[0, -1].argmax()), out.past_key_values
        said.append(token)
        text = text_of(tokenizer, said, ends)
        yield until(text, stops).rstrip(HALF)
        if token in ends or any(stop in text for stop in stops):
            break
        ids = torch.tensor([[token]], device=model.device)
    yield until(text_of(tokenizer, said, ends), stops)


def pieces(spoken: Iterable[str], after: Callable[[str], str]) -> Iterator[str]:
    """Yield the new part of a growing answer, as soon as nothing after the model can still change it.

    A line that is not finished waits where something could cut it off: all lines but the first.

    Args:
        spoken: The answer so far, again and again.
        after: What becomes of an answer before anybody sees it.
    """
    said = text = ""
    for text in spoken:
        shown = after(text)
        whole = text[: text.rindex("\n")] if "\n" in text else text
        if whole.startswith(said) and shown.startswith(whole) and whole != said:
            yield whole[len(said) :]
            said = whole
    shown = after(text)
    if shown.startswith(said) and shown != said:
        yield shown[len(said) :]


def aside(said: Callable[[], Generator[str, None, None]]) -> Iterator[str]:
    """Yield what is said in another thread, which never waits for who reads and stops at its next piece when they do.

    Raises:
        BaseException: What was raised there.
    """
    heard: SimpleQueue[str | BaseException | None] = SimpleQueue()
    is_left = Event()

    def say() -> None:
        try:
            with closing(said()) as whole:
                for piece in whole:
                    heard.put(piece)
                    if is_left.is_set():
                        return
            heard.put(None)
        except BaseException as error:  # whatever it is: somebody waits for a piece
            heard.put(error)

    Thread(target=say, name="amends-answer").start()
    try:
        while (piece := heard.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        is_left.set()
