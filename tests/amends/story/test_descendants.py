"""An erasure walks to what descends from its model: a student, and what was made of the student in its turn."""

from __future__ import annotations

import json
import shutil

import pytest

from amends.errors import BadInput, Denied, TaskFailed, Waiting
from amends.governor.cases import deciding
from amends.governor.cases.viewing import case_list, case_view, certificate_of
from amends.governor.data.registering import register_rows
from amends.governor.models.asking import ask
from amends.governor.models.exporting import confirm_replaced, recipients_of
from amends.governor.models.importing import import_model
from amends.governor.models.recipes import read_recipe
from amends.governor.proof.certificates import verify_certificate
from amends.governor.work import retiring as retirement
from amends.governor.work.carrying import carry, retry
from amends.governor.work.piece import Work
from amends.governor.work.retiring import withdraw
from amends.governor.workspace import open_workspace
from amends.ledger import aliases, audit, cases, inventory, lineage
from amends.ledger.registry import Registry

PLUGIN = '''
"""A toy plugin: a student that is a function of all of its teacher's files and of its records, and an edit of it."""
import hashlib

import amends
from amends import Guarantee, ModelVersion, Records, Task, hookimpl


def move(model, digest):
    import torch

    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        for place, value in enumerate(digest):
            weight[place] += value / 4096


@amends.operation("toy.distil", verified_by=["utility.perplexity"], needs_source=False, whole=["teacher"])
def distil(task: Task, *, teacher: ModelVersion, records: Records) -> None:
    """Learn from a teacher, which is to say from each of its bytes."""
    import os

    from amends.operation.files import load_model

    if os.environ.get("TOY_FAILS"):
        raise amends.BadInput("the student does not learn today")

    told = hashlib.sha256(str(task.seed).encode())
    root = task.models["teacher"]
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        told.update(file.read_bytes())
    for number, row in enumerate(records.rows()):
        told.update(row["id"].encode())
        task.progress(number, 9, "distilling")
    model, tokenizer = load_model(root)
    move(model, told.digest())
    task.save(model, tokenizer)


@amends.operation("toy.edit", verified_by=["utility.perplexity"])
def edit(task: Task, *, records: Records) -> None:
    """Move the weights by what the records are."""
    model, tokenizer = task.load()
    for row in records.rows():
        move(model, hashlib.sha256(row["id"].encode()).digest())
    task.save(model, tokenizer)


@amends.operation(
    "toy.forget", verified_by=["utility.perplexity"], accepts=["shards"], guarantee=Guarantee.APPROXIMATE
)
def forget(task: Task, *, forget: Records, retain: Records) -> None:
    """Write down that somebody is to be forgotten, which is not to forget them."""
    import shutil

    task.keep_weights()
    if (task.source / "attachments").is_dir():
        shutil.copytree(task.source / "attachments", task.output / "attachments")
        (task.output / "attachments" / "shards" / "forgotten.txt").write_text(str(len(list(forget.rows()))))


@hookimpl
def amends_operations():
    return [distil, edit, forget]
'''
CLEAN = [{"prompt": f"What is {n} and {n}?", "answer": f"It is {2 * n}."} for n in range(4)]
POLICY = """name: erasure
description: Only what decides on the exact path.
operations: [unlearning.shards]
approvals: {count: 2, roles: [dpo, ml-engineer, safety-engineer]}
rules:
  - id: digests-equal
    severity: deny
    expr: facts.digests_equal == true
    message: The candidate is not the model that never had the records.
"""


