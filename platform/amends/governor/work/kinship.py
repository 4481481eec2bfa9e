"""What a certificate says of the other cases of the same request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amends.governor.proof.evidence import Relative
from amends.governor.work.families import below
from amends.ledger import cases, journal
from amends.records import Case

if TYPE_CHECKING:
    from sqlalchemy import Connection


def above_of(connection: Connection, case: str) -> tuple[Relative, ...]:
    """Return the cases that this one was opened by, the request itself first."""
    found: list[Relative] = []
    here = cases.get(connection, case)
    while here.parent is not None:
        here = cases.get(connection, here.parent)
        found.append(_relative(connection, here))
    return tuple(reversed(found))


def below_of(connection: Connection, case: str) -> tuple[Relative, ...]:
    """Return the cases that this one opened, and these in turn, as far as they count: one for each model."""
    found = (cases.get(connection, one.id) for one in below(connection, case))
    return tuple(_relative(connection, one) for one in found)


def _relative(connection: Connection, case: Case) -> Relative:
    lead = str(cases.detail(connection, case.id).get("lead", case.id))
    steps = journal.steps_of(connection, lead)
    signed = steps.get("purge:attest", {}).get("certificates", {}).get(case.id, {})
    return Relative(
        case=case.id,
        model=case.model,
        how=str((case.plan or {}).get("how", "")),
        status=str(case.status),
        guarantee=str(steps.get("compare", {}).get("guarantee", "")),
        certificate=str(signed.get("digest", "")),
    )
