"""A version that is set aside goes nowhere until somebody else releases it; one whose bytes changed is set aside."""

from __future__ import annotations

import json
import re

import pytest
from story_promotable import asked, failed, in_mlflow, meanwhile, own, promoted

from amends.errors import BadInput, Denied, DigestMismatch
from amends.governor.cases.changing import open_change
from amends.governor.cases.promoting import open_promotion, open_rollback
from amends.governor.models import asking, exporting, quarantine
from amends.governor.models.quarantine import refuse_quarantined
from amends.governor.models.recipes import write_recipe
from amends.governor.models.reconciling import check_aliases
from amends.governor.models.signatures import signature_file
from amends.governor.models.versions import Entry, enter
from amends.governor.proof.bundling import export_bundle
from amends.governor.proof.passport import passport_of
from amends.governor.upkeep.doctor import examine
from amends.governor.work import batches
from amends.governor.work.carrying import resume, train
from amends.governor.work.training import open_training
from amends.governor.workspace import open_workspace
from amends.ledger import aliases, lineage
from amends.ledger.actions import Action
from amends.store.trees import fetch_manifest

WHY = "it answers with a secret"
TWO = "assistant@2"


def stopped(story, reference=TWO):
    return quarantine.quarantine(story.act("olga"), reference, WHY)


def digest_of(story, number=2):
    with story.workspace.database.read() as connection:
        return lineage.get(connection, "assistant", number).digest


def damage_files_in_mlflow(story, number=2):
    """Change a byte of a version's weights where MLflow keeps them, and return what undoes it."""
    with story.workspace.database.read() as connection:
        place = lineage.get(connection, "assistant", number).mlflow_uri
    (weights,) = sorted(story.home.glob(f"**/{place.rpartition('/models/')[2]}/**/*.safetensors"))
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + b"x")
    return lambda: weights.write_bytes(sound)


def test_a_quarantined_version_is_neither_promoted_nor_handed_out_and_asked_only_on_purpose(base, tmp_path):
    made = asked(base)
    assert stopped(base).status == "quarantined"
    base.approve(made)
    assert "assistant@2 is quarantined and cannot be champion" in failed(base, made)
    with pytest.raises(Denied, match="is quarantined and cannot be candidate"):
        asked(base, alias="candidate")
    with pytest.raises(Denied, match="is quarantined; see `amends models history assistant`"):
        exporting.export(base.act("max"), TWO, tmp_path / "given")
    with pytest.raises(Denied, match="is quarantined"):
        export_bundle(base.act("dora"), made.id, tmp_path / "case.zip")
    with pytest.raises(Denied, match="is quarantined"):
        asking.ask(base.workspace, TWO, ["Who?"], 2)
    assert len(asking.ask(base.workspace, TWO, ["Who?"], 2, with_quarantined=True)) == 1
    row = next(row for row in asking.compare(base.workspace, "assistant", ["Who?"], 2) if row["version"] == TWO)
    assert row["answers"] is None and "give --quarantined" in row["reason"]
    assert not list(tmp_path.glob("given*")) and not (tmp_path / "case.zip").exists()


def test_nothing_is_made_of_a_quarantined_version_and_no_alias_goes_back_to_it(base):
    assert promoted(base).status == "complete"
    stopped(base, "assistant@1")
    with pytest.raises(Denied, match="assistant@1 is quarantined and cannot be champion"):
        open_rollback(base.act("sven"), "assistant", reason="worse")
    stopped(base)
    with pytest.raises(Denied, match="assistant@2 is quarantined"):
        open_change(base.act("sven"), model="assistant", policy="toying", records={"edits": "facts"})
    with pytest.raises(Denied, match="assistant@2 is quarantined"):
        train(base.act("max"), base=TWO, data="facts", model="other")


def test_what_was_planned_on_a_version_is_not_made_of_it_once_it_is_set_aside(base):
    policy = base.home / "policies" / "toying.yaml"
    policy.write_text(policy.read_text().replace("{count: 0}", "{count: 2, roles: [dpo, ml-engineer]}"))
    change = open_change(base.act("sven"), model="assistant", policy="toying", records={"edits": "facts"})
    stopped(base, "assistant@1")
    base.approve(change)
    assert "assistant@1 is quarantined" in failed(base, change)
    training = open_training(base.act("max"), base=TWO, data="facts", model="other")
    stopped(base)
    with base.workspace.database.transaction() as connection:
        batches.begin(base.workspace, connection, "training", "other", (training,))
    (ended,) = resume(base.act("max"))  # as after a process that died before it trained
    assert "assistant@2 is quarantined" in ended.reason and base.versions("other") == []


