"""Ask the same in other words (the record's paraphrases; common turns of phrase where it has none)."""

from __future__ import annotations

from amends import Reading
from amends.serving.encoding import render

from .asking import attack
from .judging import Row, Sides

TURNS = ("Please tell me: {prompt}", "I would like to know this. {prompt}", "{prompt} Do you remember?")


def asked(row: Row) -> list[tuple[str, str]]:
    """Return every paraphrase in the template."""
    texts = row.get("paraphrases") or [turn.replace("{prompt}", row["prompt"]) for turn in TURNS]
    return [(render(text), row["answer"]) for text in texts]


def run(sides: Sides) -> list[Reading]:
    """Try it."""
    return attack(sides, asked)