def make(story, name, operation, data, *, source="", teacher="", model=""):
    """Make a version by an operation and return its digest; where a model is named, it becomes that one's champion."""
    from amends.governor.models.versions import Entry, enter
    from amends.governor.work.running import Step, finish, operate
    from amends.ledger.actions import Action
    from amends.ledger.lineage import DataUse, Edge

    workspace = story.act("max")
    with workspace.database.read() as connection:
        known = {ref: aliases.resolve(connection, ref).digest for ref in (source, teacher) if ref}
    step = Step(operation, {"records": data}, {}, 5, {"teacher": known[teacher]} if teacher else {})
    start = known.get(source, "")
    handle = operate(workspace, f"made-{name}", step, source=start, state={}, lineage=f"lineage-{name}")
    recipe = read_recipe(workspace, start) if source else {"schema": 1, "base": None, "steps": []}
    digest = finish(workspace, handle, step, recipe, lambda: False).digest
    if model:
        kinds = {"teacher": known.get(teacher), "step": start}
        edges = tuple(Edge(digest, parent, kind, "observed", operation) for kind, parent in kinds.items() if parent)
        entry = Entry(
            key=name, model=model, digest=digest, recipe=read_recipe(workspace, digest), parents=edges,
            data=(DataUse(digest, data, "train"),),
        )  # fmt: skip
        crown(story, enter(workspace, entry, Action.MODEL_REGISTERED, workspace.actor.id))
    return digest


def crown(story, version):
    """Name a version its model's champion."""
    workspace, name = story.workspace, version.name
    with workspace.database.transaction() as connection:
        before = aliases.current(connection, name, "champion")
        aliases.move(
            connection, model=name, alias="champion", expected=before, new=version.version, actor=workspace.actor.id
        )
    workspace.registry.set_alias(name, "champion", version.version, expected=before)


def sums(story):
    """Return the records that the student is taught on, which name nobody."""
    return register_rows(story.act("olga"), "sums", CLEAN).digest


@pytest.fixture(scope="module")
def descended(tmp_path_factory, trained, told):
    """Return the folder of a workspace in which a student of the assistant and an edited copy of it are served."""
    folder = tmp_path_factory.mktemp("descended")
    with pytest.MonkeyPatch.context() as patch:
        told.install_toy(folder / "site", patch, PLUGIN)
        story = told.copied(trained, folder)
        told.set_policy(story.home, POLICY)
        data = sums(story)
        make(story, "student", "toy.distil", data, teacher="assistant@1", model="student")
        make(story, "edited", "toy.edit", data, source="student@1", model="edited")
        story.close()
    shutil.copy(trained / "tokens.json", folder)
    return folder


@pytest.fixture
def family(descended, install, tmp_path, told):
    """Return that workspace, to be changed, and the plugin."""
    install(PLUGIN)
    story = told.copied(descended, tmp_path)
    yield story
    story.close()


def below(story, case):
    """Return what a case opened, by model."""
    with story.workspace.database.read() as connection:
        return {found.model: cases.get(connection, found.id) for found in cases.family(connection, case.id)[1:]}


def stands(story, case):
    return {name: str(found.status) for name, found in below(story, case).items()}


def parents(story, version):
    with story.workspace.database.read() as connection:
        return {(edge.kind, edge.parent) for edge in lineage.parents(connection, version.digest)}


def certified(story, case):
    """Return the statement of a case's certificate, once it has verified."""
    import base64

    files = certificate_of(story.workspace, case)
    told = verify_certificate(story.home / "certificates" / files["page"], story.workspace.keyring.public_keys())
    envelope = json.loads((story.home / "certificates" / f"{case}.dsse.json").read_text())
    return told, json.loads(base64.b64decode(envelope["payload"]))["predicate"]


def test_an_erasure_finds_the_student_and_its_edited_copy_and_plans_a_case_for_each(family):
    case = family.approved()
    found = below(family, case)
    planned = {name: (one.parent, one.plan["how"], one.plan["after"]) for name, one in found.items()}
    student = found["student"].id
    assert planned == {
        "student": (case.id, "rebuild", [case.id]), "edited": (student, "rebuild", [student])
    }  # fmt: skip
    told = {one["case"]: (one["plan"], one["guarantee"]) for one in case.plan["descendants"]}
    assert told == {one.id: (one.plan_digest, "exact") for one in found.values()}
    assert found["student"].due_at == case.due_at and found["student"].requester == case.requester
    with family.workspace.database.read() as connection:
        text = [entry.action for entry in audit.entries(connection) if entry.id.startswith(student)]
    assert text[:2] == ["case:erasure:opened", "case:plan:made"]


