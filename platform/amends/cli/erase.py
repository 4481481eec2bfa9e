"""`amends erase`: open an erasure request."""

from __future__ import annotations

from typing import Any

import click

from amends.cli.casetext import case_lines, exit_code, next_steps
from amends.cli.output import Screen
from amends.cli.subject import read_subject
from amends.cli.times import read_time
from amends.cli.verbs import verb
from amends.errors import BadInput


@verb("erase", example="amends erase --model assistant --subject - --jurisdiction DE < person.txt")
@click.option("--model", required=True, metavar="NAME", help="The model that is to forget.")
@click.option("--subject", "where", required=True, metavar="-|FILE", help="Whom: standard input, or a file.")
@click.option(
    "--received-at", default="", metavar="ISO", help="When the request came, with its time zone; starts the clock."
)
@click.option("--regime", default="", help="gdpr or ccpa; by default the workspace's.")
@click.option("--jurisdiction", default="", help="Whose public holidays count, such as DE; by default the workspace's.")
@click.option("--ground", default="", help="Such as 17(1)(b), consent withdrawn, which is the default.")
@click.option("--identity-checked", default="", metavar="HOW", help="How it was checked that the request is theirs.")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED)
def erase(screen: Screen, model: str, where: str, received_at: str, rest: tuple[str, ...], **given: Any) -> int:
    r"""Open an erasure request: locate the person, and plan what is to be done.

    The person is read from standard input, from a file, or from a hidden prompt on a terminal: a JSON object with
    name, email and phone, lines such as `name: …`, or one line with the name. Never as an argument.

    Leaves with 3 while somebody has to review near misses or approve the plan.
    """
    from amends.governor.cases.requesting import Request, open_erasure
    from amends.governor.cases.viewing import case_view

    if rest:
        raise BadInput("erase takes no further arguments; a data subject goes to --subject - and standard input")
    received = read_time(received_at, "--received-at")
    identifiers = read_subject(where)
    with screen.workspace() as workspace:
        regime = given["regime"] or workspace.settings.regime
        request = Request(
            model, identifiers, received, regime, given["jurisdiction"],
            given["ground"] or ("ccpa" if regime == "ccpa" else "17(1)(b)"), given["identity_checked"],
        )  # fmt: skip
        case = open_erasure(workspace, request)
        view = case_view(workspace, case.id)
    screen.show({**view, "next": next_steps(view)}, *case_lines(view), *next_steps(view))
    return exit_code(view)
