"""A request and the cases that it opened for models that descend from its own, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

View = Mapping[str, Any]


def family_lines(view: View) -> Iterator[str]:
    """Yield the cases of a request as a tree: each under the one that opened it."""
    members = view.get("family", ())
    if members:
        yield "the request and what it opened for models that descend from its own:"
        yield from _branches(members, None, 1, view["id"])


def _branches(members: Sequence[View], parent: str | None, depth: int, here: str) -> Iterator[str]:
    for member in (found for found in members if found["parent"] == parent):
        how = {"rebuild": ", made again", "retire": ", taken out of service"}.get(member["how"], "")
        mark = "  <- this one" if member["id"] == here else ""
        yield f"{'  ' * depth}{member['id']} on {member['model']}: {member['status']}{how}{mark}"
        yield from _branches(members, member["id"], depth + 1, here)


def opened_lines(plan: View) -> Iterator[str]:
    """Yield by whom a case was opened, and what it opens in its turn."""
    if plan.get("parent"):
        yield f"opened by case {plan['parent']}; begins after {', '.join(plan['after'])}"
    for one in plan.get("descendants", ()):
        how = f"made again by {one['operation']}, {one['guarantee']}" if one["how"] == "rebuild" else "retired"
        yield f"descends from it: {', '.join(one['versions'])}: {how} in case {one['case']} ({one['because']})"
