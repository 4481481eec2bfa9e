"""Read a policy from its text and refuse, with one sentence, whatever could judge otherwise than it reads."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from amends.errors import BadPolicy
from amends.policy.engine import FACTS, CelEngine, PolicyEngine
from amends.policy.fields import Fields, is_scalar, read_yaml
from amends.policy.references import read_references
from amends.policy.rules import Descendants, Environment, Minimum, Policy, Quorum, Reconcile, Rule, Search, Severity
from amends.policy.search import read_search
from amends.records import Guarantee, canonical_json

MAX_RULES = 100
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def parse_policy(text: str, file: str = "policy", engine: PolicyEngine | None = None) -> Policy:
    """Read a policy from its text; its digest is that of the text's UTF-8 bytes.

    Raises:
        BadPolicy: It has a mistake; the sentence names file and rule.
    """
    fields = read_yaml(text, file)
    policy = Policy(
        name=fields.text("name"),
        description=fields.text("description"),
        digest=hashlib.sha256(text.encode()).hexdigest(),
        rules=_rules(fields, engine or CelEngine()),
        probes=_probes(fields, "probes"),
        audit=_probes(fields, "audit"),
        required=fields.texts("required"),
        minimum=_minimum(fields),
        approvals=_quorum(f"{fields.where}, approvals", fields.mapping("approvals")),
        operations=fields.texts("operations"),
        throughput=fields.text("throughput", ""),
        purge_after_days=_only(fields, "purge", "after_days", 7),
        retention_days=fields.whole("retention_days", 1095),
        strangers=fields.whole("strangers", 0),
        search=_search(fields, engine or CelEngine()),
        environments=_environments(fields),
        evidence_days=_only(fields, "evidence", "again_after_days", 30),
        reconcile=_reconcile(fields),
        incidents=_incidents(fields),
        descendants=_descendants(fields),
        text=text,
    )
    fields.finish()
    _check_whole(policy, file)
    return policy


def names_read(policy: Policy) -> list[tuple[str, str]]:
    """Return every reading's name that a policy uses, after the place that uses it."""
    read = [(f"rule {rule.id!r}", found.name) for rule in policy.rules for found in rule.references.readings]
    return read + [("required", name) for name in policy.required] + [("minimum", name) for name in policy.minimum]


def names_searched(policy: Policy) -> list[tuple[str, str]]:
    """Return every reading's name that a policy's search uses, after the place that uses it."""
    if policy.search is None:
        return []
    read = [(f"search, {place}", name) for place, name in names_read(policy.search.within)]
    return read + [("search", found.name) for found in (policy.search.least, policy.search.against)]


def _rules(fields: Fields, engine: PolicyEngine) -> tuple[Rule, ...]:
    given = fields.items("rules")
    if not 1 <= len(given) <= MAX_RULES:
        raise BadPolicy(f"{fields.where} needs between 1 and {MAX_RULES} rules")
    rules = tuple(_rule(f"{fields.where}, rule {number}", value, engine) for number, value in enumerate(given, 1))
    ids = [rule.id for rule in rules]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise BadPolicy(f"{fields.where} has two rules {twice[0]!r}; give each its own id")
    if not any(rule.severity is Severity.DENY for rule in rules):
        raise BadPolicy(f"{fields.where} has no rule of severity deny, so it would allow everything; add one")
    return rules


def _rule(where: str, value: object, engine: PolicyEngine) -> Rule:
    fields = Fields(where, value)
    name = fields.text("id")
    fields.where = where = f"{where.partition(',')[0]}, rule {name!r}"
    if not NAME.fullmatch(name):
        raise BadPolicy(f"{where}: write the id in lower case with hyphens")
    expression, message = fields.text("expr"), fields.text("message")
    severity, when = fields.text("severity"), fields.texts("when")
    fields.finish()
    if severity not in list(Severity):
        raise BadPolicy(f"{where}: severity must be deny or warn, not {severity!r}")
    if unknown := [name for name in when if name not in list(Guarantee)]:
        raise BadPolicy(f"{where}: {unknown[0]!r} is no guarantee; there are {', '.join(Guarantee)}")
    try:
        engine.compile(expression)
        references = read_references(expression)
    except BadPolicy as error:
        raise BadPolicy(f"{where}: {error}") from None
    return Rule(name, expression, message, Severity(severity), tuple(map(Guarantee, when)), references)


def _probes(fields: Fields, key: str) -> dict[str, dict[str, Any]]:
    probes = {}
    for name, settings in fields.mapping(key).items():
        probes[name] = _scalars(fields, name, settings)
    return probes


