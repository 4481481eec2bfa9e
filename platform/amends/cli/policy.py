"""`amends policy`: what decides, what it decided, and whether that still comes out the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from amends.cli.output import Screen
from amends.cli.tables import Marked, Table
from amends.cli.verbs import group
from amends.errors import BadPolicy

policy = group("policy", "Read, check, test, explain and replay policies.")


@policy.verb("list", example="amends policy list")
def list_policies(screen: Screen) -> None:
    """List the policies, the workspace's own before those that Amends brings."""
    from amends.governor import listing

    with screen.workspace() as workspace:
        found = listing.policies(workspace)
    rows = [(p["name"], p["rules"], p["digest"][:12], p["description"]) for p in found]
    screen.show(found, Table(("policy", "rules", "digest", "what it judges"), rows))


@policy.verb("show", example="amends policy show erasure")
@click.argument("name")
def show(screen: Screen, name: str) -> None:
    """Show a policy: every rule, and what happens when it fails."""
    from amends.governor import listing

    with screen.workspace() as workspace:
        found = listing.policy(workspace, name)
    rows = [
        (r["id"], r["severity"], ", ".join(r["when"]) or "always", r["expression"], r["message"])
        for r in found["rules"]
    ]
    screen.show(
        found,
        f"{found['name']}: {found['description']} (sha256 {found['digest']})",
        *_approvals(found),
        f"operations: {', '.join(found['operations']) or 'none'}",
        f"purge after {found['purge_after_days']} days, keep traces for {found['retention_days']} days",
        f"must be read: {', '.join(found['required']) or 'nothing'}",
        Table(("rule", "if it fails", "asked when", "expression", "what is wrong then"), rows),
    )


def _approvals(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield who must approve: for each alias, where the policy knows any."""
    if not found["environments"]:
        yield f"approvals: {_quorum(found['approvals'])}"
    for alias, environment in found["environments"].items():
        first = environment["first"]
        yield f"approvals for {alias}: {_quorum(environment['approvals'])}" + (
            f"; the first time {_quorum(first) if first['count'] else 0}" if first else ""
        )


def _quorum(quorum: Mapping[str, Any]) -> str:
    return f"{quorum['count']} of {', '.join(quorum['roles']) or 'anybody'}"


@policy.verb("check", example="amends policy check erasure")
@click.argument("name", metavar="NAME|FILE")
def check(screen: Screen, name: str) -> None:
    """Lint a policy by name or file: syntax, unknown readings and facts, and rules that decide nothing.

    Each mistake is shown with its line and column; leaves with 2 where there is one.
    """
    from amends.governor.proof.checking import check_policy

    with screen.workspace() as workspace:
        found = check_policy(workspace, name)
    if not found["findings"]:
        screen.show(found, f"policy {found['name']} is sound: {found['rules']} rules, sha256 {found['digest'][:12]}")
        return
    rows = [(f"{one['line']}:{one['column']}", one["about"], one["mistake"]) for one in found["findings"]]
    screen.show(found, Table(("at", "what", "mistake"), rows))
    (at, about, mistake), more = rows[0], len(rows) - 1
    raise BadPolicy(f"{found['file']}, {at}, {about}: {mistake}" + (f" (and {more} more)" if more else ""))


@policy.verb("test", example="amends policy test promotion --case promotion-cases.yaml")
@click.argument("name", metavar="NAME|FILE")
@click.option("--case", "table", required=True, type=click.Path(path_type=Path), help="A table of cases, in YAML.")
def test(screen: Screen, name: str, table: Path) -> int:
    """Judge a table of made-up cases by a policy; leaves with 1 if one comes out otherwise than the table says."""
    from amends.governor.proof.checking import try_table

    with screen.workspace() as workspace:
        found = try_table(workspace, name, table)
    rows = [
        (row["case"], row["expected"], row["answer"], ", ".join(row["denied_by"]), _trial(row))
        for row in found["cases"]
    ]
    wrong = sum(not row["passed"] for row in found["cases"])
    screen.show(
        found,
        Table(("case", "expected", "said", "denied by", "result"), rows),
        f"{len(rows) - wrong} of {len(rows)} cases come out as expected, under sha256 {found['digest'][:12]}",
    )
    return 1 if wrong else 0


def _trial(row: Mapping[str, Any]) -> str | Marked:
    if row["passed"]:
        return "as expected"
    wanted = row["expected_denied_by"]
    return Marked("otherwise" if wanted is None else f"expected to be denied by: {', '.join(wanted) or 'none'}", "red")


@policy.verb("decisions", example="amends policy decisions --case e-0123456789")
@click.option("--case", default="", help="Only those of this case.")
def decisions(screen: Screen, case: str) -> None:
    """List what policies decided."""
    from amends.governor import listing

    with screen.workspace() as workspace:
        found = listing.verdicts(workspace, case or None)
    rows = [
        (d["id"], d["policy"], "allowed" if d["allowed"] else Marked("denied", "red"), f"{d['at']:%Y-%m-%d %H:%M}")
        for d in found
    ]
    screen.show(found, Table(("decision", "policy", "verdict", "at"), rows, "nothing was decided yet"))


@policy.verb("explain", example="amends policy explain m-0123456789")
@click.argument("id", metavar="CASE|DECISION")
def explain(screen: Screen, id: str) -> None:
    """Say in plain sentences why a case is not done, or what a decision rests on."""
    from amends.governor.cases.explaining import explain_either

    with screen.workspace() as workspace:
        found = explain_either(workspace, id)
    screen.show(found, *found["explanation"])


@policy.verb("replay", example="amends policy replay e-0123456789-erasure-0")
@click.argument("decision")
def replay(screen: Screen, decision: str) -> int:
    """Judge a recorded decision again, from the recorded policy and inputs; leaves with 1 if it differs."""
    from amends.governor.judging import replay_decision

    with screen.workspace() as workspace:
        verdict, is_same = replay_decision(workspace, decision)
    said = "the same verdict" if is_same else "ANOTHER verdict; the record or the software changed"
    document = {"decision": decision, "same": is_same, "allowed": verdict.allowed, "reasons": list(verdict.reasons())}
    screen.show(document, f"judged again, decision {decision} gives {said}: {'allow' if verdict.allowed else 'deny'}")
    return 0 if is_same else 1
