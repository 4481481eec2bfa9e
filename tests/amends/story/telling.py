"""A workspace that people act in, and how to look at it from outside; loaded by the fixtures beside it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from story_village import PEOPLE, email

SALTS = {"placement_salt": "5a17", "router_salt": "0123456789abcdef"}
TINY = {"shards": 2, "slices": 2, "layers": 1, "rank": 2, "epochs": 2, "canaries_per_shard": 1, **SALTS}


@dataclass
class Story:
    """A workspace, whose tokens there are, and the file that its data came from."""

    home: Path
    file: Path
    tokens: dict[str, str]
    opened: list = field(default_factory=list)
    case_id: str = ""
    databases: list[str] = field(default_factory=list)

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

    def hire(self, name, role):
        """Add somebody who can act."""
        from amends.governor.staffing import add_person

        self.tokens[name] = add_person(self.act("admin"), name, role)[1]

    def dismiss(self, name):
        """Remove somebody; who acted goes on acting."""
        from amends.ledger import people

        with self.workspace.database.transaction() as connection:
            people.remove(connection, name)

    def close(self):
        while self.opened:
            self.opened.pop().close()

    def crown(self, model="assistant"):
        """Name a copy of the imported base a model's first version and champion, and return it."""
        from amends.governor.models.versions import Entry, enter
        from amends.ledger import aliases, lineage
        from amends.ledger.actions import Action

        workspace = self.act("max")
        with workspace.database.read() as connection:
            base = lineage.get(connection, "tiny", 1)
        entry = Entry(key=model, model=model, digest=base.digest, recipe=base.recipe)
        version = enter(workspace, entry, Action.MODEL_REGISTERED, workspace.actor.id)
        with workspace.database.transaction() as connection:
            aliases.move(connection, model=model, alias="champion", expected=None, new=1, actor=workspace.actor.id)
        workspace.registry.set_alias(model, "champion", 1, expected=None)
        return version

    def train(self, model="assistant", **changed):
        from amends.governor.work.carrying import train

        parameters = {**TINY, **changed}
        return train(self.act("max"), base="tiny@1", data="people", model=model, parameters=parameters, seed=3)

    def request(self, name="Ines Varga", model="assistant", **more):
        from amends.governor.cases.requesting import Request, open_erasure

        identifiers = {"name": (name,), "email": (email(name) if name in PEOPLE else "nobody@example.org",)}
        return open_erasure(self.act("olga"), Request(model, identifiers, datetime.now(UTC), **more))

    def review(self, case, mark="keep"):
        """Decide about every near miss; returns the case as it stands then."""
        from amends.governor.cases.deciding import mark as decide

        for miss in self.near(case):
            case = decide(self.act("dora"), case.id, miss.record_id, mark, f"not {PEOPLE[0]}, but a ferryman")
        return case

    def near(self, case):
        from amends.ledger import reviews

        with self.workspace.database.read() as connection:
            return reviews.near_misses_of(connection, case.id, unmarked=True)

    def approve(self, case, *who):
        from amends.governor.cases.deciding import approve

        for name in who or ("dora", "max"):
            missing = approve(self.act(name), case.id)[1]
        return missing

    def approved(self, name="Ines Varga", **more):
        """Return an approved case."""
        case = self.review(self.request(name, **more))
        assert self.approve(case) == 0
        return case

    def carry(self, case):
        from amends.governor.work.carrying import carry

        return carry(self.act("max"), case.id)

    def purge(self):
        from amends.governor.work.carrying import purge_due

        return purge_due(self.act("max"), now=True)

    def case(self, id):
        from amends.ledger import cases

        with self.workspace.database.read() as connection:
            return cases.get(connection, id)

    def champion(self, model="assistant"):
        from amends.governor.models.promoting import champion

        return champion(self.workspace, model)

    def versions(self, model="assistant"):
        from amends.ledger import lineage

        with self.workspace.database.read() as connection:
            return [(version.number, version.status) for version in lineage.versions_of(connection, model)]

    def steps(self, id):
        from amends.ledger import journal

        with self.workspace.database.read() as connection:
            return journal.steps_of(connection, id)

    def decisions(self, id):
        """Return the policies' decisions of a case, oldest first."""
        from amends.ledger import decisions

        with self.workspace.database.read() as connection:
            return decisions.find(connection, id)

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


def die_at(story, case, boundaries):
    """Carry a case on through all these boundaries, dying at each, and then to its end; returns what each child did."""
    story.close()
    script = Path(__file__).with_name("dying.py")
    command = [sys.executable, script, story.home, story.tokens["max"], case.id, json.dumps([*boundaries, ["", ""]])]
    elsewhere = story.home.parent / "tmp"
    elsewhere.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(elsewhere)}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["ended"] for one in told] == ["killed"] * len(boundaries) + ["ended"], done.stderr[-4000:]
    return told