def test_anybody_who_works_on_models_stops_one_and_somebody_else_releases_it(base):
    version = stopped(base)
    for who, said in (("olga", "this needs ml-engineer or safety-engineer or dpo"), ("max", None)):
        if said:
            with pytest.raises(Denied, match=said):
                quarantine.release(base.act(who), TWO, "no")
    with pytest.raises(Denied, match="is quarantined already"):
        quarantine.quarantine(base.act("max"), TWO, WHY)
    with pytest.raises(BadInput, match="needs its reason"):
        quarantine.release(base.act("max"), TWO, " ")
    assert quarantine.release(base.act("max"), TWO, "it was another model").status == "active"
    with pytest.raises(Denied, match="is active and not quarantined"):
        quarantine.release(base.act("max"), TWO, "again")
    quarantine.quarantine(base.act("max"), TWO, "after all")
    with pytest.raises(Denied, match="you set assistant@2 aside yourself"):
        quarantine.release(base.act("max"), TWO, "no")
    entries = base.audit("quarantine:")
    assert [(entry.action, entry.body["reason"]) for entry in entries] == [
        ("model:version:quarantined", WHY),
        ("model:version:released", "it was another model"),
        ("model:version:quarantined", "after all"),
    ]
    assert {entry.body["digest"] for entry in entries} == {version.digest}


def test_a_version_is_not_released_while_one_that_it_comes_from_is_quarantined(base):
    for reference in (TWO, "assistant@1"):
        stopped(base, reference)
    with pytest.raises(Denied, match="assistant@2 comes from assistant@1, which is quarantined still; release that"):
        quarantine.release(base.act("max"), TWO, "it was another model")
    assert base.versions() == [(1, "quarantined"), (2, "quarantined"), (3, "active")]
    quarantine.release(base.act("max"), "assistant@1", "it was another model")
    assert quarantine.release(base.act("max"), TWO, "it was another model").status == "active"


def entered_again(story, number, **recipe):
    """Enter a version's files once more under another name, with more in the recipe."""
    with story.workspace.database.read() as connection:
        version = lineage.get(connection, "assistant", number)
    told = {**version.recipe, **recipe}
    tree = write_recipe(story.workspace, version.digest, told)
    entry = Entry(key=f"again-{number}", model="again", digest=tree, recipe=told)
    return enter(story.workspace, entry, Action.MODEL_REGISTERED, story.act("max").actor.id)


@pytest.mark.parametrize("recipe", [{}, {"note": "made elsewhere"}])
def test_the_same_files_go_nowhere_under_another_name_either(base, recipe, tmp_path):
    own(base, "probes: {toy.odd: {}}")
    again = entered_again(base, 2, **recipe)
    assert (again.digest == digest_of(base)) is not bool(recipe)
    stopped(base)
    said = f"{again} has the files of assistant@2, which is quarantined; see `amends models history assistant`"
    for act in (
        lambda: open_promotion(base.act("sven"), str(again), "champion"),
        lambda: open_change(base.act("sven"), model="again", policy="toying", records={"edits": "facts"}),
        lambda: train(base.act("max"), base=str(again), data="facts", model="other"),
        lambda: exporting.export(base.act("max"), str(again), tmp_path / "given"),
        lambda: asking.ask(base.workspace, str(again), ["Who?"], 2),
    ):
        with pytest.raises(Denied, match=re.escape(said)):
            act()
    assert len(asking.ask(base.workspace, str(again), ["Who?"], 2, with_quarantined=True)) == 1
    *_, row = asking.compare(base.workspace, "again", ["Who?"], 2)
    assert row["answers"] is None and "it has the files of assistant@2, which is quarantined" in row["reason"]
    quarantine.release(base.act("max"), TWO, "it was another model")
    refuse_quarantined(base.workspace, resolved(base, str(again)))


def test_a_champion_with_the_files_of_a_quarantined_version_is_told(base):
    stopped(base, "tiny@1")  # which `assistant` began as
    (told,) = check_aliases(base.act("sven"), is_enforced=True).rows()
    assert told["sentence"].startswith(
        "assistant@champion stands for version 1, which has the files of tiny@1, and that is quarantined"
    )
    assert base.champion().version == 1


