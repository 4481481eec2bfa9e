"""Which permits were used: a table of ours in MLflow's database, so that all workers of a server agree."""

from __future__ import annotations

from sqlalchemy import Column, Engine, MetaData, String, Table, delete, insert, inspect, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from amends.ledger.columns import UtcTime, now
from amends.ledger.guard.permits import Permit

_METADATA = MetaData()
_SPENT = Table(
    "amends_spent_permits",
    _METADATA,
    Column("nonce", String(64), primary_key=True),
    Column("expires", UtcTime, nullable=False),
)


class Spent:
    """Remembers each permit until it would have expired anyway.

    Args:
        engine: Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        try:
            _METADATA.create_all(engine)
        except SQLAlchemyError:  # another worker that started at the same moment may have been first
            if not inspect(engine).has_table(_SPENT.name):
                raise

    def spend(self, permit: Permit) -> bool:
        """Use a permit up and return whether it was still good; of two at once, one is told so."""
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(_SPENT).values(nonce=permit.nonce, expires=permit.expires))
        except IntegrityError:
            return False
        return True

    def has(self, permit: Permit) -> bool:
        """Whether a permit was used."""
        with self.engine.connect() as connection:
            return connection.execute(select(_SPENT.c.nonce).where(_SPENT.c.nonce == permit.nonce)).first() is not None

    def forget(self) -> None:
        """Drop what has expired: its permits are refused for that."""
        with self.engine.begin() as connection:
            connection.execute(delete(_SPENT).where(_SPENT.c.expires < now()))
