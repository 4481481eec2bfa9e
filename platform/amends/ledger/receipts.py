"""Commitments of receipts: keyed, so that only the holder of a receipt can tell which certificate is theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from amends.errors import Tampered
from amends.ledger.columns import now
from amends.ledger.tables import receipts


@dataclass(frozen=True)
class Receipt:
    """A commitment beside the case and the certificate (by digest) that it belongs to."""

    commitment: str
    case_id: str
    certificate: str
    at: datetime


def add(connection: Connection, commitment: str, case: str, certificate: str) -> Receipt:
    """Enter a commitment; the same again changes nothing.

    Raises:
        Tampered: The commitment belongs to another certificate.
    """
    known = find(connection, commitment)
    if known is None:
        receipt = Receipt(commitment, case, certificate, now())
        connection.execute(insert(receipts).values(**vars(receipt)))
        return receipt
    if (known.case_id, known.certificate) != (case, certificate):
        raise Tampered(f"the receipt of case {case} is entered for another certificate; draw a new nonce")
    return known


def find(connection: Connection, commitment: str) -> Receipt | None:
    """Return the receipt of a commitment, or None."""
    row = connection.execute(select(receipts).where(receipts.c.commitment == commitment)).first()
    return None if row is None else Receipt(**row._asdict())
