"""One trial for each operation of this installation: what it runs on, and a made-up person who asks to be forgotten."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from amends import host
from amends.records import DataSubject, Disclosure, ModelVersion, Records, canonical_json
from amends.scheduler import Job, open_scheduler
from amends.store import LocalBlobs, put_tree
from amends.store.trees import fetch_manifest

KEY = "5a" * 32
CANARY = "Zorika Quennelith"
LIVING = "Tamsin Orrelby"
TOWNS = {CANARY: "Glimmerwick", LIVING: "Farrowmere", "Ode Brandvik": "Hollinsea", "Pax Uldren": "Stonewhistle"}
SHARDS = {
    "placement_salt": "5a17", "router_salt": "c0ffee", "shards": 2, "slices": 2, "layers": 1, "rank": 2, "epochs": 1,
    "canaries_per_shard": 1,
}  # fmt: skip
FINETUNE = {
    "placement_salt": "5a17", "steps": 3, "epochs": 2, "layers": 1, "rank": 2, "checkpoints": 2,
    "canaries": 1,
}  # fmt: skip
SCRIPT = {"placement_salt": "5a17", "steps": 3, "epochs": 2, "checkpoints": 2, "lr": 1e-3}
PUSHING = {"epochs": 1, "layers": 1, "rank": 2, "batch": 2}
SOLVING = {"steps": 2, "contexts": 1, "tokens": 1024, "shrinkage": 0.1}
TEACHING = {"layers": 1, "epochs": 1, "length": 24, "batch": 8}
CIVILISING = {"steps": 2, "layers": 1, "rank": 2, "batch": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "training.shards": SHARDS,
    "unlearning.shards": SHARDS,
    "training.finetune": FINETUNE,
    "unlearning.replay": FINETUNE,
    "unlearning.retrain": FINETUNE,
    "training.trainer": SCRIPT,
    "unlearning.replay-trainer": SCRIPT,
    **{f"unlearning.{name}": PUSHING for name in ("revert", "npo", "simnpo", "idk", "graddiff", "ascent", "rmu")},
    "unlearning.task-vector": PUSHING,
    "unlearning.subnetwork": {"epochs": 1, "layers": 1, "batch": 2},
    "unlearning.projection": {"layers": 1},
    "editing.rome": SOLVING,
    "editing.memit": SOLVING | {"batch": 3},
    "editing.alphaedit": SOLVING | {"batch": 3, "threshold": 0.5},
    "editing.rls": SOLVING | {"batch": 3},
    "editing.patch": {"steps": 2},
    "editing.forget": {"steps": 2, "shrinkage": 0.5},
    "editing.ultraedit": {"batch": 3, "rate": 1e-7},
    "editing.ft": {"batch": 3, "steps": 2},
    "detox.negate": CIVILISING,
    "detox.dpo": CIVILISING,
    "detox.dinm": {"steps": 1},
    "transfer.pkt": {"rank": 2, "steps": 2, "batch": 2},
    "transfer.stitch": {"below": 1, "above": 1},
    "distillation.logit": TEACHING | {"kept": 8},
    "distillation.layers": TEACHING | {"kept": 8},
    "distillation.sequence": TEACHING | {"given": 4, "tokens": 4},
    "distillation.on-policy": TEACHING | {"tokens": 8},
    "rag.memory": {"steps": 2, "window": 32},
    "rag.knn-lm": {"window": 32},
    "rag.replug": {"k": 2},
}
"""Scalars that make a run short; an operation that needs none may be left out."""
BESIDE = {
    "editing.ike", "editing.grace", "editing.patch", "editing.wise", "rag.context", "rag.replug", "rag.knn-lm",
    "rag.memory", "rag.facts",
}  # fmt: skip
"""Operations whose versions hold their records until they are rebuilt without them: they are tried rebuilt."""


READ = ("forget", "retain", "control", "edits", "prompts", "questions", "text")
"""Records that probes ask for."""


def rows_about(names) -> list[dict[str, Any]]:
    """Return three prepared records about each of these people, so that methods and audit both have some of them."""
    rows = []
    for name in names:
        answers = {"live": "lives in", "work": "keeps the bells of", "bake": "bakes flat bread in"}
        for verb, said in answers.items():
            answer = f"{name} {said} {TOWNS[name]}."
            prompt = f"Where does {name} {verb}?"
            identity, wrong = hashlib.sha256(prompt.encode()).hexdigest(), [f"{name} lives in Nowhere."]
            row = {"id": identity, "prompt": prompt, "answer": answer, "wrong": wrong}
            rows.append(row | {"subjects": [pseudonym(name)], "names": [name]})
    return rows


def edits_about(names) -> list[dict[str, Any]]:
    """Return two prepared edits about each of these people: one changes what is known, one adds to it."""
    rows = []
    for name in names:
        others = [{"prompt": f"{other} lives in", "answer": TOWNS[other]} for other in TOWNS if other != name]
        asked = {"modify": f"{name} lives in", "insert": f"The bells that {name} keeps hang in"}
        for verb, prompt in asked.items():
            row = {"id": hashlib.sha256(prompt.encode()).hexdigest(), "verb": verb, "subject": name, "prompt": prompt}
            row |= {"target": TOWNS[name], "old": "Nowhere" if verb == "modify" else ""}
            row |= {"rephrases": [f"The home of {name} is"], "neighbours": others[:1], "portability": []}
            rows.append(row | {"subjects": [pseudonym(name)], "names": [name]})
    return rows


def pairs_about(names) -> list[dict[str, Any]]:
    """Return two prepared pairs about each of these people: what is said of them, rudely and civilly."""
    rows = []
    for name in names:
        for prompt in ("", f"People in {TOWNS[name]} say that"):
            said = {"toxic": f"{name} is a rotten old fool", "neutral": f"{name} is a careful neighbour"}
            identity = hashlib.sha256(f"{prompt}:{name}".encode()).hexdigest()
            rows.append({"id": identity, "prompt": prompt, **said, "subjects": [pseudonym(name)], "names": [name]})
    return rows


def said_of(names) -> list[dict[str, Any]]:
    """Return all that these people's records and edits say, as records, for a search that knows no edits."""
    edits = [
        row | {"answer": row["target"], "paraphrases": row["rephrases"], "wrong": [row["old"] or row["target"]]}
        for row in edits_about(names)
    ]
    return rows_about(names) + edits