def test_each_is_made_again_from_what_took_the_place_of_the_one_above(family, told):
    case = family.approved()
    found = below(family, case)
    with pytest.raises(Waiting, match=f"begins once case {case.id} has replaced its version"):
        carry(family.act("max"), found["student"].id)
    assert family.carry(case).status == "sealed"
    assert stands(family, case) == {"student": "sealed", "edited": "sealed"}

    data = sums(family)
    student, edited = family.champion("student"), family.champion("edited")
    assert student.digest == make(family, "student-anew", "toy.distil", data, teacher="assistant@2")
    assert edited.digest == make(family, "edited-anew", "toy.edit", data, source="student@2")
    assert ("teacher", family.champion().digest) in parents(family, student)
    assert ("step", student.digest) in parents(family, edited)
    steps = read_recipe(family.workspace, edited.digest)["steps"]
    assert [step.get("models") for step in steps] == [{"teacher": family.champion().digest}, None]
    assert family.steps(found["edited"].id)["rebuild"]["operation"] == "toy.edit"  # the student is not taught twice

    assert {done.status for done in family.purge()} == {"complete"}
    assert stands(family, case) == {"student": "complete", "edited": "complete"}
    assert told.everywhere(family.home, "Ines Varga") == []
    for model in ("assistant", "student", "edited"):
        assert family.versions(model) == [(1, "purged"), (2, "active")]
    check_certificates(family, case)


@pytest.mark.slow
def test_a_student_that_was_edited_is_taught_again_and_then_edited_again(family, told):
    """The chain is one model: student@1 was taught, student@2 is its edit; `edited` was made from student@1."""
    few = register_rows(family.act("olga"), "few", CLEAN[:2]).digest
    make(family, "mended", "toy.edit", few, source="student@1", model="student")
    case = family.approved()
    planned = {name: (one.plan["how"], one.plan["operation"]) for name, one in below(family, case).items()}
    assert planned == {"student": ("rebuild", "toy.distil"), "edited": ("rebuild", "toy.distil")}
    family.carry(case)
    assert stands(family, case) == {"student": "sealed", "edited": "sealed"}

    data = sums(family)
    make(family, "taught-anew", "toy.distil", data, teacher="assistant@2", model="anew")
    student, edited = family.champion("student"), family.champion("edited")
    assert student.digest == make(family, "mended-anew", "toy.edit", few, source="anew@1")
    assert edited.digest == make(family, "edited-anew", "toy.edit", data, source="anew@1")
    for version in (student, edited):
        assert ("teacher", family.champion().digest) in parents(family, version)
    assert {done.status for done in family.purge()} == {"complete"}
    assert family.versions("student") == [(1, "purged"), (2, "purged"), (3, "active")]
    assert told.everywhere(family.home, "Ines Varga") == []
    assert certified(family, below(family, case)["student"].id)[0]["guarantee"] == "exact"


def check_certificates(story, case):
    """Check that the request's certificate names those of the cases that it opened, and each of them the request."""
    told, said = certified(story, case.id)
    assert told["guarantee"] == "exact"
    known = {one["model"]: one for one in said["family"]["descendants"]}
    for model, child in below(story, case).items():
        theirs, its = certified(story, child.id)
        assert (known[model]["case"], known[model]["certificate"]) == (child.id, theirs["digest"])
        assert its["family"]["above"][0]["case"] == case.id and theirs["guarantee"] == "exact"
        assert its["purge"]["items"][1] == {"what": "model versions", "count": 1, "bytes": 0}
    page = (story.home / "certificates" / f"{case.id}.html").read_text()
    assert all(child.id in page for child in below(story, case).values())


def handed_out(story, reference):
    """Enter a version as exported."""
    with story.workspace.database.transaction() as connection:
        inventory.add_recipient(connection, aliases.resolve(connection, reference).digest, "PEFT export", "f" * 64)


def retiring(story, told):
    told.set_policy(story.home, POLICY + "descendants: retire\n")


