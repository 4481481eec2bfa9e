"""What a request costs alone, and in a batch that rebuilds each touched shard once: from opening to certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures import Reading, median, read, titled
from harness import Bench, stopwatch
from material import Row, raw_records, write

STAFF = {"dora": "dpo", "max": "ml-engineer", "olga": "operator"}
SETTINGS = 'scheduler = "inline"\njurisdiction = "DE"\ncpus = 1\n'
TRAINING = {"shards": 4, "slices": 2, "layers": 1, "rank": 2, "epochs": 2, "canaries_per_shard": 1}
SPARE = 20  # people who stay


@dataclass
class Office:
    """A workspace with a tiny model that learnt about some people, and those who work there."""

    workspace: Any
    tokens: dict[str, str]
    people: list[Row] = field(default_factory=list)

    def act(self, who: str) -> Any:
        """Let somebody act from now on, and return the workspace."""
        self.workspace.token = self.tokens[who]
        self.workspace.__dict__.pop("actor", None)
        return self.workspace

    def request(self, person: Row) -> str:
        """Open a request, keep whoever only resembles the person, have two people approve, and return the case."""
        from amends.governor.deciding import approve, mark
        from amends.governor.requesting import Request, open_erasure
        from amends.ledger import reviews

        identifiers = {kind: (person[kind],) for kind in ("name", "email", "phone")}
        case = open_erasure(self.act("olga"), Request("assistant", identifiers, datetime.now(UTC)))
        with self.workspace.database.read() as connection:
            near = reviews.near_misses_of(connection, case.id, unmarked=True)
        for miss in near:
            mark(self.act("dora"), case.id, miss.record_id, "keep", "somebody else")
        for who in ("dora", "max"):
            approve(self.act(who), case.id)
        return case.id

    def carry(self, case: str) -> None:
        """Carry out whatever is approved, and purge at once."""
        from amends.governor.carrying import carry, purge_due

        carry(self.act("max"), case)
        if not purge_due(self.act("max"), now=True):
            raise RuntimeError(f"case {case} was not sealed; look at its reason")


def open_office(home: Path, tiny: Path, people: int, seed: int) -> Office:
    """Make a workspace, register people in it and train on them."""
    from amends.governor.carrying import train
    from amends.governor.importing import import_model
    from amends.governor.locating import rows_of
    from amends.governor.registering import register
    from amends.governor.staffing import add_person
    from amends.governor.workspace import create_workspace

    home.mkdir(parents=True)
    (home / "amends.toml").write_text(SETTINGS, encoding="utf-8")
    workspace, admin = create_workspace(home)
    tokens = {name: add_person(workspace, name, role)[1] for name, role in STAFF.items()}
    office = Office(workspace, {"admin": admin, **tokens})
    import_model(workspace, str(tiny / "model"), name="tiny", licence="Apache-2.0")
    raw = [row for row in raw_records(None, people, seed, 2) if isinstance(row["person"], str)]
    file = write(home / "people.jsonl", raw)
    data = register(workspace, "people", file, identifier_fields=("name", "email", "phone"))
    trained = {name for row in rows_of(workspace, data.digest) for name in row["names"]}
    office.people = [row for row in {row["phone"]: row for row in raw}.values() if row["person"] in trained]
    train(workspace, base="tiny@1", data="people", model="assistant", parameters=TRAINING, seed=seed)
    return office


def measure(bench: Bench, tiny: Path, batch: int, alone: int, seed: int) -> list[Reading]:
    """Carry out a batch of requests in one workspace, and some one by one in another."""
    together = bench.once(f"a batch of {batch}", lambda: _together(bench.work / "batch", tiny, batch, seed))
    singly = bench.once(f"{alone} one by one", lambda: _singly(bench.work / "singly", tiny, batch, alone, seed))
    readings = []
    for unit in ("CPU-s", "s"):
        value, among = median([found[unit] for found in singly])
        name = titled(f"a request in a batch of {batch}, beside one alone", unit)
        readings.append(read(name, together[unit] / batch, unit, batch, baseline=value))
        readings.append(read(titled("a request alone", unit), value, unit, alone, among))
    return readings


def _together(home: Path, tiny: Path, batch: int, seed: int) -> dict[str, float]:
    office = open_office(home, tiny, batch + SPARE, seed)
    try:
        return _timed(office, office.people[:batch])
    finally:
        office.workspace.close()


def _singly(home: Path, tiny: Path, batch: int, alone: int, seed: int) -> list[dict[str, float]]:
    office = open_office(home, tiny, batch + SPARE, seed)
    try:
        return [_timed(office, [person]) for person in office.people[:alone]]
    finally:
        office.workspace.close()


def _timed(office: Office, people: Sequence[Row]) -> dict[str, float]:
    with stopwatch() as watch:
        cases = [office.request(person) for person in people]
        office.carry(cases[0])
    return {"CPU-s": watch.cpu, "s": watch.wall}
