"""Deliver what each receiver has not been told of yet: the audit log is the outbox, a cursor each receiver's place.

An entry is written in the transaction of what it tells of, so nothing that happened can be missing here, and nothing
that did not happen can be sent. The cursor moves after a message was taken: who dies in between sends it again, under
the same key. A receiver that does not take a message keeps it, and all behind it, for the next run.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amends.governor.webhooks.messages import event_of, message_of, trial
from amends.governor.webhooks.receivers import Receiver
from amends.governor.webhooks.sending import send
from amends.ledger import audit
from amends.ledger.columns import now, stamp
from amends.ledger.database import Database


@dataclass(frozen=True)
class Outcome:
    """How one receiver fared: how many messages it took, how many wait, and why, if it took one not."""

    name: str
    delivered: int
    waiting: int
    trouble: str = ""


def deliver(
    database: Database, receivers: Iterable[Receiver], pauses: Sequence[float] | None = None
) -> tuple[Outcome, ...]:
    """Tell every receiver of what it has not been told of; one that fails leaves the others their turn."""
    return tuple(_deliver(database, receiver, pauses) for receiver in receivers)


def waiting(database: Database, receiver: Receiver) -> int:
    """Return how many messages a receiver has not taken yet."""
    with database.read() as connection:
        if not audit.is_enlisted(connection, receiver.reader):
            return 0
        fresh = audit.entries(connection, after=audit.position(connection, receiver.reader))
        return sum(receiver.wants(event_of(entry.action)) for entry in fresh)


def try_out(receiver: Receiver) -> str:
    """Send a message about nothing, once, and return why it was not taken, or nothing."""
    return send(receiver, trial(f"test:{secrets.token_hex(8)}", stamp(now())), ())


def _deliver(database: Database, receiver: Receiver, pauses: Sequence[float] | None) -> Outcome:
    _enlist(database, receiver)
    with database.read() as connection:
        fresh = list(audit.entries(connection, after=audit.position(connection, receiver.reader)))
    wanted = [entry for entry in fresh if receiver.wants(event_of(entry.action))]
    for delivered, entry in enumerate(wanted):
        trouble = send(receiver, message_of(entry), pauses)
        if trouble:
            return Outcome(receiver.name, delivered, len(wanted) - delivered, trouble)
        _remember(database, receiver, entry.seq)
    if fresh:
        _remember(database, receiver, fresh[-1].seq)
    return Outcome(receiver.name, len(wanted), 0)


def _enlist(database: Database, receiver: Receiver) -> None:
    with database.read() as connection:
        is_known = audit.is_enlisted(connection, receiver.reader)
    if not is_known:
        with database.transaction() as connection:
            audit.enlist(connection, [receiver.reader])


def _remember(database: Database, receiver: Receiver, seq: int) -> None:
    """Move a receiver's place forward; another process may have moved it further meanwhile."""
    with database.transaction() as connection:
        if audit.position(connection, receiver.reader) < seq:
            audit.advance(connection, receiver.reader, seq)
