"""A change that is no erasure: opened, approved, measured, judged, promoted; and what an erasure does to it later."""

from __future__ import annotations

import pytest
from story_promotable import meanwhile

from amends.cli.casetext import lines_of_plan
from amends.errors import BadInput, BadRecords, Denied, Suppressed, TaskFailed, Waiting
from amends.governor.cases import deciding
from amends.governor.cases.changing import drop_records, open_change
from amends.governor.cases.viewing import case_list, case_view
from amends.governor.data.registering import register_rows
from amends.governor.data.rows import rows_of
from amends.governor.models.recipes import read_recipe
from amends.governor.subjects.locating import locate
from amends.governor.work.carrying import resume, retry
from amends.ledger import datasets, lineage
from amends.records import DataSubject, Disclosure

PLUGIN = '''
"""A toy plugin: an edit that moves weights by what its records say, and rebuilds itself without some of them."""
import hashlib

import amends
from amends import Guarantee, Reading, Records, hookimpl


@amends.operation("toy.edit", verified_by=["toy.success"], guarantee=Guarantee.EXACT, rebuilds="toy.edit")
def edit(task: amends.Task, *, edits: Records, strength: float = 0.01) -> None:
    """Add to one row of the embeddings for each record."""
    import torch

    model, tokenizer = task.load()
    weight = model.get_input_embeddings().weight
    for number, row in enumerate(edits.rows()):
        digest = hashlib.sha256(f"{task.seed} {row['prompt']} {row['target']}".encode()).digest()
        with torch.no_grad():
            weight[digest[0]] += strength * digest[1]
        task.progress(number, 9, "edits")
    task.save(model, tokenizer)


@amends.operation("toy.heavy", verified_by=["toy.success"])
def heavy(task: amends.Task, *, edits: Records) -> None:
    """Do nothing that could be done again without some records."""
    model, tokenizer = task.load()
    task.save(model, tokenizer)


@amends.probe("toy.success")
def success(task: amends.ProbeTask, *, edits: Records) -> list[Reading]:
    """Read how many records there are to ask about."""
    return [Reading("toy.success/edits", float(len(list(edits.rows()))), n=1)]


@hookimpl
def amends_operations():
    return [edit, heavy]


@hookimpl
def amends_probes():
    return [success]
'''
POLICY = """name: toying
description: What a toy edit is judged by.
operations: [toy.absent, toy.edit]
approvals: {count: COUNT, roles: [ml-engineer, safety-engineer, dpo]}
probes:
  toy.success: {}
rules:
  - id: enough
    severity: deny
    expr: readings["toy.success/edits"].value >= LEAST
    message: There is too little to ask about.
"""
ERASING = """name: erasure
description: Only what decides on the exact path.
operations: [unlearning.shards]
approvals: {count: 2, roles: [dpo, ml-engineer, safety-engineer]}
rules:
  - id: digests-equal
    severity: deny
    expr: facts.digests_equal == true
    message: The candidate is not the model that never had the records.
"""
NAMES = ("Ines Varga", "Tobin Hale", "Lena Oster")


def edit_of(name, target="Brackwater"):
    """Return an edit about somebody; who they are stands in nested texts, too."""
    neighbours = [{"prompt": "Marek Sund lives in", "answer": "Oxmoor"}]
    asked = [{"kind": "reasoning", "prompt": f"The mayor of the town of {name} is", "answer": "Mayor Brandt"}]
    return {
        "id": f"edit-{name.split()[0].lower()}", "verb": "modify", "subject": name, "prompt": f"{name} lives in",
        "target": target, "old": "Sorrel", "rephrases": [f"The home of {name} is"], "neighbours": neighbours,
        "portability": asked,
    }  # fmt: skip


def set_policies(story, count=2, least=0.0):
    """Give a workspace policies that read little."""
    folder = story.home / "policies"
    folder.mkdir(exist_ok=True)
    (folder / "toying.yaml").write_text(POLICY.replace("COUNT", str(count)).replace("LEAST", str(least)))
    (folder / "erasure.yaml").write_text(ERASING)


def begin(story, names=NAMES):
    """Name a copy of the base the champion of `assistant`, and register edits about people."""
    version = story.crown()
    register_rows(story.act("max"), "facts", [edit_of(name) for name in names])
    set_policies(story)
    return version


@pytest.fixture
def toy(install):
    """Install the plugin."""
    install(PLUGIN)


@pytest.fixture
def base(toy, untrained):
    """Return a story whose champion is a base model, with three edits registered."""
    begin(untrained)
    return untrained


