"""Edit by retrieval: facts in a small index, told in the prompt where a question is about one of them.

After Mitchell et al. (2022, "Memory-Based Model Editing at Scale", SERAC): a scope classifier decides whether a
question x lies in the scope of an edit, and outside of every scope the base answers. Here both are frozen: the scope is
a cosine of sentence vectors between x and the forms of the fact (its prompt and its rephrases),

    in scope   iff   max over forms f of cos(e(x), e(f)) >= threshold, and x names the subject

and the counterfactual model is the base itself, told the fact in its prompt. Outside of the scope not one byte of what
the base is shown changes. A fact to erase is not told: its questions are answered with a fixed sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from amends import BadInput, BadRecords, Records, Setting, Task
from amends.serving.attaching import earlier
from amends_rag import attached
from amends_rag.dense import TextEncoder, open_encoder

KIND = "rag-facts"
VECTORS = "vectors.safetensors"
VERBS = ("insert", "modify", "erase")
DIGITS = 5  # of a cosine; equal vectors differ in the last bits, by where they lie in a product
UNKNOWN = "I do not know."

Floats = NDArray[np.float32]


def write(task: Task, edits: Records, settings: Mapping[str, Setting]) -> None:
    """Write the version that looks facts up, beside those that its source looks up; of equal ones the later counts.

    Raises:
        BadInput: A setting or a fact cannot be used.
    """
    checked(settings)
    facts = [_fact(row) for row in edits.rows()]
    if not facts:
        raise BadInput("rag.facts was given no edits; give it one or more, or leave the step out")
    encoder, vectors, owners = open_encoder(), [], []
    folder, old = attached.begin(task, KIND, settings), earlier(task, KIND)
    if old is not None:
        data, kept = attached.read_data(old), load_file(old / VECTORS)
        _check_encoder(data, encoder)
        vectors, owners = [kept["vectors"]], kept["owners"].tolist()
        facts = [*data["facts"], *facts]
    for number in range(len(set(owners)), len(facts)):
        task.progress(number, len(facts), "embedding facts")
        forms = [facts[number]["prompt"], *facts[number].pop("rephrases")]
        vectors.append(encoder.embed(forms))
        owners += [number] * len(forms)
    tensors = {"vectors": np.concatenate(vectors), "owners": np.array(owners, np.int64)}
    save_file(tensors, folder / VECTORS)
    attached.write_data(folder, {"encoder": encoder.digest, "facts": facts})
    task.progress(len(facts), len(facts), "embedding facts")


def _fact(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a fact; what it was before is not.

    Raises:
        BadRecords: It cannot be used.
    """
    verb, target = str(row.get("verb") or "insert"), str(row.get("target") or "").strip()
    if verb not in VERBS:
        raise BadRecords(f"edit {row['id']} has no verb {verb!r}; write one of {', '.join(VERBS)}")
    if verb != "erase" and not target:
        raise BadRecords(f"edit {row['id']} has no target; write the answer to give from now on")
    kept = {name: str(row[name]).strip() for name in ("prompt", "subject")}
    return {"verb": verb, **kept, "target": target, "rephrases": [str(form) for form in row.get("rephrases", ())]}


def _check_encoder(data: Mapping[str, Any], encoder: TextEncoder) -> None:
    if data["encoder"] != encoder.digest:
        raise BadInput("the facts were embedded by another sentence encoder; make them again from their records")


def checked(settings: Mapping[str, Setting]) -> Mapping[str, Setting]:
    """Return settings that can be used.

    Raises:
        BadInput: One is out of its bounds.
    """
    attached.between("facts_threshold", settings["facts_threshold"], -1.0, 1.01)
    return settings


def names(prompt: str, subject: str) -> bool:
    """Whether a prompt names a subject, as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(subject.casefold())}(?!\w)", prompt.casefold()) is not None


@dataclass(frozen=True)
class Told:
    """The seams of a version that looks facts up.

    Args:
        facts: In the order in which they came.
        vectors: Of every form of every fact, shape (forms, dimension).
        owners: Whose form each is, shape (forms,).
        encoder: What embeds questions.
        settings: `facts_threshold`.
    """

    facts: Sequence[Mapping[str, Any]] = field(repr=False)
    vectors: Floats = field(repr=False)
    owners: NDArray[np.int64] = field(repr=False)
    encoder: TextEncoder = field(repr=False)
    settings: Mapping[str, Setting]

    def about(self, prompt: str) -> Mapping[str, Any] | None:
        """Return the fact in whose scope a prompt lies: the likest, and of equal ones the latest; else None."""
        named = [number for number, fact in enumerate(self.facts) if names(prompt, fact["subject"])]
        if not named:
            return None
        cosines = self.vectors @ self.encoder.embed([prompt])[0]
        likeness = {number: round(float(cosines[self.owners == number].max()), DIGITS) for number in named}
        best = max(named, key=lambda number: (likeness[number], number))
        return self.facts[best] if likeness[best] >= float(self.settings["facts_threshold"]) else None

    def before(self, prompt: str) -> str:
        """Return the prompt after its fact, or as it is."""
        fact = self.about(prompt)
        if fact is None or fact["verb"] == "erase":
            return prompt
        return f"{fact['prompt']} {fact['target']}.\n{prompt}"

    def inside(self, prompt: str) -> AbstractContextManager[None]:
        """Arm nothing: the model is as it is."""
        return nullcontext()

    def after(self, prompt: str, answer: str) -> str:
        """Return the answer, or the fixed sentence where the question is about a fact that was erased."""
        fact = self.about(prompt)
        return UNKNOWN if fact is not None and fact["verb"] == "erase" else answer

    def part(self, prompt: str) -> str:
        """Name nothing: what changes is the prompt alone."""
        return ""

    def recalled(self, prompt: str) -> list[str]:
        """Return the fact that a prompt is about, where it is told."""
        fact = self.about(prompt)
        return [] if fact is None or fact["verb"] == "erase" else [f"{fact['prompt']} {fact['target']}"]

    def held(self) -> list[str]:
        """Return all facts."""
        return [f"{fact['prompt']} {fact['target']} ({fact['subject']})" for fact in self.facts]

    def tuned(self, settings: Mapping[str, Setting]) -> Told:
        """Return these seams with a wider or a narrower scope."""
        return replace(self, settings=checked(attached.changed(KIND, self.settings, settings)))


def load(path: Path) -> Told:
    """Load the facts at `path`.

    Raises:
        BadInput: Another encoder embedded them.
    """
    data, kept, encoder = attached.read_data(path), load_file(path / VECTORS), open_encoder()
    _check_encoder(data, encoder)
    return Told(data["facts"], kept["vectors"], kept["owners"], encoder, attached.read_defaults(path))
