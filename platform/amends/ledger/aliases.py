"""Aliases: names of versions that move by compare-and-swap and keep their history."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from amends.errors import BadInput, Denied, UnknownModel
from amends.ledger import lineage
from amends.ledger.columns import now
from amends.ledger.lineage import Version
from amends.ledger.tables import alias_history, aliases

DEFAULT = "champion"
NOTHING = 0
"""What an alias that was taken away stands for; versions are numbered from 1."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_DIGITS = 9  # of a version's number; a longer one fits no column
_RESERVED = re.compile(r"latest|v\d+")


@dataclass(frozen=True)
class Move:
    """One move of an alias; `revision` counts them from 1, and `new_number` is `NOTHING` where it was taken away."""

    model: str
    alias: str
    revision: int
    old_number: int | None
    new_number: int
    actor: str
    case_id: str | None
    at: datetime


def current(connection: Connection, model: str, alias: str) -> int | None:
    """Return the number an alias stands for, or None while it does not exist."""
    query = select(aliases.c.number).where(aliases.c.model == model, aliases.c.alias == alias)
    return connection.execute(query).scalar_one_or_none()


def move(
    connection: Connection,
    *,
    model: str,
    alias: str,
    expected: int | None,
    new: int,
    actor: str,
    case: str | None = None,
) -> Move:
    """Move an alias if it stands where the caller believes; repeating the last move of a case changes nothing.

    Args:
        connection: A writing connection.
        model: Name of the model.
        alias: Such as `champion`.
        expected: The number it must stand for now, None if it must not exist.
        new: The number it will stand for.
        actor: Who moves it.
        case: The case it belongs to.

    Raises:
        Denied: Somebody moved it meanwhile, or the new version is sealed or purged.
    """
    check_name(alias)
    past = history(connection, model, alias)
    if past and case is not None and (past[-1].case_id, past[-1].new_number) == (case, new):
        return past[-1]
    found = current(connection, model, alias)
    if found != expected:
        raise Denied(f"{model}@{alias} stands at {_said(found)}, not {_said(expected)}; look again and decide anew")
    status = lineage.get(connection, model, new).status
    if status != "active":
        raise Denied(f"{model}@{new} is {status} and cannot be {alias}; choose another version")
    return _write(connection, Move(model, alias, len(past) + 1, expected, new, actor, case, now()))


def withdraw(
    connection: Connection, *, model: str, alias: str, expected: int, actor: str, case: str | None = None
) -> Move:
    """Take an alias away if it stands where the caller believes; repeating the last move of a case changes nothing.

    Raises:
        Denied: Somebody moved it meanwhile.
    """
    past = history(connection, model, alias)
    if past and case is not None and (past[-1].case_id, past[-1].new_number) == (case, NOTHING):
        return past[-1]
    found = current(connection, model, alias)
    if found != expected:
        raise Denied(f"{model}@{alias} stands at {_said(found)}, not {_said(expected)}; look again and decide anew")
    made = Move(model, alias, len(past) + 1, expected, NOTHING, actor, case, now())
    connection.execute(delete(aliases).where(aliases.c.model == model, aliases.c.alias == alias))
    connection.execute(insert(alias_history).values(**vars(made)))
    return made


def withdrawn(connection: Connection, model: str, cases: Iterable[str]) -> dict[str, int]:
    """Return the aliases of a model that these cases took away, and what each stood for then."""
    taken = (alias_history.c.model == model, alias_history.c.new_number == NOTHING)
    query = select(alias_history.c.alias, alias_history.c.old_number).where(*taken)
    rows = connection.execute(query.where(alias_history.c.case_id.in_(list(cases))).order_by(alias_history.c.revision))
    return {row.alias: row.old_number for row in rows}


def moved_by(connection: Connection, model: str, cases: Iterable[str]) -> bool:
    """Whether these cases moved an alias of a model, or took one away."""
    mine = (alias_history.c.model == model, alias_history.c.case_id.in_(list(cases)))
    return connection.execute(select(alias_history.c.alias).where(*mine)).first() is not None


def history(connection: Connection, model: str, alias: str) -> tuple[Move, ...]:
    """Return every move of an alias, oldest first."""
    query = select(alias_history).where(alias_history.c.model == model, alias_history.c.alias == alias)
    return tuple(_move(row) for row in connection.execute(query.order_by(alias_history.c.revision)))


def names_of(connection: Connection, model: str) -> tuple[str, ...]:
    """Return every name that a model ever had for a version, those that were taken away among them."""
    query = select(alias_history.c.alias).where(alias_history.c.model == model).distinct()
    return tuple(connection.execute(query.order_by(alias_history.c.alias)).scalars())


def aliases_of(connection: Connection, model: str) -> dict[str, int]:
    """Return a model's aliases and what they stand for."""
    query = select(aliases.c.alias, aliases.c.number).where(aliases.c.model == model).order_by(aliases.c.alias)
    return {row.alias: row.number for row in connection.execute(query)}


def resolve(connection: Connection, reference: str) -> Version:
    """Return the version that `model@alias`, `model@number`, or `model` alone names.

    That is its champion, and of a model that never had one, as after an import, its newest active version.

    Raises:
        UnknownModel: There is no such model, version or alias.
    """
    model, _, name = reference.partition("@")
    number = int(name) if name.isdecimal() and len(name) <= _DIGITS else current(connection, model, name or DEFAULT)
    if number is None and not name:
        number = newest(connection, model)
    if number is None:
        known = [f"{model}@{alias}" for alias in aliases_of(connection, model)]
        known += [str(version.name) for version in lineage.versions_of(connection, model)]
        there = f"there are {', '.join(known)}" if known else "see amends models list"
        raise UnknownModel(f"there is no model {reference!r}; {there}")
    return lineage.get(connection, model, number)


def resolve_version(connection: Connection, reference: str) -> Version:
    """Return the version that `model@number` or `model@alias` names; a model alone names none.

    Raises:
        BadInput: Nothing stands behind the `@`.
        UnknownModel: There is no such model, version or alias.
    """
    model, _, name = reference.partition("@")
    if not model or not name:
        beside = f" {model}" if model else ""
        raise BadInput(f"{reference!r} names no version; write MODEL@VERSION, see `amends models list{beside}`")
    return resolve(connection, reference)


def newest(connection: Connection, model: str) -> int | None:
    """Return the number of a model's newest active version, or None."""
    alive = [v.number for v in lineage.versions_of(connection, model) if v.status == "active"]
    return max(alive, default=None)


def check_name(alias: str) -> None:
    """Refuse names that MLflow keeps for itself or that look like a number.

    Raises:
        BadInput: The name cannot be used.
    """
    if not _NAME.fullmatch(alias) or _RESERVED.fullmatch(alias):
        raise BadInput(f"{alias!r} cannot be an alias; use lower case such as champion, not latest and not v1")


def _write(connection: Connection, move: Move) -> Move:
    here = (aliases.c.model == move.model, aliases.c.alias == move.alias)
    values: dict[str, Any] = {"number": move.new_number, "revision": move.revision, "moved_at": move.at}
    if move.old_number is None:
        connection.execute(insert(aliases).values(model=move.model, alias=move.alias, **values))
    else:
        connection.execute(update(aliases).where(*here).values(**values))
    connection.execute(insert(alias_history).values(**vars(move)))
    return move


def _said(number: int | None) -> str:
    return "nothing" if number is None else f"version {number}"


def _move(row: Row[Any]) -> Move:
    return Move(**row._asdict())
