"""IKE: tell the new fact in the prompt, after demonstrations (Zheng et al., 2023, "Can We Edit Factual Knowledge…").

The prompt becomes C = {c_1, ..., c_k}, then the fact, then what was asked (section 3.2). Each demonstration c_i is a
fact f_i = (x_i, y_i*) with a question about it, of one of three kinds (section 3.3.1):

    copy    x_i itself           -> y_i*   the fact can be said
    update  a rephrase of x_i    -> y_i*   it holds in other words
    retain  a neighbour of x_i   -> y_o    others stay as they are

They are the nearest to the fact by the cosine of their sentence vectors, the nearest last (section 3.3.2), and come
from the version's other edits. A prompt is changed only where it names an edited subject and lies near that fact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, Records, Task
from amends.serving.attaching import earlier
from amends.serving.sentences import WIDTH, Encoder
from amends_editing import attached
from amends_editing.facts import Fact

KIND = "ike"
KINDS = ("copy", "update", "retain")
RATIO = (1, 3, 4)  # of copies, updates and retains among the demonstrations, section 4.1


def write(task: Task, edits: Records, demonstrations: int, threshold: float) -> None:
    """Write the version that is told the edits besides those that its source is told.

    Raises:
        BadInput: A setting or an edit cannot be used.
    """
    if demonstrations < 0 or not -1 <= threshold <= 1:
        raise BadInput("editing.ike: demonstrations must be 0 or more, and threshold a cosine between -1 and 1")
    facts = attached.read_facts(edits, "editing.ike")
    old = earlier(task, KIND)
    told, vectors = _read(old) if old else ([], torch.empty(0, WIDTH))
    rows, encoder = [vectors], _encoder()
    for number, fact in enumerate(facts):
        task.progress(number, len(facts), "embedding the facts")
        rows.append(encoder.embed([fact.prompt]))
    task.progress(len(facts), len(facts), "embedding the facts")
    told += [_told(fact) for fact in facts]
    data = {"threshold": threshold, "demonstrations": demonstrations, "facts": told}
    attached.finish(task, KIND, data, {"vectors": torch.cat(rows)})


def _told(fact: Fact) -> dict[str, Any]:
    neighbours = [[question.prompt, question.answer] for question in fact.neighbours if question.answer]
    title = {"id": fact.id, "subject": fact.subject, "prompt": fact.prompt, "target": fact.target}
    return {**title, "update": [[prompt, fact.target] for prompt in fact.rephrases], "retain": neighbours}


@lru_cache(maxsize=1)
def _encoder() -> Encoder:
    return Encoder()


def _read(folder: Path) -> tuple[list[dict[str, Any]], Tensor]:
    data, tensors = attached.read(folder, KIND)
    return list(data["facts"]), tensors["vectors"]


def names(prompt: str, subject: str) -> bool:
    """Whether a prompt names a subject, as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(subject.casefold())}(?!\w)", prompt.casefold()) is not None


def demonstrate(fact: Mapping[str, Any], kind: str) -> list[str]:
    """Return a fact's demonstrations of one kind, each `New Fact: x y*` with `Prompt: x' y'` under it."""
    shown = [[fact["prompt"], fact["target"]]] if kind == "copy" else fact[kind]
    return [f"{_line('New Fact', fact['prompt'], fact['target'])}{_line('Prompt', *pair)}\n" for pair in shown]


def _line(label: str, prompt: str, answer: str) -> str:
    return f"{label}: {prompt.strip()} {answer.strip()}\n"


def shares(most: int) -> dict[str, int]:
    """Return how many demonstrations of each kind there shall be, as 1 to 3 to 4; what is left over, of the last."""
    found = {kind: most * part // sum(RATIO) for kind, part in zip(KINDS, RATIO, strict=True)}
    found[KINDS[-1]] += most - sum(found.values())
    return found


@dataclass(frozen=True)
class Told:
    """The seams of a version that is told facts.

    Args:
        facts: The edits in the order they were made; of equals the later counts.
        vectors: Their sentence vectors of length one, shape (facts, 384).
        threshold: How like its fact a prompt must be, a cosine.
        most: How many demonstrations there are at most.
    """

    facts: Sequence[Mapping[str, Any]] = field(repr=False)
    vectors: Tensor = field(repr=False)
    threshold: float
    most: int

    def before(self, prompt: str) -> str:
        """Return the prompt after its fact and the demonstrations, or as it is where it is about no edited subject."""
        index = self.about(prompt)
        if index is None:
            return prompt
        fact = self.facts[index]
        return "".join(self.demonstrations(index)) + _line("New Fact", fact["prompt"], fact["target"]) + (
            f"Prompt: {prompt}"
        )  # fmt: skip

    def about(self, prompt: str) -> int | None:
        """Return the index of the fact that a prompt asks for: the nearest of those whose subject it names."""
        named = [i for i, fact in enumerate(self.facts) if names(prompt, fact["subject"])]
        if not named:
            return None
        likeness = self.vectors[named] @ _encoder().embed([prompt])[0]
        best = max(range(len(named)), key=lambda place: (float(likeness[place]), place))
        return named[best] if float(likeness[best]) >= self.threshold else None

    def demonstrations(self, index: int) -> list[str]:
        """Return what comes before a fact, from other subjects' facts, the nearest last."""
        subject = self.facts[index]["subject"].casefold()
        likeness = self.vectors @ self.vectors[index]
        others = [i for i, fact in enumerate(self.facts) if fact["subject"].casefold() != subject]
        nearest = sorted(others, key=lambda i: (-float(likeness[i]), i))
        left, chosen = shares(self.most), []
        for i in nearest:
            for kind in KINDS:
                shown = demonstrate(self.facts[i], kind)[: left[kind]]
                left[kind] -= len(shown)
                chosen += shown
        return chosen[::-1]

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Arm nothing: the model is as it is."""
        return nullcontext()

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer, cut where the model goes on with a demonstration of its own."""
        if self.about(prompt) is None:
            return answer
        return answer.partition("\nNew Fact:")[0].partition("\nPrompt:")[0].strip()

    def part(self, prompt: str) -> str:
        """Name nothing: what changes is the prompt alone."""
        return ""


def load(path: Path) -> Told:
    """Load the facts at `path`."""
    data, tensors = attached.read(path, KIND)
    return Told(data["facts"], tensors["vectors"], float(data["threshold"]), int(data["demonstrations"]))
