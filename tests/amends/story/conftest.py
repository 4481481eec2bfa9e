"""A workspace with eight made-up people and a tiny model that learnt about them, copied for each test."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from amends import host

HERE = Path(__file__).parent


def beside(name):
    """Load a file of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"story_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


village = beside("village")
PEOPLE = village.PEOPLE
named, record, rows_about_everybody, write_rows = (
    village.named,
    village.record,
    village.rows_about_everybody,
    village.write_rows,
)
telling = beside("telling")
copied, everywhere = telling.copied, telling.everywhere
promotable = beside("promotable")
base, run = promotable.base, promotable.run
STAFF = {"dora": "dpo", "max": "ml-engineer", "olga": "operator", "sven": "safety-engineer"}
SETTINGS = 'scheduler = "inline"\njurisdiction = "DE"\ncpus = 1\n'
KEPT_AWAY = {"Pia Lorenz", "Ruben Kast"}  # the controls, under the keys below


def import_tiny(folder, make_tiny, use_fixed_keys, fresh_mlflow, settings=SETTINGS):
    """Make a workspace with staff, data and the tiny model in it."""
    from amends.governor.models.importing import import_model
    from amends.governor.staffing import add_person
    from amends.governor.workspace import create_workspace

    home = folder / "home"
    home.mkdir()
    (home / "amends.toml").write_text(settings)
    workspace, token = create_workspace(home)
    use_fixed_keys(home, "story", 102)
    shutil.copy(fresh_mlflow, home)
    (home / "cache").mkdir(exist_ok=True)
    tokens = {"admin": token} | {name: add_person(workspace, name, role)[1] for name, role in STAFF.items()}
    import_model(workspace, str(make_tiny(folder / "tiny") / "model"), name="tiny", licence="Apache-2.0")
    set_policy(home, FEW_STRANGERS, "finding")
    (folder / "tokens.json").write_text(json.dumps(tokens))
    write_rows(folder / "people.jsonl", rows_about_everybody())
    workspace.close()
    return folder


def register_people(story, rows=None, **more):
    """Register the records of a story's file, or these in their place."""
    from amends.governor.data.registering import register

    if rows is not None:
        write_rows(story.file, rows)
    fields = ("name", "email", "phone")
    return register(story.act("olga"), "people", story.file, identifier_fields=fields, controls=0.2, **more)


@pytest.fixture(scope="session")
def told():
    """Return this module: what it defines besides fixtures is for the tests beside it."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def imported(built_once, make_tiny, use_fixed_keys, fresh_mlflow):
    """Return the folder of a workspace with the tiny base and nothing else."""
    return built_once("imported", lambda folder: import_tiny(folder, make_tiny, use_fixed_keys, fresh_mlflow))


@pytest.fixture(scope="session")
def trained(built_once, imported):
    """Return the folder of a workspace in which version 1 of `assistant` is champion."""

    def build(folder):
        story = copied(imported, folder)
        registered = register_people(story)
        assert (registered.subjects, registered.controls) == (6, 2)
        story.train()
        story.close()
        shutil.copy(imported / "tokens.json", folder)

    return built_once("trained", build)


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


FEW_STRANGERS = """name: finding
description: The readings of a finding with so few strangers that a test is quick, and none could be a sign.
approvals: {count: 0}
strangers: 9
probes: {unlearning.standing: {}}
required: [unlearning.standing/p]
rules:
  - id: no-sign
    severity: deny
    expr: readings["unlearning.standing/p"].value > 0.05
    message: The model is surer of what this person disclosed than of the same about made-up people.
"""


def set_policy(home, text=LIGHT, name="erasure"):
    """Give a workspace a policy of its own."""
    (home / "policies").mkdir(exist_ok=True)
    (home / "policies" / f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def erased(built_once, trained, forks):
    """Return the folder of a workspace that Ines Varga was erased from, with the case's id in `case`.

    What her erasure is compared with was built in a process of its own.
    """

    def build(folder):
        story = copied(trained, folder)
        case = story.approved()
        with forks.apart():
            assert story.carry(case).status == "sealed"
        assert story.versions() == [(1, "sealed"), (2, "active")]
        assert [done.status for done in story.purge()] == ["complete"]
        story.close()
        shutil.copy(trained / "tokens.json", folder)
        (folder / "case").write_text(case.id)

    return built_once("erased", build)


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
def on_postgres(tmp_path, make_tiny, use_fixed_keys, fresh_mlflow, make_postgres):
    """Return a story whose ledger and durable work live in two PostgreSQL databases of its own."""
    urls = [make_postgres(), make_postgres()]
    folder = tmp_path / "postgres"
    folder.mkdir()
    settings = f'{SETTINGS}database = "{urls[0]}"\nworkflows = "{urls[1]}"\n'
    import_tiny(folder, make_tiny, use_fixed_keys, fresh_mlflow, settings)
    tokens = json.loads((folder / "tokens.json").read_text())
    story = telling.Story(folder / "home", folder / "people.jsonl", tokens, databases=urls)
    set_policy(story.home)
    register_people(story)
    story.train()
    yield story
    story.close()


def install_toy(site, patch, code):
    """Let a plugin of one module be a distribution in a folder, here and in processes started here."""
    info = site / "amends_toy-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "amends_toy.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: amends-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[amends]\ntoy = amends_toy\n")
    patch.syspath_prepend(site)
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])))
    patch.setattr(host, "_HOST", [])
    sys.modules.pop("amends_toy", None)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return `install(code)`: a plugin of one module becomes a distribution, here and in processes started here."""
    site = tmp_path / "site"

    def install(code):
        install_toy(site, monkeypatch, code)

    yield install
    sys.modules.pop("amends_toy", None)


@pytest.fixture
def untrained(imported, tmp_path):
    """Return a story before anything was registered."""
    (tmp_path / "untrained").mkdir()
    told = copied(imported, tmp_path / "untrained")
    yield told
    told.close()
