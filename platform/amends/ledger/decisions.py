"""What policies decided: the policy's text, what it saw, and what every rule answered, so that it can be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from amends.errors import BadInput, Tampered
from amends.ledger.columns import now
from amends.ledger.tables import decisions
from amends.records import RuleAnswer, Verdict


@dataclass(frozen=True)
class Decision:
    """One judgement of a policy over one set of inputs; `inputs` are plain JSON without NaN."""

    id: str
    case_id: str | None
    policy: str
    policy_digest: str
    policy_text: str
    inputs: Mapping[str, Any]
    verdict: Verdict
    at: datetime


def record(
    connection: Connection, id: str, *, case: str | None, policy_text: str, inputs: Mapping[str, Any], verdict: Verdict
) -> Decision:
    """Keep a decision; the same id with the same inputs and verdict returns the one that exists.

    Raises:
        Tampered: The id exists with another verdict or other inputs.
    """
    row = connection.execute(select(decisions).where(decisions.c.id == id)).first()
    if row is not None:
        known = _decision(row)
        if (known.verdict, known.inputs) != (verdict, inputs):
            raise Tampered(f"decision {id!r} exists and says otherwise; use a new id for a new decision")
        return known
    connection.execute(
        insert(decisions).values(
            id=id, case_id=case, policy=verdict.policy, policy_digest=verdict.policy_digest,
            policy_text=policy_text, inputs=dict(inputs), verdict=asdict(verdict), at=now(),
        )
    )  # fmt: skip
    return get(connection, id)


def get(connection: Connection, id: str) -> Decision:
    """Return a decision.

    Raises:
        BadInput: There is none of that id.
    """
    row = connection.execute(select(decisions).where(decisions.c.id == id)).first()
    if row is None:
        raise BadInput(f"there is no decision {id!r}; see amends policy decisions")
    return _decision(row)


def find(connection: Connection, case: str | None = None) -> tuple[Decision, ...]:
    """Return the decisions of a case, or all, oldest first."""
    query = select(decisions).order_by(decisions.c.at, decisions.c.id)
    rows = connection.execute(query if case is None else query.where(decisions.c.case_id == case))
    return tuple(_decision(row) for row in rows)


def _decision(row: Row[Any]) -> Decision:
    answers = tuple(RuleAnswer(**answer) for answer in row.verdict["answers"])
    verdict = Verdict(**{**row.verdict, "answers": answers, "objections": tuple(row.verdict["objections"])})
    return Decision(**{**row._asdict(), "verdict": verdict})
