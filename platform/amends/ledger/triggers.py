"""The rules that columns cannot say, as triggers: what is written stays, and four eyes see a plan."""

from __future__ import annotations

from sqlalchemy import Connection

from amends.ledger.tables import APPEND_ONLY

_APPROVALS = """
    SELECT COUNT(DISTINCT person) FROM approvals
    WHERE case_id = NEW.id AND plan_digest = NEW.plan_digest AND decision = 'approve' AND voided_at IS NULL
"""
_DENIALS = """
    SELECT COUNT(*) FROM approvals
    WHERE case_id = NEW.id AND plan_digest = NEW.plan_digest AND decision = 'deny' AND voided_at IS NULL
"""
_STARTED = "('in progress', 'sealed', 'complete')"

# name, when, table, condition under which it refuses, sentence; a condition is never true of NULL.
RULES: tuple[tuple[str, str, str, str, str], ...] = (
    *(
        (f"{table.name}_is_kept_{verb.lower()}", verb, table.name, "1 = 1", f"{table.name} is append-only")
        for table in APPEND_ONLY
        for verb in ("UPDATE", "DELETE")
    ),
    ("approvals_are_kept", "DELETE", "approvals", "1 = 1", "approvals are kept; they can only be voided"),
    (
        "approvals_are_only_voided",
        "UPDATE",
        "approvals",
        "OLD.voided_at IS NOT NULL OR NEW.case_id <> OLD.case_id OR NEW.plan_digest <> OLD.plan_digest"
        " OR NEW.person <> OLD.person OR NEW.decision <> OLD.decision",
        "an approval can only be voided",
    ),
    (
        "four_eyes",
        "INSERT",
        "approvals",
        "EXISTS (SELECT 1 FROM cases WHERE id = NEW.case_id AND requester = NEW.person)",
        "the person who asked cannot approve",
    ),
    (
        "approvals_fit_the_plan",
        "INSERT",
        "approvals",
        "NOT EXISTS (SELECT 1 FROM cases WHERE id = NEW.case_id AND plan_digest = NEW.plan_digest)",
        "the plan is another one by now",
    ),
    (
        "cases_keep_their_rules",
        "UPDATE",
        "cases",
        "NEW.requester <> OLD.requester OR NEW.quorum <> OLD.quorum OR NEW.kind <> OLD.kind"
        " OR NEW.received_at <> OLD.received_at OR COALESCE(NEW.parent, '') <> COALESCE(OLD.parent, '')",
        "who asked, when, for what, on whose behalf and how many must approve cannot change",
    ),
    (
        "plans_stay_while_they_run",
        "UPDATE",
        "cases",
        f"OLD.status IN {_STARTED} AND COALESCE(NEW.plan_digest, '') <> COALESCE(OLD.plan_digest, '')",
        "a plan cannot change while it is carried out",
    ),
    (
        "quorum_on_start",
        "UPDATE",
        "cases",
        f"NEW.status IN {_STARTED} AND OLD.status NOT IN {_STARTED} AND NEW.quorum > 0"
        f" AND (({_APPROVALS}) < NEW.quorum OR ({_DENIALS}) > 0)",
        "too few people approved this plan",
    ),
    (
        "quorum_on_open",
        "INSERT",
        "cases",
        f"NEW.status IN {_STARTED} AND NEW.quorum > 0",
        "a case that needs approvals cannot open as approved",
    ),
)


def install(connection: Connection) -> None:
    """Create every trigger in the dialect of the connection."""
    create = _postgres if connection.dialect.name == "postgresql" else _sqlite
    for name, verb, table, condition, sentence in RULES:
        create(connection, name, verb, table, condition, sentence)


def replace(connection: Connection, name: str) -> None:
    """Create one trigger anew, as this release has it."""
    _, _, table, _, _ = rule = next(rule for rule in RULES if rule[0] == name)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"DROP TRIGGER {name} ON {table}")
        connection.exec_driver_sql(f"DROP FUNCTION {name}()")
        _postgres(connection, *rule)
    else:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
        _sqlite(connection, *rule)


def _sqlite(connection: Connection, name: str, verb: str, table: str, condition: str, sentence: str) -> None:
    connection.exec_driver_sql(
        f"CREATE TRIGGER {name} BEFORE {verb} ON {table} WHEN {condition} BEGIN"
        f" SELECT RAISE(ABORT, 'amends: {sentence}'); END"
    )


def _postgres(connection: Connection, name: str, verb: str, table: str, condition: str, sentence: str) -> None:
    row = "OLD" if verb == "DELETE" else "NEW"
    connection.exec_driver_sql(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition} THEN"
        f" RAISE EXCEPTION 'amends: {sentence}' USING ERRCODE = 'check_violation'; END IF; RETURN {row}; END $$"
    )
    connection.exec_driver_sql(f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")
    if verb == "DELETE":
        connection.exec_driver_sql(
            f"CREATE TRIGGER {name}_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )
