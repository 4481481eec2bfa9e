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
QUALITY = {"retained-probability", "retained-answers", "perplexity"}  # rules on what a tiny random model has none of
SPARE = 20  # people who stay
PHASES = ("all", "opened and approved", "carried out", "purged and attested")
Run = dict[str, dict[str, float]]


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
        from amends.governor.cases.deciding import approve, mark
        from amends.governor.cases.requesting import Request, open_erasure
        from amends.ledger import reviews

        identifiers = {kind: (person[kind],) for kind in ("name", "email", "phone")}
        case = open_erasure(self.act("olga"), Request("assistant", identifiers, datetime.now(UTC)))
        with self.workspace.database.read() as connection:
            near = reviews.near_misses_of(connection, case.id, unmarked=True)
        officer = self.act("dora")
        for miss in near:
            mark(officer, case.id, miss.record_id, "keep", "somebody else")
        for who in ("dora", "max"):
            approve(self.act(who), case.id)
        return case.id

    def carry(self, case: str) -> None:
        """Carry out whatever is approved."""
        from amends.governor.work.carrying import carry

        carry(self.act("max"), case)

    def purge(self, case: str) -> None:
        """Purge at once, and close what was carried out."""
        from amends.governor.work.carrying import purge_due

        if not purge_due(self.act("max"), now=True):
            raise RuntimeError(f"case {case} was not sealed; look at its reason")


def open_office(folder: Path, tiny: Path, people: int, seed: int) -> Office:
    """Make a workspace, register people in it and train on them."""
    from amends.governor.data.registering import register
    from amends.governor.data.rows import rows_of
    from amends.governor.models.importing import import_model
    from amends.governor.staffing import add_person
    from amends.governor.work.carrying import train
    from amends.governor.workspace import create_workspace

    home = folder / "home"
    home.mkdir()
    (home / "amends.toml").write_text(SETTINGS, encoding="utf-8")
    _spare_quality(home)
    workspace, admin = create_workspace(home)
    tokens = {name: add_person(workspace, name, role)[1] for name, role in STAFF.items()}
    office = Office(workspace, {"admin": admin, **tokens})
    import_model(workspace, str(tiny / "model"), name="tiny", licence="Apache-2.0")
    raw = [row for row in raw_records(None, people, seed, 2) if isinstance(row["person"], str)]
    file = write(folder / "people.jsonl", raw)  # outside of what is scanned
    data = register(workspace, "people", file, identifier_fields=("name", "email", "phone"))
    trained = {name for row in rows_of(workspace, data.digest) for name in row["names"]}
    office.people = [row for row in {row["phone"]: row for row in raw}.values() if row["person"] in trained]
    train(workspace, base="tiny@1", data="people", model="assistant", parameters=TRAINING, seed=seed)
    return office


def _spare_quality(home: Path) -> None:
    """Give a workspace the erasure policy without the rules on quality; all else is measured and judged as ever."""
    import yaml

    from amends.policy import find_policy

    policy = yaml.safe_load(find_policy("erasure").read_text(encoding="utf-8"))
    policy["rules"] = [rule for rule in policy["rules"] if rule["id"] not in QUALITY]
    (home / "policies").mkdir()
    (home / "policies" / "erasure.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")


def measure(bench: Bench, tiny: Path, batch: int, alone: int, seed: int) -> list[Reading]:
    """Carry out a batch of requests in one workspace, and some one by one in another."""
    together = bench.once(f"a batch of {batch}", lambda: _together(bench.empty("batch"), tiny, batch, seed))
    singly = bench.once(f"{alone} one by one", lambda: _singly(bench.empty("singly"), tiny, batch, alone, seed))
    return [reading for phase in PHASES for reading in _compared(phase, batch, together, singly)]


def _compared(phase: str, batch: int, together: Run, singly: Sequence[Run]) -> list[Reading]:
    readings = []
    for unit in ("CPU-s", "s"):
        value, among = median([found[phase][unit] for found in singly])
        name = titled(f"a request of {batch}, beside one alone: {phase}", unit)
        readings.append(read(name, together[phase][unit] / batch, unit, batch, baseline=value))
        readings.append(read(titled(f"a request alone: {phase}", unit), value, unit, len(singly), among))
    return readings


def _together(folder: Path, tiny: Path, batch: int, seed: int) -> Run:
    office = open_office(folder, tiny, batch + SPARE, seed)
    try:
        return _timed(office, office.people[:batch])
    finally:
        office.workspace.close()


def _singly(folder: Path, tiny: Path, batch: int, alone: int, seed: int) -> list[Run]:
    office = open_office(folder, tiny, batch + SPARE, seed)
    try:
        return [_timed(office, [person]) for person in office.people[:alone]]
    finally:
        office.workspace.close()


def _timed(office: Office, people: Sequence[Row]) -> Run:
    taken: Run = {"all": {"CPU-s": 0.0, "s": 0.0}}
    cases: list[str] = []
    for phase, action in (
        ("opened and approved", lambda: cases.extend(map(office.request, people))),
        ("carried out", lambda: office.carry(cases[0])),
        ("purged and attested", lambda: office.purge(cases[0])),
    ):
        with stopwatch() as watch:
            action()
        taken[phase] = {"CPU-s": watch.cpu, "s": watch.wall}
        taken["all"] = {unit: taken["all"][unit] + taken[phase][unit] for unit in taken["all"]}
    return taken
