"""The questions of three inventories, answered where lineage can: EU AI Act, Annexes XI and XII, and SR 11-7.

Annex XI (technical documentation) and Annex XII (information for downstream providers) are those of Regulation (EU)
2024/1689 for providers of general-purpose AI models; SR 11-7 is the guidance of the Federal Reserve and the OCC on
model risk management, section VI, of which the model inventory is a part. The wording is shortened; the text of the
law holds. An answer's source is `lineage`, where Amends itself recorded it, `declared`, where people said so, or
`open`, where nobody has answered: those are named, never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amends.governor.proof import answers as say

Told = Mapping[str, Any]
Answer = tuple[str, str]
Question = tuple[str, str, Callable[[Told], Answer | None] | None]

LINEAGE, DECLARED, OPEN = "lineage", "declared", "open"
UNANSWERED = "not on record; whoever provides the model has to answer it"

ANNEX_XI: tuple[Question, ...] = (
    ("1.1(a)", "Tasks the model is intended for, and the systems it can be integrated into", None),
    ("1.1(b)", "Acceptable use policies", None),
    ("1.1(c)", "Date of release", say.released),
    ("1.1(c)", "Methods of distribution", say.distributed),
    ("1.1(d)", "Architecture and number of parameters", say.architecture),
    ("1.1(e)", "Modality and format of inputs and outputs", say.modality),
    ("1.1(f)", "Licence", say.licence),
    ("1.2(a)", "Technical means required for integration", say.means),
    ("1.2(b)", "Training methods and techniques, with their parameters", say.methods),
    ("1.2(b)", "Rationale and assumptions of the key design choices", None),
    ("1.2(b)", "What the model is designed to optimise for", None),
    ("1.2(c)", "Data that went in after the base: type, number of records, provenance", say.data),
    ("1.2(c)", "How that data was obtained, selected, cleaned and filtered", None),
    ("1.2(c)", "Measures against unsuitable sources and identifiable biases in the data", None),
    ("1.2(c)", "Data that the base model was trained on", None),
    ("1.2(d)", "Time that the changes recorded here took, and on which hardware", say.effort),
    ("1.2(d)", "Floating-point operations of the training", None),
    ("1.2(e)", "Known or estimated energy consumption", None),
    ("2.1", "Evaluation: criteria, metrics and results", say.evaluation),
    ("2.1", "Limitations", say.limitations),
    ("2.2", "Adversarial testing", say.attacks),
    ("2.2", "Model adaptations, such as alignment and fine-tuning", say.adaptations),
    ("2.3", "Architecture of the system: how its components build on each other", say.components),
)
ANNEX_XII: tuple[Question, ...] = (
    ("1(a)", "Tasks the model is intended for, and the systems it can be integrated into", None),
    ("1(b)", "Acceptable use policies", None),
    ("1(c)", "Date of release", say.released),
    ("1(c)", "Methods of distribution", say.distributed),
    ("1(d)", "Interaction with hardware or software that is not part of the model", None),
    ("1(e)", "Versions of relevant software", say.software),
    ("1(f)", "Architecture and number of parameters", say.architecture),
    ("1(g)", "Modality and format of inputs and outputs", say.modality),
    ("1(h)", "Licence", say.licence),
    ("2(a)", "Technical means required for integration", say.means),
    ("2(b)", "Maximum size of inputs and outputs, such as the context window", say.context),
    ("2(c)", "Data that went in after the base: type, number of records, provenance", say.data),
    ("2(c)", "How that data was obtained, selected, cleaned and filtered", None),
)
SR_11_7: tuple[Question, ...] = (
    ("VI", "Purpose and products for which the model is designed", None),
    ("VI", "Actual or expected usage", None),
    ("VI", "Restrictions on use", say.restrictions),
    ("VI", "Type and source of inputs", say.data),
    ("VI", "Underlying components, which may include other models", say.components),
    ("VI", "Model outputs and their intended use", None),
    ("VI", "Whether the model functions properly", say.functioning),
    ("VI", "When it was last updated", say.updated),
    ("VI", "Exceptions to policy", say.exceptions),
    ("VI", "Persons responsible for development", say.developers),
    ("VI", "Persons responsible for validation", say.validators),
    ("VI", "Dates of completed validation", say.validated),
    ("VI", "Dates of planned validation", None),
    ("VI", "How long the model is expected to remain valid", None),
)
REGIMES: Mapping[str, tuple[Question, ...]] = {
    "EU AI Act, Annex XI": ANNEX_XI,
    "EU AI Act, Annex XII": ANNEX_XII,
    "SR 11-7, model inventory": SR_11_7,
}


def answered(passport: Told) -> list[dict[str, str]]:
    """Return every question of every inventory with its answer and where that is from."""
    return [
        {"regime": regime, "item": item, "question": question, **_row(answer, passport)}
        for regime, questions in REGIMES.items()
        for item, question, answer in questions
    ]


def _row(answer: Callable[[Told], Answer | None] | None, passport: Told) -> dict[str, str]:
    found = None if answer is None else answer(passport)
    text, source = found or (UNANSWERED, OPEN)
    return {"answer": text, "source": source}