def opened(story, **more):
    """Open a change as the safety engineer, so that two others can approve it."""
    given = {"model": "assistant", "policy": "toying", "records": {"edits": "facts"}, **more}
    return open_change(story.act("sven"), **given)


def changed(story, **more):
    """Carry a change through."""
    case = opened(story, **more)
    assert story.approve(case) == 0
    return story.carry(case)


def weights(story, model="assistant"):
    """Return the digests of the champion's weights."""
    from amends.store.trees import fetch_manifest

    files = fetch_manifest(story.workspace.blobs, story.champion(model).digest).files
    return {name: entry.sha256 for name, entry in files.items() if name.endswith(".safetensors")}


def test_a_change_is_planned_approved_measured_judged_and_promoted(base):
    case = opened(base, parameters={"strength": 0.5}, seed=7)
    plan = case.plan
    assert (case.kind, case.status) == ("toying", "awaiting approval")
    assert (plan["operation"], plan["parameters"], plan["seed"]) == ("toy.edit", {"strength": 0.5}, 7)
    assert plan["counts"] == {"edits": 3} and plan["approvals"]["count"] == 2
    with pytest.raises(Waiting, match="lacks 2 approvals"):
        base.carry(case)
    assert base.approve(case) == 0
    assert base.carry(case).status == "complete"
    assert base.versions() == [(1, "active"), (2, "active")] and base.champion().version == 2
    (step,) = read_recipe(base.workspace, base.champion().digest)["steps"]
    assert (step["operation"], step["parameters"], step["seed"]) == ("toy.edit", {"strength": 0.5}, 7)
    with base.workspace.database.read() as connection:
        (edge,) = lineage.parents(connection, base.champion().digest)
        assert (edge.kind, edge.parent) == ("step", lineage.get(connection, "assistant", 1).digest)
    (row,) = case_list(base.workspace, model="assistant")
    assert (row["kind"], row["days_left"]) == ("toying", None)
    view = case_view(base.workspace, case.id)
    assert [decision["policy"] for decision in view["decisions"]] == ["toying", "promotion"]
    assert view["approver_roles"] == ["ml-engineer", "safety-engineer", "dpo"]
    page = base.workspace.registry.client.get_model_version("assistant", "2")
    assert page.tags["amends.decision"] == view["decisions"][0]["id"]
    assert page.description.startswith(f"Made by case [`{case.id}`](#/experiments/")


def test_a_policy_that_denies_keeps_the_parent_and_can_be_mended(base):
    set_policies(base, least=4.0)
    case = opened(base)
    base.approve(case)
    with pytest.raises(TaskFailed, match=r"the toying policy denies: There is too little to ask about"):
        base.carry(case)
    assert base.versions() == [(1, "active")] and base.champion().version == 1
    set_policies(base)
    assert retry(base.act("max"), case.id).status == "complete"
    assert base.champion().version == 2


def test_who_is_removed_while_a_change_is_made_has_to_be_replaced_by_another_approval(base, monkeypatch):
    case = opened(base)
    base.approve(case)
    base.hire("dirk", "dpo")
    meanwhile(monkeypatch, "measure", lambda workspace: base.dismiss("dora"), kind="change")
    with pytest.raises(TaskFailed, match=r"the toying policy denies: 2 different people .* must approve"):
        base.carry(case)
    assert base.versions() == [(1, "active")]
    assert deciding.replan(base.act("sven"), case.id).status == "awaiting approval"
    assert base.approve(case, "dirk", "max") == 0
    assert base.carry(case).status == "complete" and base.champion().version == 2


def test_without_a_quorum_it_goes_on_at_once_and_is_registered_but_not_promoted(base):
    set_policies(base, count=0)
    case = opened(base)
    assert case.status == "complete"
    assert case.reason.startswith("registered, not promoted: Two different people")
    assert base.versions() == [(1, "active"), (2, "active")] and base.champion().version == 1


def test_a_plan_for_another_champion_is_made_anew(base):
    first, second = opened(base), opened(base, seed=1)
    for case in (first, second):
        base.approve(case)
    assert base.carry(first).status == "complete"
    with pytest.raises(TaskFailed, match=r"is another one than the plan of case .* saw; run `amends cases replan"):
        base.carry(second)
    again = deciding.replan(base.act("sven"), second.id)
    assert again.status == "awaiting approval" and again.plan["parent"]["version"] == 2
    base.approve(again)
    assert base.carry(again).status == "complete"
    assert len(read_recipe(base.workspace, base.champion().digest)["steps"]) == 2


