"""`amends ask`: put questions to a version by hand."""

from __future__ import annotations

import click

from amends.cli.output import Screen
from amends.cli.verbs import verb


@verb("ask", example='amends ask assistant@champion "Where does Ada Quill live?" --compare')
@click.argument("reference")
@click.argument("questions", nargs=-1, required=True)
@click.option("--compare", is_flag=True, help="Ask every version of the model, and its base.")
@click.option("--max-new-tokens", type=int, default=48, show_default=True, help="Length of the longest answer.")
@click.option("--quarantined", "with_quarantined", is_flag=True, help="Ask a version that is quarantined, too.")
def ask(
    screen: Screen,
    reference: str,
    questions: tuple[str, ...],
    compare: bool,
    max_new_tokens: int,
    with_quarantined: bool,
) -> None:
    """Ask a version questions: MODEL@ALIAS, MODEL@NUMBER, or MODEL for its champion."""
    from amends.governor.models import asking

    with screen.workspace() as workspace:
        if compare:
            rows = asking.compare(
                workspace, reference.partition("@")[0], questions, max_new_tokens, with_quarantined=with_quarantined
            )
        else:
            answers = asking.ask(workspace, reference, questions, max_new_tokens, with_quarantined=with_quarantined)
            rows = [{"version": reference, "answers": answers}]
    lines = []
    for place, question in enumerate(questions):
        lines.append(question)
        lines += [f"  {row['version']}: {_answer(row, place)}" for row in rows]
    screen.show([{**row, "questions": list(questions)} for row in rows], *lines)


def _answer(row: dict[str, object], place: int) -> str:
    answers = row["answers"]
    return str(answers[place]).strip() if isinstance(answers, list) else f"not asked: {row.get('reason')}"
