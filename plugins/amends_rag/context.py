"""Retrieval at the input: numbered passages before the question, and the sources that the answer rests on after it.

After Lewis et al. (2020) and Ram et al. (2023, "In-Context Retrieval-Augmented Language Models"): the model is left as
it is and reads what was found. A small model does not cite by itself, so the source is found afterwards: the first of
the passages in its prompt that has the answer's words, or that the model named.
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
TOLD = "Read and answer.\nContext:"
ASKED = "Question: "


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
    for name in ("context_cite", "context_numbered"):
        attached.between(name, settings[name], 0, 1)
    Fusion(_how(settings))
    return settings


def _how(settings: Mapping[str, Setting]) -> How:
    return cast("How", settings["context_fusion"])  # which `Fusion` checks


def shown(hits: Sequence[Hit], question: str, is_numbered: bool = True) -> str:
    """Return the prompt: the passages, perhaps with their numbers, the best last and so next to the question."""
    if not hits:
        return question
    numbered = [f"[{number}] {hit.passage.text}" for number, hit in enumerate(hits, start=1)]
    numbered = numbered if is_numbered else [hit.passage.text for hit in hits]
    return "\n".join([TOLD, *reversed(numbered), f"{ASKED}{question}"])


@dataclass(frozen=True)
class Grounded:
    """The seams of a version that reads passages.

    Args:
        finder: Finds them.
        tokenizer: The model's, which counts how much fits.
        settings: `context_k`, `context_tokens`, `context_fusion`, `context_numbered`, `context_cite`.
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
        return shown(self.hits(prompt), prompt, bool(self.settings["context_numbered"]))

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Arm nothing: the model is as it is."""
        return nullcontext()

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer with the number of the passage that it rests on, and the list of what it cites.

        It is cut where the model goes on with a context of its own.
        """
        hits = self.hits(prompt)
        if hits:
            answer = answer.partition("\nContext:")[0].strip()
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
    """Load the passages at `path`."""
    return Grounded(open_finder(path), tokenizer, attached.read_defaults(path))
