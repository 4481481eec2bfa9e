"""Licences along a lineage: where the label of a version contradicts what it is made from, and what is not known.

The rules are cautious, because whether weights are a derivative of data is settled nowhere: they say what a person has
to resolve, not what a court would find.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from amends.errors import UnknownModel
from amends.governor.models.terms import KEEPING, UNKNOWN, UNPAID, Family, Licence, licence_named
from amends.governor.workspace import Workspace
from amends.ledger import datasets, lineage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.lineage import Version


@dataclass(frozen=True)
class Source:
    """One thing that a version is made from, or the version itself.

    Args:
        what: Its name and number, or its name and the beginning of its digest.
        kind: `model`, `teacher` or `data`.
        licence: What it is under.
        digest: Its digest.
    """

    what: str
    kind: str
    licence: Licence
    digest: str = ""


@dataclass(frozen=True)
class Licences:
    """The licences of a version's lineage.

    Args:
        label: The version with the licence that it bears.
        sources: What it is made from, each once.
        conflicts: One sentence for each contradiction.
        unknown: One sentence for each thing whose licence is not known.
    """

    label: Source
    sources: tuple[Source, ...]
    conflicts: tuple[str, ...]
    unknown: tuple[str, ...]


def conflicts_of(label: Source, sources: Sequence[Source]) -> tuple[str, ...]:
    """Return where the label of a version contradicts what it is made from, or two of those contradict each other."""
    alone = [sentence for source in sources for sentence in _against(label, source)]
    pairs = [
        f"{one.what} under {one.licence.id} and {other.what} under {other.licence.id} ask for terms that no single "
        "licence has"
        for one, other in combinations(sources, 2)
        if not _fit(one.licence, other.licence)
    ]
    return tuple(dict.fromkeys([*alone, *pairs]))


def _against(label: Source, source: Source) -> Iterator[str]:
    family, mine = source.licence.family, label.licence
    told = f"{source.what} is under {source.licence.id} ({family})"
    if family == Family.NO_DERIVATIVES:
        yield f"{told}, which forbids what is made from it, and {label.what} is"
    elif mine.family == Family.UNKNOWN:
        return  # nothing is claimed that could be contradicted; it is named as unknown
    elif family in UNPAID and mine.family not in UNPAID:
        yield f"{told}, but {label.what} is labelled {mine.id}, which is not confined to that"
    elif _must_keep(source) and not source.licence.allows(mine):
        yield f"{told}, whose terms must stand on what is made from it, but {label.what} is labelled {mine.id}"


def _must_keep(source: Source) -> bool:
    """Whether its terms must stand on what is made from it; weak copyleft is about changed files, so only of models."""
    family = source.licence.family
    return family in KEEPING or (family == Family.WEAK and source.kind != "data")


def _fit(one: Licence, other: Licence) -> bool:
    """Whether some label could satisfy both, as far as keeping terms and earning money go."""
    keeping = [licence for licence in (one, other) if licence.family in KEEPING]
    if len(keeping) == 2:
        return one.allows(other) or other.allows(one)
    is_unpaid = one.family in UNPAID or other.family in UNPAID
    return not keeping or not is_unpaid or keeping[0].family in UNPAID


def unknown_of(sources: Iterable[Source]) -> tuple[str, ...]:
    """Return one sentence for each source whose licence is not known."""
    return tuple(
        f"the licence of {source.what} is not known ({source.licence.id})"
        for source in sources
        if source.licence.family == Family.UNKNOWN
    )


def licences_of(workspace: Workspace, digest: str, reference: str = "") -> Licences:
    """Return the licences along the lineage of a version: its own label, models, teachers and data.

    Args:
        workspace: Where it is.
        digest: The version's.
        reference: `model@number`, where several versions have these bytes; the first of them by default.

    Raises:
        UnknownModel: No version has that digest.
    """
    with workspace.database.read() as connection:
        own = _version(connection, digest, reference)
        above = lineage.ancestors(connection, digest)
        digests = list(dict.fromkeys(version.digest for version in (own, *above)))
        edges = [edge for each in digests for edge in lineage.parents(connection, each)]
        taught = {edge.parent for edge in edges if edge.kind == "teacher"}
        models = [_model(version, "teacher" if version.digest in taught else "model") for version in above]
        used = dict.fromkeys(use.dataset for each in digests for use in lineage.data_of(connection, each))
        data = [_data(connection, dataset) for dataset in used]
    label, sources = _model(own, "model"), (*models, *data)
    return Licences(label, sources, conflicts_of(label, sources), unknown_of((label, *sources)))


def licence_facts(workspace: Workspace, digest: str) -> dict[str, Any]:
    """Return what a policy may read of licences: `licence` of the models, `licence_conflicts`, `licences_known`.

    `licence` is `unknown` where any model of the lineage names none.
    """
    found = licences_of(workspace, digest)
    models = {source.licence.id for source in (found.label, *found.sources) if source.kind != "data"}
    named = UNKNOWN if UNKNOWN in models else ", ".join(sorted(models))
    return {"licence": named, "licence_conflicts": len(found.conflicts), "licences_known": not found.unknown}


def summary(found: Licences) -> dict[str, Any]:
    """Return the licences of a lineage as plain values."""
    rows = [
        {
            **{"what": source.what, "kind": source.kind, "digest": source.digest},
            **{"licence": source.licence.id, "family": str(source.licence.family), "is_spdx": source.licence.is_spdx},
        }
        for source in found.sources
    ]
    return {
        "label": found.label.licence.id,
        "family": str(found.label.licence.family),
        "is_spdx": found.label.licence.is_spdx,
        "sources": rows,
        "conflicts": list(found.conflicts),
        "unknown": list(found.unknown),
    }


def _version(connection: Connection, digest: str, reference: str) -> Version:
    found = lineage.by_digest(connection, digest)
    if not found:
        raise UnknownModel(f"no version has the digest {digest[:12]}; see amends models list")
    return next((version for version in found if str(version.name) == reference), found[0])


def _model(version: Version, kind: str) -> Source:
    base: Mapping[str, Any] = version.recipe.get("base") or {}
    return Source(str(version.name), kind, licence_named(str(base.get("licence", ""))), version.digest)


def _data(connection: Connection, digest: str) -> Source:
    found = datasets.get(connection, digest)
    licence = licence_named(str(found.settings.get("licence", "")))
    return Source(f"data set {found.name}@{digest[:12]}", "data", licence, digest)
