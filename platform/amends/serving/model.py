"""A served version: its weights, with its attachments before, inside and after them in their written order."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from amends.errors import BadInput, Broken
from amends.host import Host
from amends.operation import Seams
from amends.operation.files import load_model, weights_directory
from amends.operation.seams import Ending, Named, Setting, Tunable
from amends.serving.encoding import encode, encode_continuation, encode_prompt, encode_text
from amends.serving.generating import greedy
from amends.serving.scoring import Score, TokenPair, next_token, score_pairs
from amends.serving.streaming import aside, pieces, speak

__all__ = ["Known", "Model", "Score", "open_version"]


@dataclass(frozen=True, repr=False)
class Known:
    """What versions on one base were asked: the same tokens through the same parts give the same."""

    scores: dict[tuple[Any, ...], Score] = field(default_factory=dict)
    answers: dict[tuple[Any, ...], str] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Model:
    """A version that answers and that can be measured, attachments included.

    Answers share forward passes where no attachment arms anything inside the model; else each prompt is handled alone,
    because a seam may arm the model differently for every prompt. Scores share none on a CPU, where neighbours would
    show in them.

    One thing is asked at a time of a version with attachments, whatever thread asks: what one prompt armed must not
    answer another.

    Args:
        hf_model: The weights.
        tokenizer: Their tokenizer.
        seams: The loaded attachments in their written order.
        weights: A name for the weights; models with equal ones may share what is known.
        known: What was asked before, where somebody wants that to be kept; a server does not.
        turn: Held by whoever asks; copies with other settings have the same weights, and so the same turn.
        itself: Stands for this model and no other among what is known, even after it is gone, as an `id` would not.
    """

    hf_model: Any
    tokenizer: PreTrainedTokenizerBase
    seams: tuple[Seams, ...] = ()
    weights: str = ""
    known: Known | None = None
    turn: RLock = field(default_factory=RLock, compare=False)
    itself: object = field(default_factory=object, init=False, compare=False)

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 48) -> list[str]:
        """Answer each prompt greedily, in order.

        `before` runs in the written order, `after` in the reverse, so that the first
        attachment is the outermost; `inside` and `after` see the prompt as it was given.
        """
        return self._say(prompts, max_new_tokens, is_template=True)

    def complete(self, texts: Sequence[str], max_new_tokens: int = 48) -> list[str]:
        """Continue each text greedily as it stands, without the template, through the same seams as `generate`.

        Raises:
            BadInput: A text is empty.
        """
        return self._say(texts, max_new_tokens, is_template=False)

    def _say(self, prompts: Sequence[str], max_new_tokens: int, is_template: bool) -> list[str]:
        if not self.seams:
            return self._greedy(prompts, prompts, max_new_tokens, is_template)
        found = {} if self.known is None else self.known.answers
        shown = {prompt: self.before(prompt) for prompt in prompts}
        asked = {
            prompt: (*self._parts(prompt), text, self._endings(prompt), max_new_tokens, is_template)
            for prompt, text in shown.items()
        }
        fresh: dict[tuple[Any, ...], str] = {}
        for prompt, key in asked.items():
            if key not in found:
                fresh.setdefault(key, prompt)
        together: dict[str | None, list[str]] = {}
        for prompt in fresh.values():
            together.setdefault(None if self._is_idle(prompt) else prompt, []).append(prompt)
        for some in together.values():
            with self.armed(some[0]):
                said = self._greedy(some, [shown[prompt] for prompt in some], max_new_tokens, is_template)
            found.update(zip((asked[prompt] for prompt in some), said, strict=True))
        return [self._after(prompt, found[asked[prompt]]) for prompt in prompts]

    def _is_idle(self, prompt: str) -> bool:
        """Whether every attachment says that it arms nothing for a prompt, so that it can share a pass."""
        return self._parts(prompt) == (self.weights,)

    def _after(self, prompt: str, answer: str) -> str:
        """Return what the caller sees of an answer to a prompt."""
        for seam in reversed(self.seams):
            answer = seam.after(prompt, answer)
        return answer

    def _endings(self, prompt: str) -> tuple[str, ...]:
        """Return the texts that end an answer to a prompt, as far as attachments know some."""
        return tuple(filter(None, (seam.ending(prompt) for seam in self.seams if isinstance(seam, Ending))))

    def stream(self, prompt: str, max_new_tokens: int = 48) -> Iterator[str]:
        """Yield what `generate` answers one prompt in pieces, as soon as nothing after the model can change them.

        It is said in a thread of its own: whoever reads slowly, or no further, keeps nothing armed and nobody waiting.
        """

        def said() -> Generator[str, None, None]:
            with self.armed(prompt):
                ids = encode_prompt(self.tokenizer, self.before(prompt))
                spoken = speak(self.hf_model, self.tokenizer, ids, max_new_tokens, self._endings(prompt))
                yield from pieces(spoken, lambda answer: self._after(prompt, answer))

        yield from aside(said)

    def tuned(self, settings: Mapping[str, Setting]) -> Model:
        """Return this version with settings of its attachments changed, such as how much they retrieve.

        Raises:
            BadInput: No attachment has a setting of that name.
        """
        known = {name for seam in self.seams if isinstance(seam, Tunable) for name in seam.settings}
        if strange := sorted(settings.keys() - known):
            raise BadInput(f"there is no parameter {strange[0]!r}; there are {', '.join(sorted(known)) or 'none'}")
        return replace(self, seams=tuple(_tuned(seam, settings) for seam in self.seams))

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """Score each `(prompt, answer)` in the template, over the answer's tokens and the end of the sequence.

        Where `known` is kept, the same tokens through the same parts are scored once: several probes of one job
        ask for them, and of versions that share a base most parts are the same.
        """
        tokens = [encode(self.tokenizer, self.before(prompt), answer) for prompt, answer in pairs]
        return self._score(tokens, [prompt for prompt, _ in pairs])

    def score_continuations(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """Score each answer after its text as it stands: no template, no end; the seams act as in `score`.

        Raises:
            BadInput: A text or an answer is empty.
        """
        tokens = [encode_continuation(self.tokenizer, self.before(text), answer) for text, answer in pairs]
        return self._score(tokens, [text for text, _ in pairs])

    def next_token(self, texts: Sequence[str]) -> list[Tensor]:
        """Return the log-probability of every token after each text as it stands, shape (vocabulary,) each.

        The seams act as in `score`; nothing is kept in `known`, for these are large.

        Raises:
            BadInput: A text is empty.
        """
        found = []
        for text in texts:
            with self.armed(text):
                found += next_token(self.hf_model, [encode_text(self.tokenizer, self.before(text))])
        return found

    def score_text(self, texts: Sequence[str]) -> list[Score]:
        """Score each text as it stands: its tokens after the first; no template, no `before`, no end.

        Raises:
            BadInput: A text is empty.
        """
        rows = [list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        if not all(rows):
            raise BadInput("a text to score is empty; drop it")
        return self._score([(row[:1], row[1:]) for row in rows], texts)

    def _score(self, tokens: Sequence[TokenPair], prompts: Sequence[str]) -> list[Score]:
        if self.known is None:
            return self._forward(tokens, prompts)
        asked = [
            (*self._parts(prompt), tuple(first), tuple(then))
            for prompt, (first, then) in zip(prompts, tokens, strict=True)
        ]
        known = self.known.scores
        fresh: dict[tuple[Any, ...], int] = {}
        for index, key in enumerate(asked):
            if key not in known:
                fresh.setdefault(key, index)
        found = self._forward([tokens[index] for index in fresh.values()], [prompts[index] for index in fresh.values()])
        known.update(zip(fresh, found, strict=True))
        return [known[key] for key in asked]

    def _forward(self, tokens: Sequence[TokenPair], prompts: Sequence[str]) -> list[Score]:
        if not self.seams:
            return score_pairs(self.hf_model, tokens)
        scores = []
        for pair, prompt in zip(tokens, prompts, strict=True):
            with self.armed(prompt):
                scores += score_pairs(self.hf_model, [pair])
        return scores

    def _parts(self, prompt: str) -> tuple[Any, ...]:
        """Name what the tokens of this prompt run through; a seam that does not say what it arms shares nothing."""
        if not all(isinstance(seam, Named) for seam in self.seams):
            return (self.weights, self.itself, prompt)
        armed = ((type(seam).__qualname__, seam.part(prompt)) for seam in self.seams if isinstance(seam, Named))
        return (self.weights, *(pair for pair in armed if pair[1]))

    def _greedy(
        self, prompts: Sequence[str], shown: Sequence[str], max_new_tokens: int, is_template: bool
    ) -> list[str]:
        """Answer what is shown in place of some prompts, as the model stands."""
        ids_of = encode_prompt if is_template else encode_text
        rows = [ids_of(self.tokenizer, text) for text in shown]
        endings = [self._endings(prompt) for prompt in prompts]
        return greedy(self.hf_model, self.tokenizer, rows, max_new_tokens, is_template, endings)

    def before(self, prompt: str) -> str:
        """Return what the weights are shown in place of a prompt."""
        for seam in self.seams:
            prompt = seam.before(prompt)
        return prompt

    @contextmanager
    def armed(self, prompt: str) -> Iterator[None]:
        """Arm what is inside the model for a prompt, as long as the context lasts."""
        with self.turn, ExitStack() as stack:
            for seam in self.seams:
                stack.enter_context(seam.inside(prompt))
            yield


def _tuned(seam: Seams, settings: Mapping[str, Setting]) -> Seams:
    if not isinstance(seam, Tunable):
        return seam
    return seam.tuned({name: value for name, value in settings.items() if name in seam.settings})


def open_version(path: Path, host: Host, device: str = "cpu", known: Known | None = None) -> Model:
    """Load a version's weights and attach its attachments in the order it wrote down.

    Args:
        path: A version's directory; one that refers to a base has it linked at `base/`.
        host: Says which plugin offers each kind of attachment.
        device: Where the weights go, such as `cpu` or `cuda:0`.
        known: Shared by versions that are open at once, so that nothing is asked twice.

    Raises:
        BadInput: There are no weights here.
        Broken: The attachments and their order disagree.
    """
    transformers_logging.disable_progress_bar()
    kinds = attachment_kinds(path)
    attachments = [(host.attachment(kind), path / "attachments" / kind) for kind in kinds]
    hf_model, tokenizer = load_model(path, device)
    seams = tuple(found.load(where, hf_model, tokenizer) for found, where in attachments)
    weights = str(weights_directory(path).resolve())
    return Model(hf_model, tokenizer, seams, weights, known)


def attachment_kinds(version: Path) -> tuple[str, ...]:
    """Return the kinds of a version's attachments in their written order.

    Raises:
        Broken: A folder is not in `attachments/order.json`, or a kind has no folder; a part
            left out in silence would be a different model.
    """
    directory = version / "attachments"
    present = {child.name for child in directory.iterdir() if child.is_dir()} if directory.is_dir() else set()
    order = directory / "order.json"
    kinds = tuple(json.loads(order.read_bytes())) if order.exists() else ()
    if len(kinds) != len(set(kinds)) or set(kinds) != present:
        raise Broken("attachments/order.json and the folders beside it disagree; restore the version from its store")
    return kinds