def _scalars(fields: Fields, name: str, settings: object) -> dict[str, Any]:
    if not isinstance(settings, dict) or not all(is_scalar(value) for value in settings.values()):
        raise BadPolicy(f"{fields.where}, probe {name!r}: settings must be texts, numbers or truths; write {{}}")
    return settings


def _incidents(fields: Fields) -> dict[str, dict[str, Any]]:
    given = fields.mapping("incidents")
    if not given:
        return {}
    inner = Fields(f"{fields.where}, incidents", given)
    name, settings = inner.text("probe"), inner.take("settings", {})
    inner.finish()
    return {name: _scalars(inner, name, settings)}


def _search(fields: Fields, engine: PolicyEngine) -> Search | None:
    given = fields.mapping("search")
    if not given:
        return None
    inner = Fields(f"{fields.where}, search", given)
    search = read_search(inner, hashlib.sha256(canonical_json(given)).hexdigest(), *_budget(inner, engine))
    _check_whole(search.within, inner.where)
    return search


def _budget(inner: Fields, engine: PolicyEngine) -> tuple[tuple[Rule, ...], dict[str, dict[str, Any]]]:
    return _rules(inner, engine), _probes(inner, "probes")


def _minimum(fields: Fields) -> dict[str, Minimum]:
    found = {}
    for name, value in fields.mapping("minimum").items():
        inner = Fields(f"{fields.where}, minimum {name!r}", value)
        found[name] = Minimum(inner.whole("n", 1), inner.share("power", 0.0))
        inner.finish()
    return found


def _quorum(where: str, value: object) -> Quorum:
    inner = Fields(where, value)
    quorum = Quorum(inner.whole("count", 2), inner.texts("roles"))
    inner.finish()
    return quorum


def _environments(fields: Fields) -> dict[str, Environment]:
    found = {}
    for alias, value in fields.mapping("environments").items():
        where = f"{fields.where}, environment {alias!r}"
        if not NAME.fullmatch(alias):
            raise BadPolicy(f"{where}: an alias is written in lower case with hyphens")
        inner = Fields(where, value)
        approvals, first = inner.take("approvals"), inner.take("first", None)
        inner.finish()
        found[alias] = Environment(
            _quorum(f"{where}, approvals", approvals), None if first is None else _quorum(f"{where}, first", first)
        )
    return found


def _reconcile(fields: Fields) -> Reconcile:
    given = fields.text("reconcile", str(Reconcile.OBSERVE))
    if given not in list(Reconcile):
        raise BadPolicy(f"{fields.where}: reconcile must be {' or '.join(Reconcile)}, not {given!r}")
    return Reconcile(given)


def _descendants(fields: Fields) -> Descendants:
    given = fields.text("descendants", str(Descendants.REBUILD))
    if given not in list(Descendants):
        raise BadPolicy(f"{fields.where}: descendants must be {' or '.join(Descendants)}, not {given!r}")
    return Descendants(given)


def _only(fields: Fields, group: str, key: str, default: int) -> int:
    inner = Fields(f"{fields.where}, {group}", fields.mapping(group))
    value = inner.whole(key, default)
    inner.finish()
    return value


def _check_whole(policy: Policy, file: str) -> None:
    """Refuse what each part alone cannot see."""
    for rule in policy.rules:
        if unknown := [name for name in rule.references.facts if name not in FACTS]:
            raise BadPolicy(f"{file}, rule {rule.id!r}: there is no fact {unknown[0]!r}; there are {', '.join(FACTS)}")
    if twice := sorted(set(policy.probes) & set(policy.audit)):
        raise BadPolicy(f"{file}: {twice[0]!r} stands in `probes` and in `audit`; leave it in one of them")
    for place, name in names_read(policy):
        if name.rpartition("/")[0] not in {**policy.probes, **policy.audit}:
            raise BadPolicy(f"{file}, {place}: {name!r} is of a probe that `probes` does not list; add it there")
    for name in policy.required:
        if name.rpartition("/")[0] in policy.audit:
            raise BadPolicy(f"{file}, required: {name!r} is of the audit, which is not always read; name it in a rule")
    for rule in policy.rules:
        audited = [r.name for r in rule.references.readings if r.name.rpartition("/")[0] in policy.audit]
        if audited and tuple(rule.when) != (Guarantee.APPROXIMATE,):
            raise BadPolicy(f"{file}, rule {rule.id!r}: {audited[0]!r} is read in an audit; add `when: [approximate]`")
    read = {found.name for rule in policy.rules for found in rule.references.readings}
    if unread := sorted(set(policy.minimum) - read):
        raise BadPolicy(f"{file}, minimum: no rule reads {unread[0]!r}, so it would do nothing; add a rule")
