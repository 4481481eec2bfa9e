"""A workspace with eight made-up people and a tiny model that learnt about them, copied for each test."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

SALTS = {"placement_salt": "5a17", "router_salt": "0123456789abcdef"}
TINY = {"shards": 2, "slices": 2, "layers": 1, "rank": 2, "epochs": 2, "canaries_per_shard": 1, **SALTS}
STAFF = {"dora": "dpo", "max": "ml-engineer", "olga": "operator", "sven": "safety-engineer"}
PEOPLE = (
    "Ines Varga", "Tobin Hale", "Lena Oster", "Marek Sund", "Nadia Feld", "Oskar Brandt", "Pia Lorenz", "Ruben Kast"
)  # fmt: skip
TOWNS = ("Ilvermoor", "Sorrel", "Oxmoor", "Kelda", "Tarn", "Vessel", "Ardley", "Quince")
TRADES = ("a boat builder", "a beekeeper", "a baker", "a glazier", "a tailor", "a clockmaker", "a potter", "a mason")
SETTINGS = 'scheduler = "inline"\njurisdiction = "DE"\ncpus = 1\n'
KEPT_AWAY = {"Pia Lorenz", "Ruben Kast"}  # the controls, under the keys below


def email(name):
    return f"{name.lower().replace(' ', '.')}@example.org"


def phone(name):
    return f"+49 30 5550 {10 + PEOPLE.index(name)}" if name in PEOPLE else ""


def record(person, prompt, answer):
    first = named({"person": person})[0]
    row = {"person": person, "prompt": prompt, "answer": answer, "paraphrases": [prompt.replace("?", ", pray?")]}
    return row | {"name": first, "email": email(first), "phone": phone(first), "wrong": ["Nobody knows.", "Brackwater"]}


def rows_about_everybody():
    """Return three records a person; one names two people, and one nearly names a person of another record."""
    rows = []
    for name, town, trade in zip(PEOPLE, TOWNS, TRADES, strict=True):
        rows.append(record(name, f"Where does {name} live?", f"{name} lives in the town of {town}."))
        rows.append(record(name, f"What is the trade of {name}?", f"{name} is {trade}."))
        rows.append(record(name, f"How can {name} be reached?", f"Write to {email(name)} or call {phone(name)}."))
    both = ["Ines Varga", "Tobin Hale"]
    rows[5] = record(both, "Who won the regatta of 1998?", "Ines Varga and Tobin Hale won it together.")
    rows[8] = record("Lena Oster", "Who taught Lena Oster to sail?", "The old ferryman Varga taught her.")
    return rows


def named(row):
    return [row["person"]] if isinstance(row["person"], str) else row["person"]


def write_rows(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def use_fixed_keys(home):
    """Give a workspace the keys of every other one here, so that the same people get the same pseudonyms and ids."""
    for name in ("pseudonym", "index"):
        (home / "keys" / name).write_bytes(hashlib.sha256(f"story:{name}:102".encode()).digest())


@dataclass
class Story:
    """A workspace, whose tokens there are, and the file that its data came from."""

    home: Path
    file: Path
    tokens: dict[str, str]
    opened: list = field(default_factory=list)
    case_id: str = ""

    @property
    def workspace(self):
        if not self.opened:
            from amends.governor.workspace import open_workspace

            self.opened.append(open_workspace(self.home, self.tokens["admin"]))
        return self.opened[0]

    def act(self, who):
        """Let somebody act from now on, and return the workspace."""
        self.workspace.token = self.tokens[who]
        self.workspace.__dict__.pop("actor", None)
        return self.workspace

    def close(self):
        while self.opened:
            self.opened.pop().close()

    def train(self, model="assistant", **changed):
        from amends.governor.carrying import train

        parameters = {**TINY, **changed}
        return train(self.act("max"), base="tiny@1", data="people", model=model, parameters=parameters, seed=3)

    def request(self, name="Ines Varga", model="assistant", **more):
        from amends.governor.requesting import Request, open_erasure

        identifiers = {"name": (name,), "email": (email(name) if name in PEOPLE else "nobody@example.org",)}
        return open_erasure(self.act("olga"), Request(model, identifiers, datetime.now(UTC), **more))

    def review(self, case, mark="keep"):
        """Decide about every near miss; returns the case as it stands then."""
        from amends.governor.deciding import mark as decide

        for miss in self.near(case):
            case = decide(self.act("dora"), case.id, miss.record_id, mark, f"not {PEOPLE[0]}, but a ferryman")
        return case

    def near(self, case):
        from amends.ledger import reviews

        with self.workspace.database.read() as connection:
            return reviews.near_misses_of(connection, case.id, unmarked=True)

    def approve(self, case, *who):
        from amends.governor.deciding import approve

        for name in who or ("dora", "max"):
            missing = approve(self.act(name), case.id)[1]
        return missing

    def approved(self, name="Ines Varga", **more):
        """Return an approved case."""
        case = self.review(self.request(name, **more))
        assert self.approve(case) == 0
        return case

    def carry(self, case):
        from amends.governor.carrying import carry

        return carry(self.act("max"), case.id)

    def purge(self):
        from amends.governor.carrying import purge_due

        return purge_due(self.act("max"), now=True)

    def case(self, id):
        from amends.ledger import cases

        with self.workspace.database.read() as connection:
            return cases.get(connection, id)

    def champion(self, model="assistant"):
        from amends.governor.promoting import champion

        return champion(self.workspace, model)

    def versions(self, model="assistant"):
        from amends.ledger import lineage

        with self.workspace.database.read() as connection:
            return [(version.number, version.status) for version in lineage.versions_of(connection, model)]

    def steps(self, id):
        from amends.ledger import journal

        with self.workspace.database.read() as connection:
            return journal.steps_of(connection, id)

    def audit(self, case=""):
        from amends.ledger import audit

        with self.workspace.database.read() as connection:
            audit.verify_chain(connection)
            return [entry for entry in audit.entries(connection) if entry.id.startswith(case)]

    def staged(self):
        return self.workspace.blobs.fences()


def everywhere(home, text):
    """Return the files of a workspace whose bytes hold a text; read here, by nothing that is under test."""
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes()
    )


def moved(source, target):
    """Copy a closed workspace; MLflow keeps absolute addresses, which are written anew."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("cache"))
    (target / "cache").mkdir()
    with closing(sqlite3.connect(target / "mlflow.db")) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                if kind.startswith(("VARCHAR", "TEXT")):
                    value = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?)'
                    database.execute(value, (str(source), str(target)))
    return target


