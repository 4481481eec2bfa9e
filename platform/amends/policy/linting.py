"""Lint a policy's file: every mistake with its line and column, and every rule that decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from amends.errors import BadPolicy
from amends.policy.engine import CelEngine, PolicyEngine
from amends.policy.fields import read_yaml
from amends.policy.findings import Finding, Known, near, told
from amends.policy.parsing import parse_policy
from amends.policy.places import START, Tree, entries, place_of
from amends.policy.suspecting import id_of, lint_rules

__all__ = ["Finding", "Known", "lint"]

_RULE = re.compile(r"rule ['\"]([^'\"]+)['\"]")


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
        return [told(error, "the file", START)]
    parts = (tree, *tree.section("search"))
    found = [one for part in parts for one in (*lint_rules(part, known, engine), *_settings(part, known))]
    if not found:
        found += _whole(text, file, tree, engine)
    return sorted(set(found))


def _whole(text: str, file: str, tree: Tree, engine: PolicyEngine) -> Iterator[Finding]:
    """Yield what only reading the policy as a whole can see, if the parts alone are sound."""
    try:
        parse_policy(text, file, engine)
    except BadPolicy as error:
        named = _RULE.search(str(error))
        rule = next((node for node in tree.items("rules") if named and id_of(node) == named[1]), None)
        yield told(error, f"rule {named[1]!r}" if named and rule else "the policy", place_of(rule) if rule else START)


def _settings(tree: Tree, known: Known) -> Iterator[Finding]:
    for key in ("probes", "audit"):
        for name, (node, settings) in tree.mapping(key).items():
            yield from _probe(key, name, node, settings, known)
    asking = tree.mapping("incidents")
    if "probe" in asking:
        node = asking["probe"][1]
        yield from _probe("incidents", str(node.value), node, asking.get("settings", (node, None))[1], known)
    named = [(node, str(node.value)) for node in tree.items("required")]
    named += [(node, name) for name, (node, _) in tree.mapping("minimum").items()]
    for node, name in named:
        if name.rpartition("/")[0] not in known.probes:
            said = f"no probe reads {name!r}; {near(name.rpartition('/')[0], known.probes)}"
            yield Finding(place_of(node), "required" if node in tree.items("required") else "minimum", said)
    for node in tree.items("candidates"):
        yield from _candidate(node, known)
    operations = tree.items("operations")
    if operations and not any(node.value in known.operations for node in operations):
        first = operations[0]
        yield Finding(
            place_of(first), "operations", f"no plugin offers any of them; {near(str(first.value), known.operations)}"
        )


def _candidate(node: yaml.Node, known: Known) -> Iterator[Finding]:
    """Yield a candidate of a search that no plugin offers; unlike a list of operations, a search needs each."""
    parts = entries(node)
    if "operation" in parts and (name := str(parts["operation"][1].value)) not in known.operations:
        said = f"no plugin offers {name!r}; {near(name, known.operations)}"
        yield Finding(place_of(parts["operation"][1]), "candidates", said)


def _probe(key: str, name: str, node: yaml.Node, settings: yaml.Node | None, known: Known) -> Iterator[Finding]:
    """Yield what is wrong with a probe that is named with its settings."""
    if name not in known.probes:
        yield Finding(place_of(node), key, f"no plugin offers the probe {name!r}; {near(name, known.probes)}")
        return
    for parameter, (where, _) in entries(settings).items():
        if parameter not in known.probes[name]:
            said = f"probe {name!r} has no parameter {parameter!r}; {near(parameter, known.probes[name])}"
            yield Finding(place_of(where), key, said)