def test_a_version_that_is_set_aside_while_its_promotion_is_judged_is_not_promoted(base, monkeypatch):
    case = asked(base)
    base.approve(case)
    meanwhile(monkeypatch, "measure", lambda workspace: stopped_by_another(base))
    assert "assistant@2 is quarantined" in failed(base, case)
    assert base.champion().version == in_mlflow(base).aliases["champion"] == 1


def stopped_by_another(story):
    """Set version 2 aside as somebody else would, who looks at the same workspace."""
    other = open_workspace(story.home, story.tokens["olga"])
    quarantine.quarantine(other, TWO, WHY)
    other.close()


def resolved(story, reference):
    with story.workspace.database.read() as connection:
        return aliases.resolve(connection, reference)


def test_where_the_list_of_its_files_is_lost_other_versions_are_promoted_all_the_same(base):
    own(base)
    again = entered_again(base, 2)
    stopped(base)
    base.workspace.blobs.delete(digest_of(base))
    with pytest.raises(Denied, match="has the files of assistant@2"):
        open_promotion(base.act("sven"), str(again), "champion")
    assert asked(base, "assistant@3").status == "complete"


def test_only_an_active_version_is_quarantined(base):
    with pytest.raises(BadInput, match="names no version"):
        stopped(base, "assistant")
    with base.workspace.database.transaction() as connection:
        lineage.set_status(connection, "assistant", 2, "sealed")
    with pytest.raises(Denied, match="is sealed, and serves nobody"):
        stopped(base)


def test_a_version_whose_bytes_changed_is_not_released_until_they_are_back(base):
    mend = damage_files_in_mlflow(base)
    stopped(base)
    with pytest.raises(DigestMismatch, match="the files of assistant@2 in MLflow were changed"):
        quarantine.release(base.act("max"), TWO, "it is fine")
    signature, kept = signature_file(base.workspace, digest_of(base)), None
    mend()
    kept = signature.read_bytes()
    signature.unlink()
    with pytest.raises(Denied, match="is not signed by this workspace"):
        quarantine.release(base.act("max"), TWO, "it is fine")
    signature.write_bytes(kept)
    assert quarantine.release(base.act("max"), TWO, "it is back").status == "active"


def test_a_promotion_that_reads_other_bytes_sets_the_version_aside(base):
    case = asked(base)
    base.approve(case)
    damage_files_in_mlflow(base)
    assert "the files of assistant@2 in MLflow were changed" in failed(base, case)
    assert base.versions() == [(1, "active"), (2, "quarantined"), (3, "active")]
    assert base.audit("quarantine:")[0].actor == case.id


def exchanged(story):
    two, three = (signature_file(story.workspace, digest_of(story, number)) for number in (2, 3))
    two.write_bytes(three.read_bytes())
    return False, "what its signature signs is not this version"


def set_aside_by_an_earlier_read(story):
    entry = fetch_manifest(story.workspace.blobs, digest_of(story)).files["recipe.json"]
    file = next(story.workspace.blobs.root.rglob(entry.sha256))
    file.chmod(0o600)
    file.write_bytes(b"other")
    with pytest.raises(DigestMismatch):
        story.workspace.blobs.get(entry.sha256)
    return False, "a file of it had changed and was set aside"


def damaged(story):
    damage_files_in_mlflow(story)
    return True, "its bytes are not those that were signed"


@pytest.mark.parametrize("harm", [exchanged, set_aside_by_an_earlier_read, damaged])
def test_the_reconciler_and_the_doctor_set_aside_what_is_not_what_was_signed(base, harm):
    is_deep, why = harm(base)
    if is_deep:
        assert check_aliases(base.act("sven")).aside == ()
    report = check_aliases(base.act("sven"), is_deep=is_deep)
    (row,) = (row for row in report.rows() if row["quarantined"])
    assert (row["model"], row["version"], row["sentence"]) == (
        "assistant", 2, f"assistant@2 is quarantined now: {why}",
    )  # fmt: skip
    assert base.versions() == [(1, "active"), (2, "quarantined"), (3, "active")]
    assert base.audit("quarantine:")[0].actor == "reconciler"
    assert check_aliases(base.act("sven"), is_deep=is_deep).aside == ()
    found = {check.name: check for check in examine(base.home, is_deep)}["versions"]
    assert (found.state, found.sentence) == ("warn", "1 versions are quarantined, the first is assistant@2")