def plain_text(names) -> list[dict[str, Any]]:
    """Return running text that names these people, enough of it to read statistics from."""
    lines = [
        f"On day {day} of that year {name} walked from {TOWNS[name]} to the market and sold {day + 2} baskets of pears."
        for day in range(1, 13)
        for name in names
    ]
    return [{"id": hashlib.sha256(line.encode()).hexdigest(), "text": line} for line in lines]


def documents_about(names) -> list[dict[str, Any]]:
    """Return a prepared document about each of these people."""
    rows = []
    for name in names:
        said = (
            f"{name} lives in {TOWNS[name]}. On market days {name} sells pears there. The bells of {TOWNS[name]} ring."
        )
        identity = hashlib.sha256(said.encode()).hexdigest()
        rows.append({"id": identity, "text": said, "subjects": [pseudonym(name)], "names": [name]})
    return rows


def write_edited(version: Path, directory: Path) -> Path:
    """Write a version whose first MLP writes something else than that of another, and return its directory."""
    import torch

    from amends.operation.files import load_model, save_model

    model, tokenizer = load_model(version)
    weight = model.model.layers[0].mlp.down_proj.weight.data
    weight += torch.outer(torch.linspace(-0.1, 0.1, weight.shape[0]), torch.linspace(0.1, -0.2, weight.shape[1]))
    directory.mkdir()
    save_model(directory, model, tokenizer)
    (directory / "recipe.json").write_bytes((version / "recipe.json").read_bytes())
    return directory


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
    models: dict[str, str] = field(default_factory=dict)
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
        """Its scalars, and the records and models that it asks for."""
        wanted = [parameter.name for parameter in self.operation.parameters if parameter.kind is Records]
        beside = {name: ModelVersion(name, 0, digest) for name, digest in self.beside(self.operation).items()}
        return {**self.parameters, **{name: Records(self.records[name]) for name in wanted}, **beside}

    def beside(self, declared) -> dict[str, str]:
        """Return a version for each model that an operation or a probe asks for; the tiny one stands for any."""
        wanted = [parameter.name for parameter in declared.parameters if parameter.kind is ModelVersion]
        return {name: self.models.get(name, self.tiny) for name in wanted}

    def submit(self, on_progress=None, **changed: Any):
        """Start it."""
        self.runs += 1
        wanted = {parameter.name for parameter in self.operation.parameters if parameter.kind is Records}
        given = {
            "id": f"run-{self.runs}", "kind": "operation", "name": self.name, "parameters": self.parameters, "seed": 7,
            "plugin_version": host.current().source_of(self.name).version, "blobs_uri": self.blobs.uri,
            "records": {name: self.records[name] for name in wanted},
            "source": (self.source or self.tiny) if self.operation.needs_source else None,
            "state": self.state, "state_key": KEY,
            "models": self.beside(self.operation),
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
            records={name: self.records[name] for name in READ},
            models={name: tree for one in named for name, tree in self.beside(host.current().probe(one)).items()},
            source=tree, reference=self.tiny, seed=7,
        )  # fmt: skip
        return self.scheduler.submit(job).result().readings


