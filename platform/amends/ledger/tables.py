"""Every table of the workspace's database; `triggers.py` holds the rules that columns cannot say.

No column holds a data subject's words: pseudonyms, keyed hashes, digests and one ciphertext per case.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from amends.ledger.columns import CanonicalJson, UtcTime

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", String(200), nullable=False, unique=True),
    Column("at", String(32), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(100), nullable=False),
    Column("body", CanonicalJson, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    CheckConstraint("seq > 0", name="audit_seq_positive"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("size", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("root", String(64), nullable=False),
    Column("frontier", CanonicalJson, nullable=False),
    Column("envelope", CanonicalJson, nullable=False),
    Column("at", String(32), nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

people = Table(
    "people",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("role", String(40), nullable=False),
    Column("token_hash", Text, nullable=False),
    Column("added_at", UtcTime, nullable=False),
    Column("removed_at", UtcTime),
    Index(
        "people_by_name",
        "name",
        unique=True,
        sqlite_where=text("removed_at IS NULL"),
        postgresql_where=text("removed_at IS NULL"),
    ),
)

cases = Table(
    "cases",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("model", String(200), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("status", String(40), nullable=False),
    Column("requester", String(40), nullable=False),
    Column("regime", String(40), nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("quorum", Integer, nullable=False),
    Column("plan", CanonicalJson),
    Column("plan_digest", String(64)),
    Column("outcome", String(100)),
    Column("reason", Text),
    Column("detail", CanonicalJson, nullable=False),
    Column("ciphertext", LargeBinary),
    Column("opened_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("closed_at", UtcTime),
    Column("shredded_at", UtcTime),
    CheckConstraint("kind <> 'erasure' OR quorum >= 2", name="erasure_needs_two_approvals"),
    CheckConstraint("(plan IS NULL) = (plan_digest IS NULL)", name="plan_has_its_digest"),
    Index("cases_by_status", "status", "due_at"),
    Index("cases_by_due", "due_at", "id"),
    Index("cases_by_requester", "requester", "due_at"),
    Index("cases_by_subject", "subject"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("plan_digest", String(64), nullable=False),
    Column("person", ForeignKey("people.id"), nullable=False),
    Column("role", String(40), nullable=False),
    Column("decision", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("voided_at", UtcTime),
    CheckConstraint("decision IN ('approve', 'deny')", name="approve_or_deny"),
    Index(
        "one_standing_decision_each",
        "case_id",
        "person",
        unique=True,
        sqlite_where=text("voided_at IS NULL"),
        postgresql_where=text("voided_at IS NULL"),
    ),
)

extensions = Table(
    "extensions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("previous_due_at", UtcTime, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("notice_sent_at", UtcTime, nullable=False),
    Column("person", String(40), nullable=False),
    Column("at", UtcTime, nullable=False),
    CheckConstraint("due_at > previous_due_at", name="extension_goes_forward"),
)

steps = Table(
    "steps",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("step", String(200), primary_key=True),
    Column("result", CanonicalJson, nullable=False),
    Column("at", UtcTime, nullable=False),
)

near_misses = Table(
    "near_misses",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("record_id", String(100), primary_key=True),
    Column("dataset", String(64), nullable=False),
    Column("score", Integer, nullable=False),
    Column("mark", String(10)),
    Column("reason", Text),
    Column("person", String(40)),
    Column("at", UtcTime),
    CheckConstraint("mark IN ('erase', 'redact', 'keep', 'hold')", name="known_mark"),
    CheckConstraint("mark IS NULL OR reason IS NOT NULL", name="mark_has_a_reason"),
)

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

versions = Table(
    "versions",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("mlflow_version", String(40)),
    Column("mlflow_model_id", String(100)),
    Column("mlflow_run_id", String(100)),
    Column("recipe", CanonicalJson, nullable=False),
    Column("status", String(20), nullable=False),
    Column("guarantee", String(40)),
    Column("case_id", String(80)),
    Column("registered_at", UtcTime, nullable=False),
    Column("purged_at", UtcTime),
    CheckConstraint("status IN ('active', 'sealed', 'purged')", name="known_version_status"),
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

decisions = Table(
    "decisions",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("case_id", String(80), index=True),
    Column("policy", String(200), nullable=False),
    Column("policy_digest", String(64), nullable=False),
    Column("policy_text", Text, nullable=False),
    Column("inputs", CanonicalJson, nullable=False),
    Column("verdict", CanonicalJson, nullable=False),
    Column("at", UtcTime, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("commitment", String(64), primary_key=True),
    Column("case_id", String(80), nullable=False, index=True),
    Column("certificate", String(64), nullable=False),
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

APPEND_ONLY = (audit, checkpoints, alias_history, decisions, extensions)