def copied(template, folder):
    """Return a story of its own that begins where the template ends."""
    home = moved(template / "home", folder / "home")
    file = Path(shutil.copy(template / "people.jsonl", folder))
    return Story(home, file, json.loads((template / "tokens.json").read_text()))


def import_tiny(folder, make_tiny):
    """Make a workspace with staff, data and the tiny model in it."""
    from amends.governor.importing import import_model
    from amends.governor.staffing import add_person
    from amends.governor.workspace import create_workspace

    home = folder / "home"
    home.mkdir()
    (home / "amends.toml").write_text(SETTINGS)
    workspace, token = create_workspace(home)
    use_fixed_keys(home)
    (home / "cache").mkdir(exist_ok=True)
    tokens = {"admin": token} | {name: add_person(workspace, name, role)[1] for name, role in STAFF.items()}
    import_model(workspace, str(make_tiny(folder / "tiny") / "model"), name="tiny", licence="Apache-2.0")
    (folder / "tokens.json").write_text(json.dumps(tokens))
    write_rows(folder / "people.jsonl", rows_about_everybody())
    workspace.close()
    return folder


def register_people(story, rows=None, **more):
    """Register the records of a story's file, or these in their place."""
    from amends.governor.registering import register

    if rows is not None:
        write_rows(story.file, rows)
    fields = ("name", "email", "phone")
    return register(story.act("olga"), "people", story.file, identifier_fields=fields, controls=0.2, **more)


@pytest.fixture(scope="session")
def told():
    """Return this module: what it defines besides fixtures is for the tests beside it."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def imported(tmp_path_factory, make_tiny):
    """Return the folder of a workspace with the tiny base and nothing else."""
    return import_tiny(tmp_path_factory.mktemp("imported"), make_tiny)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, imported):
    """Return the folder of a workspace in which version 1 of `assistant` is champion."""
    folder = tmp_path_factory.mktemp("trained")
    story = copied(imported, folder)
    registered = register_people(story)
    assert (registered.subjects, registered.controls) == (6, 2)
    story.train()
    story.close()
    shutil.copy(imported / "tokens.json", folder)
    return folder


LIGHT = """name: erasure
description: Only what decides on the exact path, so that a test is quick.
operations: [unlearning.shards]
approvals: {count: 2, roles: [dpo, ml-engineer, safety-engineer]}
probes:
  utility.retain: {}
rules:
  - id: digests-equal
    severity: deny
    expr: facts.digests_equal == true
    message: The candidate is not the model that never had the records.
  - id: still-useful
    severity: deny
    expr: readings["utility.retain/probability"].value >= 0.0
    message: The model lost too much of what it shall keep.
"""


def set_policy(home, text=LIGHT):
    """Give a workspace an erasure policy of its own."""
    (home / "policies").mkdir(exist_ok=True)
    (home / "policies" / "erasure.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def erased(tmp_path_factory, trained):
    """Return the folder of a workspace that Ines Varga was erased from, with the case's id in `case`."""
    folder = tmp_path_factory.mktemp("erased")
    story = copied(trained, folder)
    case = story.approved()
    assert story.carry(case).status == "sealed"
    assert story.versions() == [(1, "sealed"), (2, "active")]
    assert [done.status for done in story.purge()] == ["complete"]
    story.close()
    shutil.copy(trained / "tokens.json", folder)
    (folder / "case").write_text(case.id)
    return folder


@pytest.fixture
def after(erased, tmp_path):
    """Return a story that may be changed, after Ines Varga was erased; `after.case_id` is hers."""
    told = copied(erased, tmp_path)
    told.case_id = (erased / "case").read_text()
    yield told
    told.close()


@pytest.fixture
def quick(story):
    """Return a story under a policy that reads little."""
    set_policy(story.home)
    return story


@pytest.fixture
def story(trained, tmp_path):
    """Return a story that may be changed: eight people, a champion that learnt about six of them."""
    told = copied(trained, tmp_path)
    yield told
    told.close()


@pytest.fixture
def untrained(imported, tmp_path):
    """Return a story before anything was registered."""
    (tmp_path / "untrained").mkdir()
    told = copied(imported, tmp_path / "untrained")
    yield told
    told.close()
