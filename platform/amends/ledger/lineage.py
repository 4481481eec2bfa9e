"""The graph of versions: recipes, parents, data, and which of it is alive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from amends.errors import BadInput, Tampered, UnknownModel
from amends.ledger.columns import now
from amends.ledger.tables import edges, version_data, versions
from amends.records import Guarantee, ModelVersion

STANDING = ("active", "quarantined")
"""What a version is that answers somebody, or will when it is released."""


@dataclass(frozen=True)
class Version:
    """A registered version: its name and number, its tree digest, its recipe and whether it is alive.

    Args:
        status: `active`, `quarantined` (set aside by people, or because its bytes changed), `sealed` (superseded, not
            yet purged) or `purged` (a tombstone).
        guarantee: What the erasure that made it promises, or None.
    """

    model: str
    number: int
    digest: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    status: str = "active"
    guarantee: Guarantee | None = None
    case_id: str | None = None
    mlflow_version: str | None = None
    mlflow_model_id: str | None = None
    mlflow_run_id: str | None = None
    mlflow_uri: str | None = None
    registered_at: datetime | None = None
    purged_at: datetime | None = None

    @property
    def name(self) -> ModelVersion:
        """The version as the noun that other layers pass around."""
        return ModelVersion(self.model, self.number, self.digest)


@dataclass(frozen=True)
class Edge:
    """Where a version (by digest) comes from.

    Args:
        kind: `step`, `rebuilt-from`, `base` or `teacher`.
        evidence: `observed` by Amends, or `declared` by a person.
    """

    child: str
    parent: str
    kind: str
    evidence: str = "observed"
    operation: str | None = None
    case_id: str | None = None


@dataclass(frozen=True)
class DataUse:
    """Which dataset went into a version, as `train`, `forget` or `retain`."""

    version: str
    dataset: str
    role: str
    evidence: str = "observed"


def next_number(connection: Connection, model: str) -> int:
    """Return the number of the model's next version; tombstones keep theirs."""
    return (connection.execute(select(func.max(versions.c.number)).where(versions.c.model == model)).scalar() or 0) + 1


def add_version(
    connection: Connection, version: Version, parents: Iterable[Edge] = (), data: Iterable[DataUse] = ()
) -> Version:
    """Enter a version with its parents and data; entering the same again changes nothing.

    Raises:
        Tampered: The number belongs to a version of another digest.
        BadInput: A parent or dataset of another version is given.
    """
    parents, data = tuple(parents), tuple(data)
    _check_belongs(version, parents, data)
    known = connection.execute(_one(version.model, version.number)).first()
    if known is not None:
        if known.digest != version.digest:
            raise Tampered(f"{version.model}@{version.number} has another digest; take next_number for a new version")
        return _version(known)
    connection.execute(insert(versions).values(**{**vars(version), "registered_at": now()}))
    for edge in parents:
        add_edge(connection, edge)
    for use in data:
        add_data(connection, use)
    return get(connection, version.model, version.number)


def add_edge(connection: Connection, edge: Edge) -> None:
    """Enter a parent; the same again changes nothing."""
    same = (edges.c.child == edge.child, edges.c.parent == edge.parent, edges.c.kind == edge.kind)
    if connection.execute(select(edges.c.child).where(*same)).first() is None:
        connection.execute(insert(edges).values(**vars(edge)))


def add_data(connection: Connection, use: DataUse) -> None:
    """Enter a use of data; the same again changes nothing."""
    table = version_data.c
    same = (table.version == use.version, table.dataset == use.dataset, table.role == use.role)
    if connection.execute(select(table.version).where(*same)).first() is None:
        connection.execute(insert(version_data).values(**vars(use)))


def get(connection: Connection, model: str, number: int) -> Version:
    """Return a version.

    Raises:
        UnknownModel: There is none of that number.
    """
    row = connection.execute(_one(model, number)).first()
    if row is None:
        raise UnknownModel(f"there is no {model}@{number}; see amends models list")
    return _version(row)


def by_digest(connection: Connection, digest: str) -> tuple[Version, ...]:
    """Return the versions of one digest; a rebuild may give bytes that were there before."""
    return _versions(connection, versions.c.digest == digest)


def versions_of(connection: Connection, model: str | None = None) -> tuple[Version, ...]:
    """Return a model's versions, or all, by model and number."""
    return _versions(connection, True if model is None else versions.c.model == model)


def with_status(connection: Connection, status: str) -> tuple[Version, ...]:
    """Return the versions of all models that are `active`, `quarantined`, `sealed` or `purged`."""
    return _versions(connection, versions.c.status == status)


def models(connection: Connection) -> tuple[str, ...]:
    """Return the names of all models."""
    return tuple(connection.execute(select(versions.c.model).distinct().order_by(versions.c.model)).scalars())


