"""Tables of people, their cases and what was decided."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, text

from amends.ledger.columns import CanonicalJson, UtcTime
from amends.ledger.tables.base import metadata

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
    Column("parent", ForeignKey("cases.id")),
    CheckConstraint("kind <> 'erasure' OR quorum >= 2", name="erasure_needs_two_approvals"),
    CheckConstraint("(plan IS NULL) = (plan_digest IS NULL)", name="plan_has_its_digest"),
    Index("cases_by_status", "status", "due_at"),
    Index("cases_by_due", "due_at", "id"),
    Index("cases_by_requester", "requester", "due_at"),
    Index("cases_by_subject", "subject"),
    Index("cases_by_parent", "parent"),
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
