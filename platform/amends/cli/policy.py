"""`amends policy`: what decides, what it decided, and whether that still comes out the same."""

from __future__ import annotations

import click

from amends.cli.output import Screen
from amends.cli.tables import Marked, Table
from amends.cli.verbs import group

policy = group("policy", "Read, check, explain and replay policies.")


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
    quorum = found["approvals"]
    screen.show(
        found,
        f"{found['name']}: {found['description']} (sha256 {found['digest']})",
        f"approvals: {quorum['count']} of {', '.join(quorum['roles']) or 'anybody'}",
        f"operations: {', '.join(found['operations']) or 'none'}",
        f"purge after {found['purge_after_days']} days, keep traces for {found['retention_days']} days",
        f"must be read: {', '.join(found['required']) or 'nothing'}",
        Table(("rule", "if it fails", "asked when", "expression", "what is wrong then"), rows),
    )


@policy.verb("check", example="amends policy check erasure")
@click.argument("name")
def check(screen: Screen, name: str) -> None:
    """Check a policy by name or file, without using it."""
    from amends.governor.proof.proving import check_policy

    with screen.workspace() as workspace:
        found = check_policy(workspace, name)
    screen.show(found, f"policy {found['name']} is sound: {found['rules']} rules, sha256 {found['digest'][:12]}")


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


@policy.verb("explain", example="amends policy explain e-0123456789-erasure-0")
@click.argument("decision")
def explain(screen: Screen, decision: str) -> None:
    """Explain a decision in plain sentences."""
    from amends.governor import listing

    with screen.workspace() as workspace:
        found = listing.verdict(workspace, decision)
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