def set_status(connection: Connection, model: str, number: int, status: str) -> Version:
    """Mark a version `active`, `quarantined`, `sealed` or `purged`; a purged one stays a tombstone.

    Raises:
        BadInput: It is purged already and cannot come back.
    """
    found = get(connection, model, number)
    if found.status == "purged" and status != "purged":
        raise BadInput(f"{model}@{number} was purged and cannot become {status}; its bytes are gone")
    purged_at = (found.purged_at or now()) if status == "purged" else None
    connection.execute(_change(model, number).values(status=status, purged_at=purged_at))
    return get(connection, model, number)


def set_mlflow(
    connection: Connection, model: str, number: int, *, version: str, model_id: str, run_id: str, uri: str | None = None
) -> None:
    """Remember where a version lies in MLflow; `uri` is where its files are, which a purge checks."""
    values = {"mlflow_version": version, "mlflow_model_id": model_id, "mlflow_run_id": run_id, "mlflow_uri": uri}
    connection.execute(_change(model, number).values(**values))


def parents(connection: Connection, digest: str) -> tuple[Edge, ...]:
    """Return where a version comes from."""
    rows = connection.execute(select(edges).where(edges.c.child == digest).order_by(edges.c.kind, edges.c.parent))
    return tuple(Edge(**row._asdict()) for row in rows)


def data_of(connection: Connection, digest: str) -> tuple[DataUse, ...]:
    """Return which datasets went into a version itself, its ancestors' data left out."""
    query = select(version_data).where(version_data.c.version == digest)
    rows = connection.execute(query.order_by(version_data.c.role, version_data.c.dataset))
    return tuple(DataUse(**row._asdict()) for row in rows)


def versions_trained_on(connection: Connection, datasets: Iterable[str]) -> tuple[Version, ...]:
    """Return the versions that learned from any of these datasets themselves; `descendants` has what they passed on."""
    used = select(version_data.c.version).where(
        version_data.c.dataset.in_(list(datasets)), version_data.c.role.in_(("train", "retain"))
    )
    return _versions(connection, versions.c.digest.in_(used))


def descendants(connection: Connection, digest: str) -> tuple[Version, ...]:
    """Return every version that comes from this one by a step, as a base or as a teacher, however far.

    A version that was rebuilt from another one has none of its weights and is left out.
    """
    return _versions(connection, versions.c.digest.in_(_walk(digest, "parent", "child")))


def ancestors(connection: Connection, digest: str, *, without: Iterable[str] = ()) -> tuple[Version, ...]:
    """Return every version that this one comes from by a step, as a base or as a teacher, however far.

    Args:
        connection: Any connection.
        digest: The version's.
        without: Kinds of edge that are not followed either.
    """
    return _versions(connection, versions.c.digest.in_(_walk(digest, "child", "parent", without)))


def tainted_by(connection: Connection, datasets: Iterable[str]) -> tuple[Version, ...]:
    """Return every version that learnt from any of these datasets, and whatever came of it, by model and number."""
    trained = versions_trained_on(connection, datasets)
    found = {(version.model, version.number): version for version in trained}
    for digest in {version.digest for version in trained}:
        found |= {(below.model, below.number): below for below in descendants(connection, digest)}
    return tuple(version for _, version in sorted(found.items()))


def rebuilt_from(connection: Connection, digest: str) -> tuple[Version, ...]:
    """Return every version that took this one's place by being rebuilt from it, however often, newest last."""
    found = select(edges.c.child.label("digest")).where(edges.c.parent == digest, edges.c.kind == "rebuilt-from")
    walked = found.cte(recursive=True)
    further = select(edges.c.child).join(walked, edges.c.parent == walked.c.digest)
    further = further.where(edges.c.kind == "rebuilt-from")
    return _versions(connection, versions.c.digest.in_(select(walked.union(further).c.digest)))


def _walk(digest: str, here: str, there: str, without: Iterable[str] = ()) -> Any:
    inherits = edges.c.kind.not_in(["rebuilt-from", *without])
    found = select(edges.c[there].label("digest")).where(edges.c[here] == digest, inherits).cte(recursive=True)
    further = select(edges.c[there]).join(found, edges.c[here] == found.c.digest).where(inherits)
    return select(found.union(further).c.digest)


def _check_belongs(version: Version, parents: tuple[Edge, ...], data: tuple[DataUse, ...]) -> None:
    named = {edge.child for edge in parents} | {use.version for use in data}
    if named - {version.digest}:
        raise BadInput(f"the parents and data given are not those of {version.model}@{version.number}")


def _one(model: str, number: int) -> Any:
    return select(versions).where(versions.c.model == model, versions.c.number == number)


def _change(model: str, number: int) -> Any:
    return update(versions).where(versions.c.model == model, versions.c.number == number)


def _versions(connection: Connection, condition: Any) -> tuple[Version, ...]:
    query = select(versions).order_by(versions.c.model, versions.c.number)
    rows = connection.execute(query if condition is True else query.where(condition))
    return tuple(_version(row) for row in rows)


def _version(row: Row[Any]) -> Version:
    guarantee = None if row.guarantee is None else Guarantee(row.guarantee)
    return Version(**{**row._asdict(), "guarantee": guarantee})
