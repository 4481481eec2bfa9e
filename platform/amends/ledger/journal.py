"""The step journal of a case: what a step returned, so that it is not done twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from amends.ledger.columns import now
from amends.ledger.tables import steps


def step_result(connection: Connection, case: str, step: str) -> Mapping[str, Any] | None:
    """Return what a step returned, or None while it has not finished."""
    query = select(steps.c.result).where(steps.c.case_id == case, steps.c.step == step)
    found: Mapping[str, Any] | None = connection.execute(query).scalar_one_or_none()
    return found


def step_at(connection: Connection, case: str, step: str) -> datetime | None:
    """Return when a step finished, or None while it has not."""
    query = select(steps.c.at).where(steps.c.case_id == case, steps.c.step == step)
    found: datetime | None = connection.execute(query).scalar_one_or_none()
    return found


def record_step(connection: Connection, case: str, step: str, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep what a step returned; the first write wins, and what is kept is returned."""
    found = step_result(connection, case, step)
    if found is not None:
        return found
    connection.execute(insert(steps).values(case_id=case, step=step, result=dict(result), at=now()))
    return step_result(connection, case, step) or {}


def steps_of(connection: Connection, case: str) -> dict[str, Mapping[str, Any]]:
    """Return every finished step of a case with its result, oldest first."""
    query = select(steps.c.step, steps.c.result).where(steps.c.case_id == case).order_by(steps.c.at, steps.c.step)
    return {row.step: row.result for row in connection.execute(query)}


def forget_steps(connection: Connection, case: str, only: str = "") -> int:
    """Delete the journal of a case, or one step of it, and return how many steps went."""
    gone = delete(steps).where(steps.c.case_id == case)
    return connection.execute(gone.where(steps.c.step == only) if only else gone).rowcount