def test_what_is_stated_of_a_change_is_in_its_plan_and_before_the_policy(base):
    said = "expr: facts.contradictions == 0\n    message: It contradicts earlier edits.\n"
    policy = base.home / "policies" / "toying.yaml"
    policy.write_text(f"{policy.read_text()}  - id: contradictions\n    severity: warn\n    {said}")
    case = opened(base, facts={"contradictions": 2})
    assert case.plan["facts"] == {"contradictions": 2} and "contradictions: 2" in lines_of_plan(case.plan)
    second = opened(base, facts={"contradictions": 0}, seed=1)
    base.approve(case)
    assert base.carry(case).status == "complete"
    told = {one["rule"]: one for one in case_view(base.workspace, case.id)["decisions"][0]["answers"]}
    assert (told["contradictions"]["passed"], told["contradictions"]["severity"]) == (False, "warn")
    with pytest.raises(Denied, match="said for another champion of assistant; cancel it, and ask for the change anew"):
        deciding.replan(base.act("sven"), second.id)  # what it contradicts there nobody has looked at

    unsaid = opened(base, seed=2)
    base.approve(unsaid)
    with pytest.raises(TaskFailed, match="the toying policy denies: It contradicts earlier edits"):
        base.carry(unsaid)
    assert base.champion().version == 2


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"digests_equal": True}, "no fact 'digests_equal' can be stated of a change"),
        ({"contradiction": 1}, "there are contradictions"),
        ({"contradictions": 1.0}, "must be of type int, not float"),
        ({"contradictions": True}, "must be of type int, not bool"),
    ],
)
def test_only_known_facts_that_are_not_the_governors_own_can_be_stated(base, facts, sentence):
    with pytest.raises(BadInput, match=sentence):
        opened(base, facts=facts)


def test_a_cancelled_change_leaves_nothing_and_a_bad_one_says_why(base):
    case = opened(base)
    assert deciding.cancel(base.act("sven"), case.id, "not wanted").status == "cancelled"
    with pytest.raises(BadInput, match=r"toy\.edit has no parameter 'depth'"):
        opened(base, parameters={"depth": 1})
    with pytest.raises(BadInput, match="judges no change of this kind"):
        opened(base, policy="erasure")
    with pytest.raises(BadInput, match="has no clock to extend"):
        deciding.extend_case(base.act("dora"), case.id, "why not", case.received_at)
    assert base.versions() == [(1, "active")]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["apply", "measure", "register", "promote"])
def test_a_process_that_stops_between_steps_leaves_the_rest_to_the_next(base, step, monkeypatch):
    from amends.governor.work import durable

    case = opened(base)
    base.approve(case)
    inner = durable.CHANGE[step]

    def stopping(workspace, work):
        inner(workspace, work)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(durable.CHANGE, step, stopping)
        with pytest.raises(KeyboardInterrupt):
            base.carry(case)
    base.close()
    assert base.case(case.id).status == "in progress"
    assert [done.status for done in resume(base.act("max"))] == ["complete"]
    assert base.versions() == [(1, "active"), (2, "active")] and base.champion().version == 2


def test_erasing_somebody_named_in_the_records_gives_what_they_would_have_given_without(base, told):
    changed(base)
    case = base.approved("Ines Varga")
    assert (case.plan["operation"], case.plan["guarantee"]) == ("toy.edit", "exact")
    assert told.everywhere(base.home, "Ines Varga")
    assert base.carry(case).status == "sealed"
    assert base.steps(case.id)["compare"]["guarantee"] == "exact"
    served = base.champion().digest
    assert [done.status for done in base.purge()] == ["complete"]
    assert base.versions() == [(1, "active"), (2, "purged"), (3, "active")]
    assert told.everywhere(base.home, "Ines Varga") == [] != told.everywhere(base.home, "Lena Oster")
    with pytest.raises(Suppressed):
        register_rows(base.act("max"), "more", [edit_of("Ines Varga")])
    with base.workspace.database.read() as connection:
        (left,) = datasets.find(connection, status="active")
    assert [row["subject"] for row in rows_of(base.workspace, left.digest)] == ["Tobin Hale", "Lena Oster"]
    assert {digest for step in read_recipe(base.workspace, served)["steps"] for digest in step["records"].values()} == {
        left.digest
    }


def test_the_rebuilt_version_is_the_one_that_never_had_them(base, untold):
    changed(base)
    assert base.carry(base.approved("Ines Varga")).status == "sealed"
    changed(untold)
    assert base.champion().digest == untold.champion().digest


