"""Tables of versions, what they come from, and their names."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, String, Table, Text

from amends.ledger.columns import CanonicalJson, UtcTime
from amends.ledger.tables.base import metadata

versions = Table(
    "versions",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("mlflow_version", String(40)),
    Column("mlflow_model_id", String(100)),
    Column("mlflow_run_id", String(100)),
    Column("mlflow_uri", Text),
    Column("recipe", CanonicalJson, nullable=False),
    Column("status", String(20), nullable=False),
    Column("guarantee", String(40)),
    Column("case_id", String(80)),
    Column("registered_at", UtcTime, nullable=False),
    Column("purged_at", UtcTime),
    CheckConstraint("status IN ('active', 'quarantined', 'sealed', 'purged')", name="known_version_status"),
)

edges = Table(
    "edges",
    metadata,
    Column("child", String(64), primary_key=True),
    Column("parent", String(64), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("evidence", String(10), nullable=False),
    Column("operation", String(200)),
    Column("case_id", String(80)),
    CheckConstraint("kind IN ('step', 'rebuilt-from', 'base', 'teacher')", name="known_edge_kind"),
    CheckConstraint("evidence IN ('declared', 'observed')", name="declared_or_observed"),
    CheckConstraint("child <> parent OR kind = 'rebuilt-from'", name="no_own_parent"),
    Index("edges_by_parent", "parent"),
)

version_data = Table(
    "version_data",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("dataset", String(64), primary_key=True),
    Column("role", String(20), primary_key=True),
    Column("evidence", String(10), nullable=False),
    CheckConstraint("role IN ('train', 'forget', 'retain')", name="known_data_role"),
    CheckConstraint("evidence IN ('declared', 'observed')", name="data_declared_or_observed"),
    Index("versions_by_data", "dataset"),
)

state_blobs = Table(
    "state_blobs",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("blob", String(64), nullable=False, index=True),
    Column("key_name", String(200), nullable=False),
)

recipients = Table(
    "recipients",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", String(64), nullable=False, index=True),
    Column("what", String(200), nullable=False),
    Column("where_digest", String(64), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("told_at", UtcTime),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("alias", String(100), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("moved_at", UtcTime, nullable=False),
)

alias_history = Table(
    "alias_history",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("alias", String(100), primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("old_number", Integer),
    Column("new_number", Integer, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("case_id", String(80)),
    Column("at", UtcTime, nullable=False),
)
