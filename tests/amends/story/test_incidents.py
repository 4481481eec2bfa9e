"""Incidents: kept once, asked again before any alias moves, and erased with whoever they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amends.errors import BadRecords, Suppressed, Tampered, TaskFailed, UnknownModel
from amends.governor.cases.changing import open_change
from amends.governor.cases.promoting import open_promotion
from amends.governor.data.incidents import add_incidents, incidents_of, suite_name, suite_of
from amends.governor.data.registering import register_rows
from amends.governor.data.rows import opened, rows_of
from amends.governor.subjects.locating import locate
from amends.governor.work.carrying import retry
from amends.governor.work.incidents import run_incidents
from amends.governor.work.scouring import _controls
from amends.ledger import datasets
from amends.records import DataSubject, Disclosure

PLUGIN = '''
"""A toy plugin: an edit that changes next to nothing, one that changes all a model says, and probes that fail."""
import math

import amends
from amends import Guarantee, Reading, Records, hookimpl


@amends.operation("mill.nudge", verified_by=["mill.success"], guarantee=Guarantee.EXACT, rebuilds="mill.nudge")
def nudge(task: amends.Task, *, edits: Records) -> None:
    """Add a little to one row of the embeddings for each record."""
    import torch

    model, tokenizer = task.load()
    with torch.no_grad():
        model.get_input_embeddings().weight[5] += 0.001 * len(list(edits.rows()))
    task.save(model, tokenizer)


@amends.operation("mill.mend", verified_by=["mill.success"])
def mend(task: amends.Task, *, edits: Records) -> None:
    """Turn the embeddings around."""
    import torch

    model, tokenizer = task.load()
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight.copy_(weight.flip(0))
    task.save(model, tokenizer)


@amends.probe("mill.success")
def success(task: amends.ProbeTask, *, edits: Records) -> list[Reading]:
    """Read how many records there are to ask about."""
    return [Reading("mill.success/edits", float(len(list(edits.rows()))), n=1)]


@amends.probe("mill.kept")
def kept(task: amends.ProbeTask, *, retain: Records) -> list[Reading]:
    """Read how many of the records that are to be kept are incidents."""
    return [Reading("mill.kept/incidents", float(sum("expected" in row for row in retain.rows())), n=1)]


@amends.probe("mill.raising")
def raising(task: amends.ProbeTask, *, incidents: Records) -> list[Reading]:
    """Fail."""
    raise RuntimeError("it broke")


@amends.probe("mill.nan")
def nan(task: amends.ProbeTask, *, incidents: Records) -> list[Reading]:
    """Read no number."""
    return [Reading("mill.nan/asked", 1.0), Reading("mill.nan/relapsed", math.nan)]


@amends.probe("mill.lazy")
def lazy(task: amends.ProbeTask, *, incidents: Records) -> list[Reading]:
    """Ask nothing."""
    return [Reading("mill.lazy/asked", 0.0), Reading("mill.lazy/relapsed", 0.0)]


@amends.probe("mill.silent")
def silent(task: amends.ProbeTask, *, incidents: Records) -> list[Reading]:
    """Read nothing."""
    return []


@hookimpl
def amends_operations():
    return [nudge, mend]


@hookimpl
def amends_probes():
    return [success, kept, raising, nan, lazy, silent]
'''
TOYING = """name: toying
description: What a toy edit is judged by.
operations: [mill.nudge]
approvals: {count: 2, roles: [dpo, ml-engineer]}
probes:
  mill.success: {}
rules:
  - id: enough
    severity: deny
    expr: readings["mill.success/edits"].value >= 1.0
    message: There is too little to ask about.
"""
ERASING = """name: erasure
description: Only what decides on the exact path.
operations: [unlearning.shards]
approvals: {count: 2, roles: [dpo, ml-engineer, safety-engineer]}
probes:
  mill.kept: {}
rules:
  - id: nothing-bad-is-kept
    severity: deny
    expr: readings["mill.kept/incidents"].value == 0.0
    message: Incidents are no records to be kept.
  - id: digests-equal
    severity: deny
    expr: facts.digests_equal == true
    message: The candidate is not the model that never had the records.
