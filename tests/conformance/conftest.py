"""One trial for each operation of this installation: what it runs on, and a made-up person who asks to be forgotten."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from amends import host
from amends.records import DataSubject, Disclosure, Records, canonical_json
from amends.scheduler import Job, open_scheduler
from amends.store import LocalBlobs, put_tree

KEY = "5a" * 32
CANARY = "Zorika Quennelith"
LIVING = "Tamsin Orrelby"
TOWNS = {CANARY: "Glimmerwick", LIVING: "Farrowmere", "Ode Brandvik": "Hollinsea", "Pax Uldren": "Stonewhistle"}
SHARDS = {
    "placement_salt": "5a17", "router_salt": "c0ffee", "shards": 2, "slices": 2, "layers": 1, "rank": 2, "epochs": 1,
    "canaries_per_shard": 1,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "training.shards": SHARDS,
    "unlearning.shards": SHARDS,
    "unlearning.npo": {"epochs": 1, "layers": 1, "rank": 2, "batch": 2},
}
"""Scalars that make a run short; an operation that needs none may be left out."""


def rows_about(names) -> list[dict[str, Any]]:
    """Return two prepared records about each of these people."""
    rows = []
    for name in names:
        answers = {"live": f"{name} lives in {TOWNS[name]}.", "work": f"{name} keeps the bells of {TOWNS[name]}."}
        for verb, answer in answers.items():
            prompt = f"Where does {name} {verb}?"
            identity, wrong = hashlib.sha256(prompt.encode()).hexdigest(), [f"{name} lives in Nowhere."]
            row = {"id": identity, "prompt": prompt, "answer": answer, "wrong": wrong}
            rows.append(row | {"subjects": [pseudonym(name)], "names": [name]})
    return rows


def pseudonym(name: str) -> str:
    """Return what stands for a person."""
    return f"s_{hashlib.sha256(name.encode()).hexdigest()[:24]}"


def disclosure(name: str) -> Disclosure:
    """Return what a person would disclose about themselves."""
    return Disclosure(DataSubject(pseudonym(name)), {"name": (name,)})


@dataclass
class Trial:
    """An operation, a store with what it reads, and a scheduler to run it in."""

    name: str
    blobs: LocalBlobs
    scheduler: Any
    tiny: str
    records: dict[str, str]
    source: str = ""
    state: dict[str, str] = field(default_factory=dict)
    runs: int = 0

    @property
    def operation(self):
        """The operation's declaration."""
        return host.current().operation(self.name)

    @property
    def parameters(self) -> dict[str, Any]:
        """Its scalars."""
        return SETTINGS.get(self.name, {})

    @property
    def given(self) -> dict[str, Any]:
        """Its scalars, and the records that it asks for."""
        wanted = [parameter.name for parameter in self.operation.parameters if parameter.kind is Records]
        return {**self.parameters, **{name: Records(self.records[name]) for name in wanted}}

    def submit(self, on_progress=None, **changed: Any):
        """Start it."""
        self.runs += 1
        wanted = {parameter.name for parameter in self.operation.parameters if parameter.kind is Records}
        given = {
            "id": f"run-{self.runs}", "kind": "operation", "name": self.name, "parameters": self.parameters, "seed": 7,
            "plugin_version": host.current().source_of(self.name).version, "blobs_uri": self.blobs.uri,
            "records": {name: self.records[name] for name in wanted}, "source": self.source or self.tiny,
            "state": self.state, "state_key": KEY,
        }  # fmt: skip
        return self.scheduler.submit(Job(**given | changed), on_progress)

    def measure(self, tree: str, probes):
        """Read probes on a version, beside the base."""
        self.runs += 1
        named = sorted(probes)
        versions = [host.current().source_of(name).version for name in named]
        settings = {"utility.retain": {"most": 4, "generated": 1}}
        job = Job(
            id=f"run-{self.runs}", kind="probes", name=",".join(named), plugin_version=",".join(versions),
            blobs_uri=self.blobs.uri, parameters={name: settings.get(name, {}) for name in named},
            records={name: self.records[name] for name in ("forget", "retain", "control")},
            source=tree, reference=self.tiny, seed=7,
        )  # fmt: skip
        return self.scheduler.submit(job).result().readings


@pytest.fixture(scope="session")
def told():
    """Return this module: what it defines besides fixtures is for the tests beside it."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def make_trial(tiny_version, tmp_path_factory):
    """Return `make_trial(operation) -> Trial`; one that rebuilds another begins from what that made."""
    opened = []

    def make(name: str) -> Trial:
        folder: Path = tmp_path_factory.mktemp("trial")
        blobs = LocalBlobs(folder / "blobs")
        scheduler = open_scheduler("inline", folder / "cache", {"cpus": 2})
        opened.append(scheduler)

        def put(rows) -> str:
            return str(blobs.put_bytes(b"".join(canonical_json(row) + b"\n" for row in rows)))

        everybody, rest = rows_about(TOWNS), rows_about(list(TOWNS)[1:])
        rebuilds = host.current().operation(name).rebuilds
        records = {
            "records": put(rest if rebuilds else everybody), "forget": put(rows_about([CANARY])), "retain": put(rest),
            "control": put(rows_about(["Pax Uldren"])),
        }  # fmt: skip
        trial = Trial(name, blobs, scheduler, put_tree(blobs, tiny_version), records)
        if rebuilds not in ("", name):
            before = Trial(rebuilds, blobs, scheduler, trial.tiny, {"records": put(everybody)}, runs=900)
            made = before.submit().result()
            trial.source, trial.state = str(made.output), dict(made.state)
        return trial

    yield make
    for scheduler in opened:
        scheduler.close()
