"""How fast the audit log is written and checked, and cases are listed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from figures import Reading, median, read, titled
from harness import Bench, stopwatch
from processes import amends, timed

REPEATS = 3
DUE = datetime(2030, 1, 1, tzinfo=UTC)


def audit_log(bench: Bench, entries: int) -> list[Reading]:
    """Append so many entries, one to a transaction and all in one, and verify the chain and its signed roots."""
    from amends.ledger import audit, checkpoints
    from amends.ledger.actions import Action
    from amends.ledger.database import Database
    from amends.vault.keys import Keyring

    folder = bench.empty("audit")
    keyring = Keyring.create(folder / "keys")
    body = {"model": "assistant", "plan": "0" * 64, "received_at": DUE.isoformat()}
    one_by_one, at_once = (Database(f"sqlite:///{folder}/{name}.db") for name in ("each", "all"))
    drafts = [audit.Draft(f"entry-{n}", "p-1", Action.ERASURE_OPENED, {"n": n, **body}) for n in range(entries)]

    def append_each() -> None:
        for draft in drafts:
            with one_by_one.transaction() as connection:
                audit.append_many(connection, [draft])

    def append_all() -> None:
        with at_once.transaction() as connection:
            audit.append_many(connection, drafts)

    def sign() -> None:
        with one_by_one.transaction() as connection:
            checkpoints.checkpoint(connection, keyring)

    def verify(check: Callable[..., int], *more: Any) -> Callable[[], None]:
        def run() -> None:
            with one_by_one.read() as connection:
                check(connection, *more)

        return run

    for database in (one_by_one, at_once):
        database.migrate()
    try:
        return [
            _seconds(f"audit: append {entries:,}, one a transaction", append_each),
            _seconds(f"audit: append {entries:,} in one transaction", append_all),
            _seconds(f"audit: sign a root over {entries:,}", sign),
            _seconds(f"audit: verify the chain of {entries:,}", verify(audit.verify_chain), REPEATS),
            _seconds(
                f"audit: verify {entries:,} and their signed root",
                verify(checkpoints.verify_checkpoints, keyring.public_keys()), REPEATS,
            ),
        ]  # fmt: skip
    finally:
        for database in (one_by_one, at_once):
            database.close()


def _seconds(name: str, action: Callable[[], None], repeats: int = 1) -> Reading:
    taken = []
    for _ in range(repeats):
        with stopwatch() as watch:
            action()
        taken.append(watch.cpu)
    return read(name, median(taken)[0], "CPU-s", repeats, median(taken)[1] if repeats > 1 else None)


def case_list(bench: Bench, count: int, repeats: int) -> list[Reading]:
    """List cases from the command line, the whole process, beside a workspace that has none."""
    homes = {name: _workspace(bench.empty(f"cases-{name}"), number) for name, number in (("many", count), ("none", 0))}
    readings = []
    for title, more in (("first hundred", ()), ("all as JSON", ("--limit", "0", "--json"))):
        taken = timed({name: (amends("cases", "list", *more), home) for name, home in homes.items()}, repeats)
        for unit in ("CPU-s", "s"):
            value, among = median([found[unit] for found in taken["many"]])
            baseline = median([found[unit] for found in taken["none"]])[0]
            name = titled(f"cases list of {count:,}, {title}", unit)
            readings.append(read(name, value, unit, repeats, among, baseline=baseline))
    return readings


def _workspace(home: Path, count: int) -> Path:
    """Make a workspace with so many cases, a quarter of them waiting for approval."""
    from amends.governor.workspace import create_workspace
    from amends.ledger import cases
    from amends.records import Case, CaseStatus, DataSubject

    workspace, _ = create_workspace(home)
    with workspace.database.transaction() as connection:
        for n in range(count):
            case = Case(
                id=f"e-{n:010d}", kind="erasure", model="assistant", subject=DataSubject(f"s_{n:024x}"),
                status=CaseStatus.LOCATING, requester="p-1", regime="gdpr",
                received_at=DUE - timedelta(days=31), due_at=DUE + timedelta(minutes=n),
            )  # fmt: skip
            cases.open_case(connection, case)
            if n % 4 == 0:
                cases.set_plan(connection, case.id, {"n": n})
                cases.set_status(connection, case.id, CaseStatus.AWAITING_APPROVAL)
    workspace.close()
    return home
