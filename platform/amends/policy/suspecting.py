"""Lint the rules of a policy: what they read must be there, and they must be able to say yes and no."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from amends.errors import BadPolicy
from amends.policy.engine import FACTS, PolicyEngine
from amends.policy.findings import Finding, Known, near, told
from amends.policy.places import Place, Tree, entries, place_of
from amends.policy.reach import answers
from amends.policy.references import References, read_references

WITH_GUARANTEE = ("erasure", "promotion")
"""The policies that are told which guarantee a version has; elsewhere a rule with `when` is never answered."""


def lint_rules(tree: Tree, known: Known, engine: PolicyEngine) -> Iterator[Finding]:
    """Yield every mistake in the rules, each at its place."""
    seen: dict[str, Place] = {}
    name = entries(tree.root).get("name")
    for node in tree.items("rules"):
        id, here = id_of(node), place_of(node)
        about = f"rule {id!r}" if id else "a rule"
        if id in seen:
            yield Finding(here, about, f"there is a rule of this id at {seen[id]} already; give each its own")
        seen.setdefault(id, here)
        parts = entries(node)
        if "expr" in parts:
            yield from _expression(tree, parts["expr"][1], about, known, engine)
        if "when" in parts and name is not None and name[1].value not in WITH_GUARANTEE:
            way_out = (
                f"only {' and '.join(WITH_GUARANTEE)} are told of a guarantee, so this is never answered and denies"
            )
            yield Finding(place_of(parts["when"][0]), about, f"{way_out}; leave `when` out")


def id_of(node: yaml.Node) -> str:
    """Return a rule's id, or nothing where it has none."""
    found = entries(node).get("id")
    return "" if found is None else str(found[1].value)


def _expression(tree: Tree, node: yaml.Node, about: str, known: Known, engine: PolicyEngine) -> Iterator[Finding]:
    expression = str(node.value).strip()
    unknown = list(_unknown_facts(tree, node, about))
    yield from unknown
    if unknown:
        return
    try:
        engine.compile(expression)
        references = read_references(expression)
    except BadPolicy as error:
        yield told(error, about, place_of(node), lambda line, column: tree.inside(node, _offset(node, line, column)))
        return
    lacking = list(_unknown_readings(tree, node, about, references, known))
    yield from lacking
    if not lacking:
        yield from _deciding(expression, references, about, place_of(node), engine)


def _unknown_facts(tree: Tree, node: yaml.Node, about: str) -> Iterator[Finding]:
    for match in re.finditer(r"\bfacts\.(\w+)", str(node.value)):
        if match[1] not in FACTS:
            yield Finding(
                tree.inside(node, match.start(1)), about, f"there is no fact {match[1]!r}; {near(match[1], FACTS)}"
            )


def _unknown_readings(
    tree: Tree, node: yaml.Node, about: str, references: References, known: Known
) -> Iterator[Finding]:
    for name in sorted({reference.name for reference in references.readings}):
        probe = name.rpartition("/")[0]
        if probe not in known.probes:
            place = tree.inside(node, str(node.value).find(name))
            yield Finding(place, about, f"no probe reads {name!r}; {near(probe, known.probes)}")


def _deciding(
    expression: str, references: References, about: str, place: Place, engine: PolicyEngine
) -> Iterator[Finding]:
    """Yield a rule that can never fire, or that always does."""
    found = answers(expression, references, engine)
    if found == {True}:
        yield Finding(place, about, "it holds whatever is read, so it can never fire; remove it or mend the comparison")
    elif found == {False}:
        yield Finding(place, about, "it fails whatever is read, so nothing passes it; remove it or mend the comparison")


def _offset(node: yaml.Node, line: int, column: int) -> int:
    """Return the letter of a text that an expression's own line and column mean."""
    value = str(node.value)
    lead = len(value) - len(value.lstrip())
    lines = value[lead:].split("\n")
    return lead + sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