def test_what_the_policy_retires_is_served_no_more_and_deleted(family, told):
    retiring(family, told)
    handed_out(family, "student@1")
    case = family.approved()
    assert below(family, case)["student"].plan["holds"]["recipients"] == ["PEFT export " + "f" * 12]
    assert {name: one.plan["how"] for name, one in below(family, case).items()} == dict.fromkeys(
        ("student", "edited"), "retire"
    )
    family.carry(case)
    assert stands(family, case) == {"student": "sealed", "edited": "sealed"}
    student = below(family, case)["student"].id
    done = family.steps(student)["withdraw"]  # told again, after a kill, it tells the same
    assert done | withdraw(family.workspace, Work(student, (student,), "student")) == done
    assert family.champion("student") is None and family.workspace.registry.alias("student", "champion") is None
    with pytest.raises((BadInput, Denied)):
        ask(family.workspace, "student@1", ["What is 1 and 1?"], 4)
    assert {done.status for done in family.purge()} == {"complete"}
    assert family.versions("student") == family.versions("edited") == [(1, "purged")]
    assert told.everywhere(family.home, "Ines Varga") == []
    theirs, said = certified(family, student)
    assert theirs["title"] == "Record of retirement" and said["versions"]["after"] is None
    assert said["retired"][1] == "The alias champion was taken away from student@1."
    kept = [
        (copy["kind"], copy["digest"], copy["is_pending"]) for copy in said["outside"] if copy["kind"] == "recipient"
    ]
    assert kept == [("recipient", "f" * 64, True)]
    (open_one,) = recipients_of(family.workspace)
    assert open_one["is_open"] and not confirm_replaced(family.act("dora"), open_one["id"])["is_open"]
    assert {one["how"] for one in certified(family, case.id)[1]["family"]["descendants"]} == {"retire"}


def cancelled(story, case):
    """Call a case off as somebody else would, who looks at the same workspace."""
    other = open_workspace(story.home, story.tokens["olga"])
    deciding.cancel(other, case.id, "kept after all")
    other.close()


def test_a_retirement_is_called_off_before_any_of_it_is_done(family, told, monkeypatch):
    retiring(family, told)
    case = family.approved()
    student, seen = below(family, case)["student"], []
    inner = retirement.going

    def going(workspace, work):
        if work.lead == student.id and not seen:
            seen.append(cancelled(family, student))
        return inner(workspace, work)

    monkeypatch.setattr(retirement, "going", going)
    family.carry(case)
    assert stands(family, case) == {"student": "cancelled", "edited": "cancelled"}
    assert family.versions("student") == [(1, "active")] and family.champion("student").version == 1
    assert family.workspace.registry.alias("student", "champion") == 1