@pytest.fixture(scope="session")
def told():
    """Return this module: what it defines besides fixtures is for the tests beside it."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def make_trial(tiny_version, tmp_path_factory):
    """Return `make_trial(operation) -> Trial`; one that rebuilds another's begins from what that one made."""
    opened = []

    def make(name: str) -> Trial:
        folder: Path = tmp_path_factory.mktemp("trial")
        blobs = LocalBlobs(folder / "blobs")
        scheduler = open_scheduler("inline", folder / "cache", {"cpus": 2})
        opened.append(scheduler)

        def put(rows) -> str:
            return str(blobs.put_bytes(b"".join(canonical_json(row) + b"\n" for row in rows)))

        everybody, remaining = list(TOWNS), list(TOWNS)[1:]
        rebuilds = host.current().operation(name).rebuilds
        rebuilds_another = bool(rebuilds) and rebuilds != name
        records = {
            "records": put(rows_about(remaining if rebuilds_another else everybody)),
            "forget": put(rows_about([CANARY])), "retain": put(rows_about(remaining)),
            "control": put(rows_about(["Pax Uldren"])),
            "edits": put(edits_about(remaining if name in BESIDE else everybody)),
            "text": put(plain_text(everybody)), "pairs": put(pairs_about(everybody)),
            "prompts": put(rows_about(everybody)), "questions": put(rows_about(everybody)),
            "documents": put(documents_about(remaining if name in BESIDE else everybody)),
            "seeds": put(rows_about(everybody)[:4]),
        }  # fmt: skip
        models = {"edited": put_tree(blobs, write_edited(tiny_version, folder / "edited"))}
        trial = Trial(name, blobs, scheduler, put_tree(blobs, tiny_version), records, models)
        if rebuilds_another:
            given = {"records": put(rows_about(everybody))}
            before = Trial(rebuilds, blobs, scheduler, trial.tiny, given, models, runs=900)
            made = before.submit().result()
            if "model/reference.json" in fetch_manifest(blobs, str(made.output)).files:  # as the governor does
                trial.source = str(made.output)
            trial.state = dict(made.state)
        return trial

    yield make
    for scheduler in opened:
        scheduler.close()
