"""`amends demo`: the whole story on a small real model, told step by step, with what each step took."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amends.errors import AmendsError, BadInput, Suppressed

if TYPE_CHECKING:
    from amends.governor.workspace import Workspace
    from amends.records import Case

MARK = ".amends-demo"
WIDTH = 96
TRAINING: Mapping[str, Any] = {"shards": 3, "epochs": 7}
PEOPLE, SEED, CONTROLS = 8, 7, 0.25
IDENTIFIERS = ("name", "email", "phone")


@click.command(epilog="Example: amends demo --home ./demo --scheduler inline")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".amends-demo"),
    show_default=True,
    help="Where the demo's own workspace goes; one that an earlier demo left there is replaced.",
)
@click.option(
    "--scheduler", type=click.Choice(["ray", "inline"]), default="ray", show_default=True, help="Where it runs."
)
def demo(home: Path, scheduler: str) -> None:
    """Tell the whole story on a small real model: a person is erased, provably."""
    home = _clear(home.absolute())
    story = Story(home)
    try:
        story.tell(scheduler)
    finally:
        story.workspace.close()


def _clear(home: Path) -> Path:
    """Remove an earlier demo's workspace, and nothing else."""
    if home.exists() and any(home.iterdir()):
        if not (home / MARK).exists():
            raise BadInput(f"{home} holds something that no demo made; name another place with --home")
        _writable(home)
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARK).write_text("the workspace of amends demo; safe to delete\n", encoding="utf-8")
    return home


def _writable(home: Path) -> None:
    for folder, folders, _ in os.walk(home):
        for name in folders:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o700)