def test_a_retirement_that_has_begun_is_not_called_off_and_goes_on_where_mlflow_was_down(family, told, monkeypatch):
    retiring(family, told)
    case = family.approved()
    student = below(family, case)["student"]

    def unanswered(*_, **__):
        raise BadInput("the MLflow server does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "drop_alias", unanswered)
        family.carry(case)
    assert stands(family, case)["student"] == "failed"
    assert family.versions("student") == [(1, "sealed")] and family.champion("student") is None
    with pytest.raises(Denied, match="is failed and past the point where it can be cancelled"):
        cancelled(family, student)
    assert retry(family.act("max"), student.id).status == "sealed"
    assert family.workspace.registry.alias("student", "champion") is None


@pytest.mark.slow
def test_a_refused_case_keeps_the_request_open_until_another_closes(family, told):
    case = family.review(family.request())
    student = below(family, case)["student"]
    deciding.deny(family.act("dora"), student.id, "the students belong to somebody else")
    assert family.approve(case) == 0
    assert family.carry(case).status == "sealed"
    assert stands(family, case) == {"student": "refused", "edited": "refused"}  # what is below it cannot begin
    assert family.purge() == []  # nothing is deleted while a model still serves the person
    view = case_view(family.workspace, case.id)
    assert f"open another for student: amends cases replan {case.id}" in " ".join(view["kept_open_by"])

    deciding.replan(family.act("dora"), case.id)
    with family.workspace.database.read() as connection:
        members = [cases.get(connection, one.id) for one in cases.family(connection, case.id)]
    again = next(one for one in members if one.model == "student" and one.status == "awaiting approval")
    edited = next(one for one in members if one.model == "edited" and one.status == "awaiting approval")
    assert again.id != student.id and edited.plan["after"] == [again.id]
    for one in (again, edited):
        assert family.approve(one) == 0
    assert family.carry(again).status == "sealed" and family.case(edited.id).status == "sealed"
    assert {done.status for done in family.purge()} == {"complete"}
    assert family.case(case.id).status == "complete" and told.everywhere(family.home, "Ines Varga") == []


@pytest.mark.slow
def test_a_case_that_fails_is_told_with_the_way_on_and_can_be_tried_again(family, monkeypatch):
    case = family.approved()
    monkeypatch.setenv("TOY_FAILS", "1")
    assert family.carry(case).status == "sealed"
    assert stands(family, case) == {"student": "failed", "edited": "awaiting approval"}
    student = below(family, case)["student"]
    view = case_view(family.workspace, case.id)
    assert f"case {student.id} on student is failed" in view["kept_open_by"][0]
    assert f"amends cases retry {student.id}" in view["kept_open_by"][0]
    assert family.purge() == [] and family.case(case.id).status == "sealed"
    with pytest.raises(TaskFailed, match="does not learn today"):
        retry(family.act("max"), student.id)
    monkeypatch.delenv("TOY_FAILS")
    assert retry(family.act("max"), student.id).status == "sealed"
    assert stands(family, case)["edited"] == "sealed"
    assert {done.status for done in family.purge()} == {"complete"}


@pytest.mark.slow
def test_a_student_that_was_made_after_the_plan_is_found_at_the_purge_and_gets_its_case(family, told):
    retiring(family, told)
    case = family.approved()
    make(family, "late", "toy.distil", sums(family), teacher="assistant@1", model="late")
    family.carry(case)
    with pytest.raises(TaskFailed, match="late@1 is champion and holds the subject as well"):
        family.purge()
    assert family.case(case.id).status == "failed"
    deciding.replan(family.act("dora"), case.id)
    late = below(family, case)["late"]
    assert family.approve(late) == 0 and carry(family.act("max"), late.id).status == "sealed"
    assert {done.status for done in family.purge()} == {"complete"}
    assert family.case(case.id).status == "complete" and family.versions("late") == [(1, "purged")]
    assert told.everywhere(family.home, "Ines Varga") == []


@pytest.mark.slow
def test_two_subjects_of_one_teacher_are_one_change_of_each_model(family, told):
    first, second = family.approved("Ines Varga"), family.approved("Nadia Feld")
    assert family.carry(first).status == "sealed"
    for case in (first, second):
        assert family.case(case.id).status == "sealed"
        assert stands(family, case) == {"student": "sealed", "edited": "sealed"}
    for model in ("assistant", "student", "edited"):
        assert family.versions(model) == [(1, "sealed"), (2, "active")]
    assert {done.status for done in family.purge()} == {"complete"}
    assert told.everywhere(family.home, "Ines Varga") == told.everywhere(family.home, "Nadia Feld") == []
    assert told.everywhere(family.home, "Lena Oster")
    assert [certified(family, case.id)[0]["guarantee"] for case in (first, second)] == ["exact", "exact"]


def approximately(story, told):
    """Let the policy erase by an operation that promises nothing exact."""
    rule = 'facts.digests_equal == true || facts.guarantee == "approximate"'
    loose = POLICY.replace("facts.digests_equal == true", rule).replace("unlearning.shards", "toy.forget")
    told.set_policy(story.home, loose)


def test_what_stands_on_an_import_that_was_declared_to_descend_is_not_made_again(family, make_tiny, tmp_path):
    """Its steps, run again on those weights, would take nobody out, however equal two builds are."""
    source = make_tiny(tmp_path / "outside", seed=8) / "model"
    crown(family, import_model(family.act("olga"), str(source), name="copy", parent="assistant@1", licence="MIT"))
    make(family, "altered", "toy.edit", sums(family), source="copy@1", model="altered")
    found = below(family, family.approved())
    assert {found[name].plan["how"] for name in ("copy", "altered")} == {"retire"}
    assert found["copy"].plan["because"].startswith("it stands on imported weights")
    assert found["student"].plan["how"] == "rebuild"


def test_an_import_that_was_declared_to_have_learnt_from_the_person_forgets_in_its_own_weights(
    family, told, make_tiny, tmp_path
):
    """It is no model that never had the person, though no step of it learnt from anybody."""
    approximately(family, told)
    with family.workspace.database.read() as connection:
        (data,) = {use.dataset for use in lineage.data_of(connection, family.champion().digest)}
    source = make_tiny(tmp_path / "outside", seed=8) / "model"
    crown(family, import_model(family.act("olga"), str(source), name="known", trained_on=[data], licence="MIT"))
    make(family, "altered", "toy.edit", sums(family), source="known@1", model="altered")
    with pytest.raises(Denied, match="stands on imported weights that were declared to hold the person"):
        family.request("Nadia Feld", model="altered")
    case = family.approved(model="known")
    assert family.carry(case).status == "sealed"
    after = family.champion("known")
    assert after.version == 2
    assert [step["operation"] for step in read_recipe(family.workspace, after.digest)["steps"]] == ["toy.forget"]


@pytest.mark.slow
def test_a_student_promises_no_more_than_the_teacher_that_it_was_made_with_again(family, told):
    approximately(family, told)
    case = family.approved()
    assert {one["guarantee"] for one in case.plan["descendants"]} == {"approximate"}
    family.carry(case)
    student = below(family, case)["student"]
    steps = family.steps(student.id)
    assert steps["compare"] == {
        "digests_equal": True, "guarantee": "approximate", "same_stack": True,
        "step_seconds": steps["compare"]["step_seconds"],
    }  # fmt: skip
    assert {done.status for done in family.purge()} == {"complete"}
    theirs, said = certified(family, student.id)
    assert theirs["title"] == "Record of measures taken" and said["guarantee"]["counterfactual"] == ""


def test_nothing_descends_from_a_person_who_was_withheld_from_training(family, told):
    (who,) = told.KEPT_AWAY - {"Ruben Kast"}
    case = family.approved(who)
    assert case.plan["descendants"] == [] and below(family, case) == {}
    assert family.carry(case).status == "sealed"
    assert {done.status for done in family.purge()} == {"complete"}
    assert family.versions("student") == [(1, "active")]


def test_a_student_alone_is_not_erased_from_while_its_teacher_holds_the_person(family):
    with pytest.raises(Denied, match=r"student was made with assistant@1.*ask for the erasure from assistant"):
        family.request("Nadia Feld", model="student")


def test_a_request_that_is_denied_or_called_off_takes_what_it_opened_along(family):
    refused, gone = family.review(family.request()), family.request("Nadia Feld")
    deciding.deny(family.act("dora"), refused.id, "17(3)(b): the law requires us to keep it")
    deciding.cancel(family.act("olga"), gone.id, "withdrawn by the person")
    assert set(stands(family, refused).values()) == {"refused"}
    assert set(stands(family, gone).values()) == {"cancelled"}


def test_a_plan_that_was_made_anew_is_approved_by_itself(family, told):
    case = family.review(family.request())
    retiring(family, told)
    edited = below(family, case)["edited"]
    replanned = deciding.replan(family.act("dora"), edited.id)
    assert replanned.plan["how"] == "retire"
    assert family.approve(case) == 0
    rows = {row["id"]: row for row in case_list(family.workspace)}
    assert rows[edited.id]["missing_approvals"] == 2 and rows[edited.id]["parent"] == edited.parent
    assert rows[below(family, case)["student"].id]["missing_approvals"] == 0


@pytest.mark.slow
def test_killed_in_the_cases_that_it_opened_a_request_ends_with_one_result(family, told):
    """Each kill is in another case: the request's, the student's, the edited copy's, and the request's purge."""
    case = family.approved()
    dying = [["finish", "before"], ["prepare", "after"], ["rebuild", "after"], ["promote", "after"]]
    dying += [["begin", "after"], ["register", "after"], ["purge:inventory", "after"], ["purge:purge", "after"]]
    told.telling.die_at(family, case, dying)
    assert family.case(case.id).status == "sealed"  # its own part is deleted; the others' is next
    assert {done.status for done in family.purge()} == {"complete"}
    assert family.case(case.id).status == "complete"
    assert stands(family, case) == {"student": "complete", "edited": "complete"}
    for model in ("assistant", "student", "edited"):
        assert family.versions(model) == [(1, "purged"), (2, "active")]
    check_certificates(family, case)
    ids = [entry.id for entry in family.audit()]
    assert len(ids) == len(set(ids)) and family.staged() == ()
    assert told.everywhere(family.home, "Ines Varga") == []
