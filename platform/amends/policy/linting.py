"""Lint a policy's file: every mistake with its line and column, and every rule that decides nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from amends.errors import BadPolicy
from amends.policy.engine import FACTS, CelEngine, PolicyEngine
from amends.policy.fields import read_yaml
from amends.policy.parsing import parse_policy
from amends.policy.places import START, Place, Tree, entries, place_of
from amends.policy.reach import answers
from amends.policy.references import References, read_references

_Find = Callable[[int, int], Place]
WITH_GUARANTEE = ("erasure", "promotion")
"""The policies that are told which guarantee a version has; elsewhere a rule with `when` is never answered."""

_MARK = re.compile(r"(?:.*?, )?(\d+):(\d+): (.*)", re.DOTALL)
_RULE = re.compile(r"rule ['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake: where it stands, what it is about, and a sentence that names the way out."""

    place: Place
    about: str
    sentence: str


@dataclass(frozen=True)
class Known:
    """What the installed plugins offer: the parameters of each probe by its name, and the names of operations."""

    probes: Mapping[str, Collection[str]] = field(default_factory=dict)
    operations: Collection[str] = ()


def lint(text: str, file: str, known: Known, engine: PolicyEngine | None = None) -> list[Finding]:
    """Return every mistake in a policy, in the order in which they stand; none means that it is sound.

    Args:
        text: The file's text.
        file: Its name, for sentences.
        known: What the installed plugins offer.
        engine: The language of the rules; CEL unless told.
    """
    engine = engine or CelEngine()
    try:
        read_yaml(text, file)
        tree = Tree.read(text)
    except BadPolicy as error:
        return [_told(error, "the file", START)]
    found = [*_rules(tree, known, engine), *_settings(tree, known)]
    if not found:
        found += _whole(text, file, tree, engine)
    return sorted(set(found))


def _whole(text: str, file: str, tree: Tree, engine: PolicyEngine) -> Iterator[Finding]:
    """Yield what only reading the policy as a whole can see, if the parts alone are sound."""
    try:
        parse_policy(text, file, engine)
    except BadPolicy as error:
        named = _RULE.search(str(error))
        rule = next((node for node in tree.items("rules") if named and _id(node) == named[1]), None)
        yield _told(error, f"rule {named[1]!r}" if named and rule else "the policy", place_of(rule) if rule else START)


def _rules(tree: Tree, known: Known, engine: PolicyEngine) -> Iterator[Finding]:
    seen: dict[str, Place] = {}
    name = entries(tree.root).get("name")
    for node in tree.items("rules"):
        id, here = _id(node), place_of(node)
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


def _id(node: yaml.Node) -> str:
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
        yield _told(error, about, place_of(node), lambda line, column: tree.inside(node, _offset(node, line, column)))
        return
    lacking = list(_unknown_readings(tree, node, about, references, known))
    yield from lacking
    if not lacking:
        yield from _deciding(expression, references, about, place_of(node), engine)


def _unknown_facts(tree: Tree, node: yaml.Node, about: str) -> Iterator[Finding]:
    for match in re.finditer(r"\bfacts\.(\w+)", str(node.value)):
        if match[1] not in FACTS:
            yield Finding(
                tree.inside(node, match.start(1)), about, f"there is no fact {match[1]!r}; {_near(match[1], FACTS)}"
            )


def _unknown_readings(
    tree: Tree, node: yaml.Node, about: str, references: References, known: Known
) -> Iterator[Finding]:
    for name in sorted({reference.name for reference in references.readings}):
        probe = name.rpartition("/")[0]
        if probe not in known.probes:
            place = tree.inside(node, str(node.value).find(name))
            yield Finding(place, about, f"no probe reads {name!r}; {_near(probe, known.probes)}")


def _deciding(
    expression: str, references: References, about: str, place: Place, engine: PolicyEngine
) -> Iterator[Finding]:
    """Yield a rule that can never fire, or that always does."""
    found = answers(expression, references, engine)
    if found == {True}:
        yield Finding(place, about, "it holds whatever is read, so it can never fire; remove it or mend the comparison")
    elif found == {False}:
        yield Finding(place, about, "it fails whatever is read, so nothing passes it; remove it or mend the comparison")


def _settings(tree: Tree, known: Known) -> Iterator[Finding]:
    for key in ("probes", "audit"):
        for name, (node, settings) in tree.mapping(key).items():
            if name not in known.probes:
                yield Finding(place_of(node), key, f"no plugin offers the probe {name!r}; {_near(name, known.probes)}")
                continue
            for parameter, (where, _) in entries(settings).items():
                if parameter not in known.probes[name]:
                    said = f"probe {name!r} has no parameter {parameter!r}; {_near(parameter, known.probes[name])}"
                    yield Finding(place_of(where), key, said)
    named = [(node, str(node.value)) for node in tree.items("required")]
    named += [(node, name) for name, (node, _) in tree.mapping("minimum").items()]
    for node, name in named:
        if name.rpartition("/")[0] not in known.probes:
            said = f"no probe reads {name!r}; {_near(name.rpartition('/')[0], known.probes)}"
            yield Finding(place_of(node), "required" if node in tree.items("required") else "minimum", said)
    operations = tree.items("operations")
    if operations and not any(node.value in known.operations for node in operations):
        first = operations[0]
        yield Finding(
            place_of(first), "operations", f"no plugin offers any of them; {_near(str(first.value), known.operations)}"
        )


def _near(name: str, known: Collection[str]) -> str:
    found = difflib.get_close_matches(name, sorted(known), 1)
    return f"did you mean {found[0]!r}" if found else "check its spelling, or install the plugin that brings it"


def _offset(node: yaml.Node, line: int, column: int) -> int:
    """Return the letter of a text that an expression's own line and column mean."""
    value = str(node.value)
    lead = len(value) - len(value.lstrip())
    lines = value[lead:].split("\n")
    return lead + sum(len(each) + 1 for each in lines[: line - 1]) + column - 1


def _told(error: BadPolicy, about: str, place: Place, find: _Find | None = None) -> Finding:
    """Return an error as a finding: at the place that it names, where it names one."""
    marked = _MARK.fullmatch(str(error))
    if marked is None:
        return Finding(
            place, about, str(error).partition(": ")[2] if find is None and ": " in str(error) else str(error)
        )
    line, column = int(marked[1]), int(marked[2])
    return Finding(find(line, column) if find else Place(line, column), about, marked[3])