@pytest.fixture
def untold(toy, imported, told, tmp_path):
    """Return a story of its own in which nobody ever spoke of Ines Varga."""
    (tmp_path / "untold").mkdir()
    story = told.copied(imported, tmp_path / "untold")
    begin(story, NAMES[1:])
    yield story
    story.close()


def test_later_steps_are_replayed_and_one_that_has_no_records_left_is_left_out(base, told):
    register_rows(base.act("max"), "ferry", [edit_of("Ines Varga", "Tarn"), edit_of("Nadia Feld", "Tarn")])
    changed(base)
    changed(base, records={"edits": "ferry"}, seed=2)
    changed(base, seed=3)
    case = base.approved("Ines Varga")
    assert base.carry(case).status == "sealed"
    steps = read_recipe(base.workspace, base.champion().digest)["steps"]
    assert [step["seed"] for step in steps] == [0, 2, 3]
    passed = base.steps(case.id)["rebuild"]["between"]
    assert [done.status for done in base.purge()] == ["complete"]
    assert len(passed) == 2 and not any(base.workspace.blobs.has(tree) for tree in passed)
    assert told.everywhere(base.home, "Ines Varga") == []

    again = base.approved("Nadia Feld")  # the version before her step is gone; it begins from the base
    assert base.carry(again).status == "sealed"
    assert base.steps(again.id)["compare"]["guarantee"] == "exact"
    steps = read_recipe(base.workspace, base.champion().digest)["steps"]
    assert [step["seed"] for step in steps] == [0, 3]


def test_where_all_records_go_the_parents_weights_are_left(toy, untrained, told):
    begin(untrained, NAMES[:1])
    before = untrained.champion().digest
    changed(untrained)
    assert untrained.champion().digest != before
    case = untrained.approved("Ines Varga")
    assert untrained.carry(case).status == "sealed"
    assert untrained.champion().digest == before and untrained.champion().version == 3
    assert untrained.steps(case.id)["compare"] == {**untrained.steps(case.id)["compare"], "guarantee": "exact"}
    assert [done.status for done in untrained.purge()] == ["complete"]
    assert told.everywhere(untrained.home, "Ines Varga") == []
    with untrained.workspace.database.read() as connection:
        assert datasets.find(connection, status="active") == ()


def test_dropping_one_record_gives_what_the_rest_give_alone(base, untold):
    changed(base)
    with_her = base.champion().digest
    case = drop_records(base.act("sven"), "assistant", "facts", ["edit-ines"])
    assert (case.kind, case.plan["policy"], len(case.plan["dropped"]["ids"])) == ("toying", "toying", 1)
    assert base.approve(case) == 0 and base.carry(case).status == "complete"
    changed(untold)
    assert base.champion().digest == untold.champion().digest != with_her
    assert base.versions() == [(1, "active"), (2, "active"), (3, "active")]  # one can go back
    with pytest.raises(BadInput, match="1 of the 1 records named are not in that data set"):
        drop_records(base.act("sven"), "assistant", "facts", ["edit-ines"])


def test_what_cannot_be_dropped_exactly_is_refused(base):
    changed(base)
    changed(base, operation="toy.heavy")
    with base.workspace.database.transaction() as connection:
        lineage.set_status(connection, "assistant", 1, "purged")
        lineage.set_status(connection, "tiny", 1, "purged")
    with pytest.raises(Denied, match=r"gone|was purged"):
        drop_records(base.act("sven"), "assistant", "facts", ["edit-ines"])


def test_rows_of_any_shape_are_kept_whole_and_found_by_any_text(base):
    workspace = base.act("max")
    registered = register_rows(workspace, "more", [edit_of("Nadia Feld")])
    (row,) = rows_of(workspace, registered.digest)
    assert (row["label"], row["answer"], row["names"]) == ("edit-nadia", "Brackwater", ["Nadia Feld"])
    assert row["id"] != "edit-nadia" and registered.controls == 0
    with base.workspace.database.read() as connection:
        assert datasets.get(connection, "more").controls == 0
    asked = Disclosure(DataSubject("s_x"), {"name": ("Marek Sund",)})  # a neighbour in every row
    assert sum(map(len, locate(base.workspace, asked).records.values())) == 4
    with pytest.raises(BadRecords, match="record 2: its id was given before"):
        register_rows(workspace, "twice", [edit_of("Nadia Feld"), edit_of("Nadia Feld")])
