"""Tables of registered data, of who is in it, and of copies outside."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text

from amends.ledger.columns import CanonicalJson, UtcTime
from amends.ledger.tables.base import metadata

datasets = Table(
    "datasets",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(200), nullable=False, index=True),
    Column("raw_digest", String(64)),
    Column("records", Integer, nullable=False),
    Column("subjects", Integer, nullable=False),
    Column("controls", Integer, nullable=False),
    Column("parent", ForeignKey("datasets.digest")),
    Column("source_digest", String(64)),
    Column("settings", CanonicalJson, nullable=False),
    Column("status", String(20), nullable=False),
    Column("registered_at", UtcTime, nullable=False),
    CheckConstraint("status IN ('active', 'superseded', 'purged')", name="known_dataset_status"),
)

dataset_subjects = Table(
    "dataset_subjects",
    metadata,
    Column("dataset", ForeignKey("datasets.digest"), primary_key=True),
    Column("pseudonym", String(100), primary_key=True),
    Column("records", Integer, nullable=False),
    Column("is_control", Boolean, nullable=False),
    Index("datasets_by_subject", "pseudonym"),
)

subject_index = Table(
    "subject_index",
    metadata,
    Column("mac", String(64), primary_key=True),
    Column("kind", String(40), primary_key=True),
    Column("pseudonym", String(100), primary_key=True),
    Index("index_by_pseudonym", "pseudonym"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("mac", String(64), primary_key=True),
    Column("kind", String(40), primary_key=True),
    Column("case_id", String(80), nullable=False),
    Column("at", UtcTime, nullable=False),
)

copies = Table(
    "copies",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("digest", String(64), index=True),
    Column("place", Text),
    Column("declared_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("confirmed_at", UtcTime),
    Column("confirmed_by", String(40)),
    CheckConstraint("kind IN ('backup', 'external', 'store')", name="known_copy_kind"),
)
