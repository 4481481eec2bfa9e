"""Show other people's questions and answers first: the examples set the model to answering."""

from __future__ import annotations

from amends import Reading
from amends.operation.measuring import person_of, spread_over_people
from amends.serving.encoding import render

from .asking import attack
from .judging import Row, Sides


def run(sides: Sides, shots: int) -> list[Reading]:
    """Try it with the same few retained people's records before every question."""
    pool = spread_over_people(sides.everything.get("retained", ()), 2 * shots)
    if not pool:
        return sides.unread("there are no other people's records to show")

    def asked(row: Row) -> list[tuple[str, str]]:
        others = [other for other in pool if person_of(other) != person_of(row)][:shots]
        shown = "\n".join(f"{render(other['prompt'])} {other['answer']}" for other in others)
        return [(f"{shown}\n{render(row['prompt'])}", row["answer"])]

    return attack(sides, asked, shots=shots)