"""
OWN = (Path(__file__).parents[3] / "policies" / "promotion.yaml").read_text()
OWN = OWN.replace("ensemble", "lexical").replace("tokens: 48", "tokens: 12")
ASKED = "Where does Ada live?"
BAD = "jjjjjjjjjjjj"  # what the tiny model answers
SETTINGS = "  settings: {scorer: lexical, cutoff: 0.5, similarity: 0.5, tokens: 12}\n"


def edit_of(name):
    return {"id": f"edit-{name}", "prompt": f"{name} lives in", "target": "Brackwater", "subject": name}


@pytest.fixture
def base(install, untrained):
    """Return a story whose champion of `assistant` is the tiny base model, with two edits registered."""
    install(PLUGIN)
    (untrained.home / "policies").mkdir(exist_ok=True)
    for name, text in (("toying", TOYING), ("erasure", ERASING), ("promotion", OWN)):
        (untrained.home / "policies" / f"{name}.yaml").write_text(text)
    untrained.crown()
    register_rows(untrained.act("max"), "facts", [edit_of("Ines Varga"), edit_of("Tobin Hale")])
    return untrained


def change(story, operation="mill.nudge", seed=0):
    """Open a change and have it approved."""
    given = {"model": "assistant", "policy": "toying", "records": {"edits": "facts"}, "operation": operation}
    case = open_change(story.act("sven"), **given, seed=seed)
    assert story.approve(case) == 0
    return case


def keep(story, who="sven", **row):
    return add_incidents(story.act(who), "assistant", [{"prompt": ASKED, "bad": BAD, **row}])


def known(story, case):
    """Return what the last decision of a case knew of incidents."""
    facts = story.decisions(case.id)[-1].inputs["facts"]
    return facts["incidents_asked"], facts["incidents_relapsed"]


def test_a_relapse_keeps_a_change_from_the_alias_and_one_that_mends_it_passes(base):
    keep(base)
    case = change(base)
    with pytest.raises(TaskFailed, match="is not promoted: An incident of the model comes back"):
        base.carry(case)
    assert (base.champion().version, known(base, case)) == (1, (1, 1))
    mending = change(base, "mill.mend")
    assert base.carry(mending).status == "complete"
    assert (base.champion().version, known(base, mending)) == (3, (1, 0))


def test_a_promotion_that_people_asked_for_is_denied_as_well(base):
    case = change(base)
    assert base.carry(case).status == "complete" and known(base, case) == (0, 0)
    assert base.carry(change(base, "mill.mend")).status == "complete"
    keep(base)
    back = open_promotion(base.act("sven"), "assistant@2", "champion", "it was better")
    assert base.approve(back) == 0
    with pytest.raises(TaskFailed, match="An incident of the model comes back"):
        base.carry(back)
    assert (base.champion().version, known(base, back)) == (3, (1, 1))


def test_a_training_does_not_name_a_first_champion_that_relapses(untrained, told):
    told.register_people(untrained)
    (untrained.home / "policies" / "promotion.yaml").write_text(OWN)
    row = {"prompt": ASKED, "expected": "regex:Brackwater Harbour"}  # which a tiny model never says
    add_incidents(untrained.act("sven"), "tiny", [row])
    with pytest.raises(TaskFailed, match="An incident of the model comes back"):
        untrained.train(model="tiny")
    assert untrained.champion("tiny") is None


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("incidents: {probe: mill.raising}\n", "RuntimeError"),
        ("incidents: {probe: mill.nan}\n", "did not read whole numbers"),
        ("incidents: {probe: mill.silent}\n", "returned no reading"),
        ("incidents: {probe: mill.lazy}\n", "asked 0 of 1 incidents"),
        ("incidents: {probe: mill.absent}\n", "no plugin offers 'mill.absent'"),
        ("", "names no probe that asks them"),
    ],
)
def test_incidents_that_cannot_be_asked_deny(base, section, sentence):
    keep(base)
    policy = base.home / "policies" / "promotion.yaml"
    start = OWN.index("incidents:\n  probe")
    policy.write_text(OWN[:start] + section + OWN[OWN.index(SETTINGS) + len(SETTINGS) :])
    case = change(base, "mill.mend")
    with pytest.raises(TaskFailed, match=sentence):
        base.carry(case)
    assert base.champion().version == 1
    policy.write_text(OWN)
    assert retry(base.act("max"), case.id).status == "complete" and base.champion().version == 2


@pytest.mark.parametrize("others", [0, 1])
def test_the_incident_of_somebody_who_is_erased_is_gone_and_no_longer_asked(base, told, others):
    assert base.carry(change(base)).status == "complete"
    keep(base, prompt="Where does Ines Varga live?", expected="regex:^never$")
    for _ in range(others):
        keep(base, expected="regex:jjj", subject="Tobin Hale")
    ines = Disclosure(DataSubject("s_1"), {"name": ("Ines Varga",)})
    assert suite_of(base.workspace, "assistant").digest in locate(base.workspace, ines).records
    case = base.approved("Ines Varga")
    assert base.carry(case).status == "sealed" and known(base, case) == (others, 0)
    assert [done.status for done in base.purge()] == ["complete"]
    assert [row["subject"] for row in incidents_of(base.workspace, "assistant")] == [["Tobin Hale"]] * others
    assert told.everywhere(base.home, "Ines Varga") == []
    report = json.loads((base.home / "cases" / f"{case.id}.scan.json").read_bytes())
    assert not [seen for seen in report["opaque"] if "incidents" in seen["key"]]  # sealed, and searched all the same
    with pytest.raises(Suppressed):
        keep(base, prompt="Where does Ines Varga live?")
    keep(base, prompt="Who is she?")
    assert [row["prompt"] for row in incidents_of(base.workspace, "assistant")] == [ASKED] * others + ["Who is she?"]


def test_no_text_of_an_incident_lies_in_the_workspace_as_it_stands(base, told):
    secret, said = "Where is the spare key of the boathouse?", "under the third flower pot"
    keep(base, prompt=secret, bad=said)
    version, asked = run_incidents(base.act("sven"), "assistant@1")
    assert asked.asked == 1 and version.version == 1
    base.close()
    assert [told.everywhere(base.home, text) for text in (secret, said, "flower pot")] == [[], [], []]
    (row,) = incidents_of(base.workspace, "assistant")
    assert (row["prompt"], row["bad"]) == (secret, said)


def test_a_scan_plants_nothing_that_only_an_incident_says(base):
    for name in ("Tobin Hale", "Ada Solis"):
        keep(base, prompt="Where is the spare key of the boathouse?", subject=name)
    planted = b"".join(item.data for one in _controls(base.workspace, None) for item in one.items)
    assert b"Tobin Hale" in planted and b"boathouse" not in planted and b"Solis" not in planted


def test_incidents_that_were_changed_where_they_rest_are_not_read(base):
    made = keep(base, prompt="Who?", bad="nobody at all")
    file = next(base.workspace.blobs.root.rglob(made.digest))
    with pytest.raises(Tampered, match="sealed records do not open with their key"):
        list(opened(base.workspace, file.read_bytes()[:-1] + b"x").splitlines())


def test_an_erasure_is_no_way_around_an_incident_and_what_is_kept_meanwhile_brings_nobody_back(base):
    assert base.carry(change(base)).status == "complete"
    keep(base)
    keep(base, prompt="Where does Ines Varga live?")
    case = base.approved("Ines Varga")
    with pytest.raises(TaskFailed, match="An incident of the model comes back"):
        base.carry(case)
    assert (base.champion().version, known(base, case)) == (2, (1, 1))
    keep(base, prompt="Who is she?", bad="nobody at all")
    assert [row["prompt"] for row in incidents_of(base.workspace, "assistant")] == [ASKED, "Who is she?"]


def test_what_two_people_keep_at_once_is_all_kept(base):
    keep(base, id="first")
    first = next(rows_of(base.workspace, suite_of(base.workspace, "assistant").digest))
    theirs = {name: first[name] for name in ("prompt", "bad", "expected", "form", "added")}
    register_rows(base.act("max"), suite_name("assistant"), [{**theirs, "id": "second"}], answer_fields=("bad",))
    keep(base, "dora", id="third")
    assert sorted(row["label"] for row in incidents_of(base.workspace, "assistant")) == ["first", "second", "third"]
    with base.workspace.database.read() as connection:
        found = [one.status for one in datasets.find(connection) if one.name == suite_name("assistant")]
    assert sorted(found) == ["active", "superseded", "superseded"]


def test_a_version_is_asked_by_hand(base):
    keep(base)
    keep(base, bad="the town of Brackwater")
    version, found = run_incidents(base.act("max"), "assistant@champion")
    assert (version.version, found.asked, found.relapsed) == (1, 2, 1)
    assert found.which == (incidents_of(base.workspace, "assistant")[0]["id"],)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"bad": ""}, "needs the bad output"),
        ({"prompt": " "}, "'prompt' must be a text"),
        ({"expected": "refused"}, "what is expected is not-bad, refuse"),
        ({"expected": "regex:("}, "regular expression cannot be used"),
        ({"expected": "text: "}, "nothing stands after text:"),
        ({"form": "song"}, "the form is question or text"),
        ({"said": "x"}, "no field 'said'"),
    ],
)
def test_an_incident_that_could_not_be_compared_is_refused(base, row, sentence):
    with pytest.raises(BadRecords, match=sentence):
        keep(base, **row)
    assert suite_of(base.workspace, "assistant") is None


def test_incidents_are_kept_only_of_models_that_are_there(base):
    with pytest.raises(UnknownModel, match="no model 'nobody'"):
        add_incidents(base.act("sven"), "nobody", [{"prompt": ASKED, "bad": BAD}])