def test_the_doctor_sets_aside_what_it_finds_and_says_so(base):
    exchanged(base)
    found = {check.name: check for check in examine(base.home)}["versions"]
    assert found.state == "broken" and found.sentence.startswith("1 versions changed and are quarantined now")
    assert base.versions()[1] == (2, "quarantined") and base.audit("quarantine:")[0].actor == "doctor"


def test_a_version_that_nobody_signed_is_left_to_the_promotion_that_refuses_it(base):
    signature_file(base.workspace, digest_of(base)).unlink()
    assert check_aliases(base.act("sven")).rows() == [] and base.versions()[1] == (2, "active")


def test_an_alias_of_a_quarantined_version_is_reported_until_people_move_it(base):
    assert promoted(base).status == "complete"
    stopped(base)
    for _ in range(2):
        report = check_aliases(base.act("sven"), is_enforced=True)
        assert [(str(one.kind), one.name, one.version) for one in report.found] == [
            ("quarantined alias", "champion", 2)
        ]
    assert len(base.audit("diverged:")) == 1 and in_mlflow(base).aliases["champion"] == 2
    checks = {check.name: check for check in examine(base.home)}
    assert checks["aliases"].sentence.startswith("assistant@champion stands for a version that is quarantined")
    own(base)
    assert asked(base, "assistant@3").status == "complete"
    assert check_aliases(base.act("sven")).found == ()


def test_mlflow_says_it_too_and_is_put_right_where_it_forgot(base):
    stopped(base)
    assert in_mlflow(base).versions[2]["amends.quarantined"] == "yes"
    base.workspace.registry.client.delete_model_version_tag("assistant", "2", "amends.quarantined")
    (found,) = check_aliases(base.act("sven"), is_enforced=True).found
    assert (str(found.kind), found.name) == ("tag", "amends.quarantined")
    assert in_mlflow(base).versions[2]["amends.quarantined"] == "yes"
    quarantine.release(base.act("max"), TWO, "it was another model")
    assert in_mlflow(base).versions[2]["amends.quarantined"] == "no"
    assert check_aliases(base.act("sven")).found == ()
    base.workspace.registry.tag_version("assistant", 2, {"amends.quarantined": "yes"})  # as if nobody had told it so
    assert len(check_aliases(base.act("sven"), is_enforced=True).restored) == 1
    assert in_mlflow(base).versions[2]["amends.quarantined"] == "no"


def test_people_see_it_in_lists_in_the_history_and_in_the_passport(base, run):
    done = run("olga", "models", "quarantine", TWO, "--reason", WHY, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["status"] == "quarantined"
    assert run("olga", "models", "release", TWO, "--reason", "no").exit_code == 1
    listed = json.loads(run("olga", "models", "list", "assistant", "--json").stdout)
    assert [row["status"] for row in listed] == ["active", "quarantined", "active"]
    assert "quarantined" in run("olga", "models", "list", "assistant").stdout
    assert f": {WHY}" in run("olga", "models", "show", TWO).stdout
    *_, last = json.loads(run("olga", "models", "history", "assistant", "--json").stdout)
    assert (last["version"], last["from"], last["to"], last["by"], last["reason"]) == (
        2, "active", "quarantined", "olga", WHY,
    )  # fmt: skip
    assert "(version 2)" in run("olga", "models", "history", "assistant").stdout
    passport = passport_of(base.act("olga"), TWO)
    assert any(limit.startswith("This version was quarantined on") for limit in passport["limits"])
    assert WHY not in json.dumps(passport)
    assert run("max", "models", "release", TWO, "--reason", "it was another model").exit_code == 0
    limits = passport_of(base.act("olga"), TWO)["limits"]
    assert (
        "This version was quarantined before, and released by somebody else once its bytes had been verified." in limits
    )


def test_who_is_in_a_quarantined_champion_is_erased_from_it_all_the_same(quick):
    quarantine.quarantine(quick.act("olga"), "assistant@1", WHY)
    case = quick.approved()
    assert quick.carry(case).status == "sealed"
    assert quick.versions() == [(1, "sealed"), (2, "active")] and quick.champion().version == 2