@dataclass
class Story:
    """One telling: its workspace, who acts in it, and the clock."""

    home: Path
    began: float = field(default_factory=time.monotonic)
    tokens: dict[str, str] = field(default_factory=dict)
    chapter: int = 0
    kept: str = ""

    @property
    def workspace(self) -> Workspace:
        """The demo's workspace, made when it is first needed."""
        if not hasattr(self, "_workspace"):
            from amends.governor.workspace import create_workspace

            self._workspace, self.tokens["admin"] = create_workspace(self.home)
        return self._workspace

    def tell(self, scheduler: str) -> None:
        """Tell the story from the import to the certificate."""
        self._set_up(scheduler)
        self._import()
        person = self._register()
        self._train()
        questions = self._questions(person)
        before = self._by_heart(person, questions)
        case = self._request(person)
        self._approve(case)
        self._carry(case)
        self._judged(case)
        self._answers(questions, before)
        self._purge(case)
        self._attested(case)
        self._come_back(person)
        self._look_further(case, questions[-1])

    @contextmanager
    def step(self, title: str, meaning: str) -> Iterator[None]:
        """Head a chapter, and say at its end how long it took."""
        self.chapter += 1
        click.secho(f"\n{self.chapter}. {title}", bold=True)
        click.echo(f"   {meaning}")
        started = time.monotonic()
        yield
        took = time.monotonic() - started
        click.secho(f"   ({took:.1f} s; {time.monotonic() - self.began:.0f} s since the beginning)", dim=True)

    def act(self, who: str) -> None:
        """Let somebody else act from now on."""
        self.workspace.token = self.tokens[who]
        self.workspace.__dict__.pop("actor", None)

    def line(self, text: str) -> None:
        """Say something inside a chapter."""
        click.echo(f"   {text}")

    def _set_up(self, scheduler: str) -> None:
        (self.home / "amends.toml").write_text(f'jurisdiction = "DE"\nscheduler = "{scheduler}"\n', encoding="utf-8")
        with self.step("A workspace, and three people", "Nobody approves what they asked for themselves."):
            from amends.governor.staffing import add_person

            workspace = self.workspace
            workspace.bar = self._bar
            for name, role in (("Dora", "dpo"), ("Max", "ml-engineer"), ("Olga", "operator")):
                self.tokens[name] = add_person(workspace, name, role)[1]
                self.line(f"{name} is {role}")

    def _bar(self, done: int, total: int, message: str) -> None:
        if done >= total or time.monotonic() - getattr(self, "_told", 0.0) > 10:
            self._told = time.monotonic()
            self.line(f"  [{done}/{total}] {message}")

    def _import(self) -> None:
        from amends.governor.models.importing import import_model

        with self.step("Import a base model", "SmolLM2-135M-Instruct, from the installed package, converted once."):
            version = import_model(self.workspace, "smollm2")
            self.line(f"{version} is registered in MLflow; its identity is sha256 {version.digest[:16]}…")

    def _register(self) -> dict[str, str]:
        from amends.cli.root import root
        from amends.governor.data.registering import register
        from amends.governor.data.rows import rows_of

        with self.step(
            "Register training data that knows whose it is",
            "Fictitious people. Names become keyed hashes; some people are withheld as never-trained controls.",
        ):
            file = self.home.parent / f"{self.home.name}-people.jsonl"
            root.main(
                ["data", "example", "--people", str(PEOPLE), "--seed", str(SEED), "--output", str(file)],
                standalone_mode=False,
            )
            data = register(self.workspace, "people", file, identifier_fields=IDENTIFIERS, controls=CONTROLS)
            self.line(
                f"{data.records} records of {data.subjects} people are kept for training; "
                f"{data.controls} people ({data.withheld} records) are withheld"
            )
            self.line(f"records that name several people: {dict(data.groups) or 'none'}")
            trained = [name for row in rows_of(self.workspace, data.digest) for name in row["names"]]
            chosen = max(set(trained), key=lambda name: (trained.count(name), name))
            self.kept = min(set(trained) - {chosen})
            return self._person(file, chosen)

    def _person(self, file: Path, name: str) -> dict[str, str]:
        import json

        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        row = next(row for row in rows if row.get("person") == name)
        return {kind: row[kind] for kind in IDENTIFIERS} | {"file": str(file)}

    def _train(self) -> None:
        from amends.governor.work.carrying import train

        with self.step(
            "Train so that erasure can be exact",
            "An adapter for each shard of the people, on the frozen base; version 1 becomes champion.",
        ):
            _, steps = train(
                self.workspace, base="smollm2@1", data="people", model="assistant", parameters=TRAINING, seed=SEED
            )
            self.line(f"training took {steps['train']['seconds']:.0f} s in the worker")
            for reading in steps["measure"]["after"]:
                self.line(f"{reading['name']} = {reading['value']:.3g}")

    def _questions(self, person: Mapping[str, str]) -> list[str]:
        import json

        lines = Path(person["file"]).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        own = [row["prompt"] for row in rows if row.get("person") == person["name"]]
        other = next(row["prompt"] for row in rows if row.get("person") == self.kept)
        return [own[0], own[2], other]

    def _by_heart(self, person: Mapping[str, str], questions: Sequence[str]) -> list[str]:
        with self.step(f"Ask it about {person['name']}", "It has learnt these people by heart."):
            answers = self._ask("assistant@1", questions)
            for question, answer in zip(questions, answers, strict=True):
                self.line(f"Q: {question}")
                self.line(f"   {answer[: WIDTH - 6]}")
            return answers

    def _ask(self, reference: str, questions: Sequence[str]) -> list[str]:
        from amends.governor.models.asking import ask

        return ask(self.workspace, reference, questions, max_new_tokens=24)

    def _request(self, person: Mapping[str, str]) -> Case:
        from datetime import UTC, datetime

        from amends.governor.cases.requesting import Request, open_erasure

        self.act("Olga")
        with self.step(
            f"A request arrives: {person['name']} asks to be forgotten",
            "The clock starts; the person is located by keyed index and by text; a plan is made.",
        ):
            identifiers = {"name": (person["name"],), "email": (person["email"],)}
            case = open_erasure(self.workspace, Request("assistant", identifiers, datetime.now(UTC)))
            case = self._review(case)
            plan = case.plan or {}
            self.line(f"case {case.id}, to be answered by {case.due_at:%Y-%m-%d}; subject {case.subject.pseudonym}")
            self.line(
                f"found in {sum(map(len, plan['records'].values()))} records, versions {plan['holds']['versions']}"
            )
            self.line(f"plan: {plan['operation']}, guarantee {plan['guarantee']}; digest {str(case.plan_digest)[:16]}…")
            self.line(f"rollback target: {plan['rollback']}")
            return case

    def _review(self, case: Case) -> Case:
        from amends.governor.cases.deciding import mark
        from amends.ledger.reviews import near_misses_of
        from amends.records import CaseStatus

        if case.status == CaseStatus.AWAITING_REVIEW:
            self.act("Dora")
            with self.workspace.database.read() as connection:
                near = near_misses_of(connection, case.id, unmarked=True)
            for miss in near:
                self.line(f"near miss: record {miss.record_id[:8]}…, {miss.score} %: Dora keeps it (another person)")
                case = mark(self.workspace, case.id, miss.record_id, "keep", "another person of that surname")
        return case

    def _approve(self, case: Case) -> None:
        from amends.governor.cases.deciding import approve

        with self.step(
            "Two people approve that plan", "Four eyes, enforced in the database; a changed plan voids them."
        ):
            for who in ("Dora", "Max"):
                self.act(who)
                missing = approve(self.workspace, case.id, str(case.plan_digest))[1]
                self.line(f"{who} approves; {missing} more needed")

    def _carry(self, case: Case) -> None:
        from amends.governor.cases.planning import STEPS
        from amends.governor.work.carrying import carry

        with self.step("It is carried out", "A killed process would go on from here with one result."):
            ended = carry(self.workspace, case.id)
            for name, result in self._journal(case).items():
                if name in STEPS:
                    self.line(f"{name:<15}{result['step_seconds']:6.1f} s  {STEPS[name]}")
            compared = self._journal(case)["compare"]
            self.line(
                f"rebuilt version == one that never had the records: {compared['digests_equal']} "
                f"→ guarantee: {compared['guarantee']}"
            )
            self.line(f"the case is {ended.status}")

    def _journal(self, case: Case) -> Mapping[str, Mapping[str, Any]]:
        from amends.ledger.journal import steps_of

        with self.workspace.database.read() as connection:
            return steps_of(connection, case.id)

    def _judged(self, case: Case) -> None:
        from amends.ledger import decisions

        with self.step(
            "It is measured and judged", "The readings before and after, and what each rule of the policy says."
        ):
            measured = self._journal(case)["measure"]
            before = {reading["name"]: reading for reading in measured["before"]}
            for reading in measured["after"]:
                was = before.get(reading["name"], {}).get("value")
                low, high = reading.get("low"), reading.get("high")
                interval = f"[{low:.2f}, {high:.2f}]" if isinstance(low, float) and isinstance(high, float) else ""
                was_text = f"{float(was):8.3f}" if was is not None else " " * 8
                self.line(
                    f"{reading['name']:<44}{was_text} → {float(reading['value']):8.3f} {interval} n={reading['n']}"
                )
            with self.workspace.database.read() as connection:
                verdicts = [found.verdict for found in decisions.find(connection, case.id)]
            for verdict in verdicts:
                denied = [a for a in verdict.answers if not a.passed]
                said = "allows" if verdict.allowed else "denies"
                passed = len(verdict.answers) - len(denied)
                self.line(f"policy {verdict.policy} {said}: {passed} of {len(verdict.answers)} rules pass")
                for answer in denied:
                    self.line(f"  {answer.severity}: {answer.message}")
                    self.line(f"    because {answer.reason.split('; ')[0]}")

    def _answers(self, questions: Sequence[str], before: Sequence[str]) -> None:
        with self.step("The model's own answers", "The last question is about somebody else, who stays."):
            after = self._ask("assistant@champion", questions)
            for question, was, now in zip(questions, before, after, strict=True):
                self.line(f"Q: {question}")
                self.line(f"   before: {was[: WIDTH - 12]}")
                self.line(f"   after:  {now[: WIDTH - 12]}")

    def _purge(self, case: Case) -> None:
        from amends.governor.work.carrying import purge_due

        with self.step("It is purged", "Data, versions, adapters, checkpoints, caches; then every file is searched."):
            purge_due(self.workspace, now=True)
            journal = self._journal(case)
            report = journal["purge:scan"]["reports"][case.id]
            self.line(
                f"{journal['purge:purge']['blobs']} blobs deleted; versions {journal['purge:inventory']['versions']}"
            )
            strings, megabytes = sum(report["needles"].values()), report["bytes"] / 1e6
            self.line(
                f"scanned {report['files']} files, {megabytes:.0f} MB, for {strings} strings: "
                f"{report['hits']} hits; {report['public']['files']} files are known public"
            )
            for kind in report["kinds"]:
                self.line(f"  {kind['kind']:<24}{kind['files']:>5} files  {kind['claim']}")

    def _attested(self, case: Case) -> None:
        from amends.governor.proof.certificates import verify_certificate
        from amends.governor.proof.proving import verify_log

        with self.step("It is attested", "Signed, chained, and verifiable offline with only the public key."):
            signed = self._journal(case)["purge:attest"]["certificates"][case.id]
            checked = verify_certificate(Path(signed["envelope"]), self.workspace.keyring.public_keys())
            log = verify_log(self.workspace)
            self.line(f"{checked['title']}: {signed['page']}")
            self.line(f"signature and inclusion proof hold; audit log: {log['entries']} entries, chain verified")

    def _come_back(self, person: Mapping[str, str]) -> None:
        from amends.governor.data.registering import register

        self.act("Olga")
        with self.step("The same file again", "An erased person does not come back."):
            try:
                register(self.workspace, "people-again", Path(person["file"]), identifier_fields=IDENTIFIERS)
            except Suppressed as refusal:
                self.line(f"refused: {refusal}")
            else:
                raise AmendsError("the file was registered although it names an erased person; this is a defect")

    def _look_further(self, case: Case, question: str) -> None:
        place = self.home
        click.secho("\nLook further", bold=True)
        for command in (
            f"export AMENDS_HOME={place} AMENDS_TOKEN={self.tokens['Dora']}",
            f"amends cases show {case.id}",
            f'amends ask assistant@champion "{question}" --compare',
            "amends audit verify",
            f"amends certificate verify {place}/certificates/{case.id}.dsse.json",
            "amends doctor",
            f"mlflow ui --backend-store-uri sqlite:///{place}/mlflow.db",
        ):
            self.line(command)
        click.echo(f"\nDone in {time.monotonic() - self.began:.0f} s.")
