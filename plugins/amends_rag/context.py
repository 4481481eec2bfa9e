"""Retrieval at the input: numbered passages before the question, and the sources that the answer rests on after it.

After Lewis et al. (2020) and Ram et al. (2023, "In-Context Retrieval-Augmented Language Models"): the model is left as
it is and reads what was found, after an example that shows it how short an answer is and where it ends. A small model
does not cite by itself, so the source is found afterwards: the first of the passages in its prompt that has the
answer's words, or that the model named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from amends import Records, Seams, Setting, Task
from amends_rag import attached
from amends_rag.chunking import Cut
from amends_rag.citing import cited, supporting
from amends_rag.fusion import Fusion, How
from amends_rag.passages import Finder, open_finder, write_index
from amends_rag.reranking import Reranker
from amends_rag.retriever import Hit

KIND = "rag-context"
TOLD = "Read and answer."
BEGINS = "\nContext:"
EXAMPLE = (
    "The mill of Oxmoor was built in 1874. It grinds rye and oats.",
    "What does the mill of Oxmoor grind?",
    "rye and oats",
)
"""A passage, a question and its answer: how short an answer is, and where it ends."""


def write(
    task: Task, documents: Records, settings: Mapping[str, Setting], cut: Cut, reranker: Reranker | None = None
) -> None:
    """Write the version that reads the documents, beside those that its source reads.

    Raises:
        BadInput: A setting or a document cannot be used.
    """
    checked(settings)
    write_index(task, documents, KIND, settings, cut, Fusion(_how(settings)), reranker)


def checked(settings: Mapping[str, Setting]) -> Mapping[str, Setting]:
    """Return settings that can be used.

    Raises:
        BadInput: One is out of its bounds.
    """
    attached.between("context_k", settings["context_k"], 0, 100)
    attached.between("context_tokens", settings["context_tokens"], 1, 1 << 20)
    for name in ("context_cite", "context_example", "context_numbered"):
        attached.between(name, settings[name], 0, 1)
    Fusion(_how(settings))
    return settings


def _how(settings: Mapping[str, Setting]) -> How:
    return cast("How", settings["context_fusion"])  # which `Fusion` checks


def shown(passages: Sequence[str], question: str, is_numbered: bool = True, has_example: bool = True) -> str:
    """Return the prompt: the passages before the question, the best last and so next to it.

    Args:
        passages: What was found, the best first; the question stands alone where there is nothing.
        question: What is asked.
        is_numbered: Whether each passage has its number before it.
        has_example: Whether an example comes first, which is about none of the documents.
    """
    if not passages:
        return question
    example = _example(is_numbered) if has_example else ""
    return f"{TOLD}{example}{_asked(passages, question, is_numbered)}"


def without_example(prompt: str) -> str:
    """Return a prompt without its example: what stands there is no document's."""
    for is_numbered in (True, False):
        prompt = prompt.replace(_example(is_numbered), "", 1)
    return prompt


def _example(is_numbered: bool) -> str:
    passage, question, answer = EXAMPLE
    return f"{_asked([passage], question, is_numbered)}\nAnswer: {answer}\n"


def _asked(passages: Sequence[str], question: str, is_numbered: bool) -> str:
    numbered = [f"[{number}] {passage}" for number, passage in enumerate(passages, start=1)]
    return "\n".join([BEGINS, *reversed(numbered if is_numbered else passages), f"Question: {question}"])


@dataclass(frozen=True)
class Grounded:
    """The seams of a version that reads passages.

    Args:
        finder: Finds them.
        tokenizer: The model's, which counts how much fits.
        settings: `context_k`, `context_tokens`, `context_fusion`, and whether passages are `context_numbered`, an
            `context_example` comes first, and `context_cite` names sources.
    """

    finder: Finder = field(repr=False)
    tokenizer: Any = field(repr=False)
    settings: Mapping[str, Setting]

    def hits(self, prompt: str) -> list[Hit]:
        """Return the passages that stand before a prompt: the best that fit, without one that does not."""
        left, kept = int(self.settings["context_tokens"]), []
        for hit in self.finder.find(prompt, int(self.settings["context_k"]), _how(self.settings)):
            left -= len(self.tokenizer(hit.passage.text, add_special_tokens=False)["input_ids"])
            if left < 0:
                break
            kept.append(hit)
        return kept

    def before(self, prompt: str) -> str:
        """Return the prompt after its passages."""
        passages = [hit.passage.text for hit in self.hits(prompt)]
        is_numbered, has_example = (bool(self.settings[f"context_{name}"]) for name in ("numbered", "example"))
        return shown(passages, prompt, is_numbered, has_example)

    def ending(self, prompt: str) -> str:
        """Return where the model goes on with a context of its own."""
        return BEGINS if self.hits(prompt) else ""

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Arm nothing: the model is as it is."""
        return nullcontext()

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer with the number of the passage that it rests on, and the list of what it cites."""
        hits = self.hits(prompt)
        if not self.settings["context_cite"] or not answer or not hits:
            return answer
        numbers = cited(answer, len(hits))
        if not numbers:
            found = supporting(answer, [hit.passage.text for hit in hits])
            numbers = [] if found is None else [found]
            answer = answer if found is None else f"{answer} [{found}]"
        listed = [f"[{number}] {self.finder.titles[hits[number - 1].passage.document]}" for number in numbers]
        return "\n".join([answer, *listed])

    def part(self, prompt: str) -> str:
        """Name nothing: what changes is the prompt alone."""
        return ""

    def recalled(self, prompt: str) -> list[str]:
        """Return the passages that a prompt brings to the model."""
        return [hit.passage.text for hit in self.hits(prompt)]

    def held(self) -> list[str]:
        """Return all passages, and what their documents are called."""
        return [*(passage.text for passage in self.finder.retriever.passages), *self.finder.titles.values()]

    def tuned(self, settings: Mapping[str, Setting]) -> Seams:
        """Return these seams with more or fewer passages, or ranked in another way."""
        return replace(self, settings=checked(attached.changed(KIND, self.settings, settings)))


def load(path: Path, tokenizer: Any) -> Grounded:
    """Load the passages at `path`; a version that was made before there was an example shows none."""
    return Grounded(open_finder(path), tokenizer, {"context_example": 0, **attached.read_defaults(path)})
