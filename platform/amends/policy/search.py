"""Read what a policy says of a search: which candidates, within which budget, and what is to be least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from amends.errors import BadPolicy
from amends.policy.fields import Fields, is_scalar
from amends.policy.references import ReadingReference, read_references
from amends.policy.rules import Candidate, Policy, Quorum, Rule, Search

MAX_CANDIDATES = 100


def read_search(
    fields: Fields, digest: str, rules: tuple[Rule, ...], probes: Mapping[str, Mapping[str, Any]]
) -> Search:
    """Read the section `search`; its rules and probes are read as those of a policy are.

    Raises:
        BadPolicy: It has a mistake.
    """
    where = fields.where
    if any(rule.references.facts or rule.references.approvals for rule in rules):
        raise BadPolicy(f"{where}: a budget is about readings; ask for facts and approvals in the policy's own rules")
    least, against = (_reference(fields, key) for key in ("least", "against"))
    name = f"{where.partition('.')[0]}-search"
    within = Policy(
        name=name, description="What a candidate may cost.", digest=digest, rules=rules, probes=probes, audit={},
        required=(), minimum={}, approvals=Quorum(0), operations=(), throughput="", purge_after_days=0,
        retention_days=0,
    )  # fmt: skip
    search = Search(tuple(_candidates(fields)), within, least, against, fields.whole("most", 100))
    fields.finish()
    if not 1 <= len(search.candidates) <= MAX_CANDIDATES:
        raise BadPolicy(f"{where} needs between 1 and {MAX_CANDIDATES} candidates, settings multiplied out")
    for reading in (least, against):
        if reading.name.rpartition("/")[0] not in probes:
            raise BadPolicy(f"{where}: {reading.name!r} is of a probe that its `probes` does not list; add it there")
    return search


def _reference(fields: Fields, key: str) -> ReadingReference:
    said = fields.text(key)
    try:
        found = read_references(said).readings
    except BadPolicy as error:
        raise BadPolicy(f"{fields.where}, {key}: {error}") from None
    if len(found) != 1 or found[0].side != "readings":
        raise BadPolicy(f'{fields.where}: write {key!r} as one reading, readings["probe/statistic"].high')
    return found[0]


def _candidates(fields: Fields) -> Iterator[Candidate]:
    """Yield each operation with each combination of its settings: a list stands for its values in turn."""
    for number, value in enumerate(fields.items("candidates"), 1):
        inner = Fields(f"{fields.where}, candidate {number}", value)
        operation, settings = inner.text("operation"), inner.mapping("settings")
        inner.finish()
        choices = {name: given if isinstance(given, list) else [given] for name, given in settings.items()}
        if not all(is_scalar(one) for given in choices.values() for one in given):
            raise BadPolicy(f"{inner.where}: settings must be texts, numbers or truths, or lists of them")
        for chosen in product(*choices.values()):
            yield Candidate(operation, dict(zip(choices, chosen, strict=True)))
