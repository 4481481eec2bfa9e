"""Pruning: what nothing needs goes, and what an alias, a case, a recipe or an erasure needs stays."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime

import pytest

from amends.errors import BadInput, Denied, UnknownModel, Waiting
from amends.governor.models.asking import ask
from amends.governor.models.pruning import prune
from amends.governor.workspace import Workspace
from amends.ledger import aliases, audit, cases, inventory, journal, lineage, people
from amends.ledger.lineage import Edge
from amends.records import Case, CaseStatus, DataSubject
from amends.store.trees import fetch_manifest


@pytest.fixture
def model(small_workspace, put_version):
    """Return six versions of `tiny`, each with a state blob of its own and one that all share."""
    blobs = small_workspace.blobs
    shared = blobs.put_bytes(b"shared state")
    return [
        put_version(small_workspace, "tiny", n, state={"own": blobs.put_bytes(b"state %d" % n), "shared": shared})
        for n in range(1, 7)
    ]


def pruned(rows):
    return [row["version"] for row in rows]


def statuses(workspace):
    with workspace.database.read() as connection:
        return {version.number: version.status for version in lineage.versions_of(connection, "tiny")}


def open_case(workspace, plan, status=CaseStatus.AWAITING_APPROVAL):
    now = datetime.now(UTC)
    case = Case(
        "t-1", "training", "tiny", DataSubject("s_x"), CaseStatus.LOCATING, workspace.actor.id, "gdpr", now, now
    )
    with workspace.database.transaction() as connection:
        cases.open_case(connection, case, quorum=0)
        cases.set_plan(connection, "t-1", plan)
        cases.set_status(connection, "t-1", status)


def test_the_oldest_versions_go_with_their_bytes_and_state_and_leave_a_tombstone(small_workspace, model):
    manifests = [fetch_manifest(small_workspace.blobs, version.digest) for version in model]
    rows = prune(small_workspace, "tiny", keep=3)
    assert pruned(rows) == ["tiny@1", "tiny@2", "tiny@3"]
    assert statuses(small_workspace) == {1: "purged", 2: "purged", 3: "purged", 4: "active", 5: "active", 6: "active"}
    weights = [manifest.files["model/model.safetensors"].sha256 for manifest in manifests]
    assert [small_workspace.blobs.has(digest) for digest in weights] == [False] * 3 + [True] * 3
    assert [small_workspace.blobs.has(version.digest) for version in model] == [False] * 3 + [True] * 3
    assert rows[0]["bytes"] >= manifests[0].files["model/model.safetensors"].size
    with small_workspace.database.read() as connection:
        assert not inventory.state_of(connection, model[0].digest)
        kept = inventory.state_of(connection, model[5].digest)
        assert [e.body["version"] for e in audit.entries(connection) if e.action == "model:version:pruned"] == [1, 2, 3]
    assert small_workspace.blobs.get(kept["shared"].blob) == b"shared state"
    assert small_workspace.blobs.get(kept["own"].blob) == b"state 6"


def test_a_dry_run_says_the_same_and_deletes_nothing(small_workspace, model):
    before = sorted(small_workspace.blobs.digests())
    told = prune(small_workspace, "tiny", keep=3, dry_run=True)
    assert sorted(small_workspace.blobs.digests()) == before
    assert set(statuses(small_workspace).values()) == {"active"}
    assert prune(small_workspace, "tiny", keep=3) == told
    assert prune(small_workspace, "tiny", keep=3) == []


def test_files_that_versions_share_stay_for_the_ones_that_stay(small_workspace, model):
    small = ask(small_workspace, "tiny@6", ["Where?"], 3)
    prune(small_workspace, "tiny", keep=1)
    assert ask(small_workspace, "tiny@6", ["Where?"], 3) == small  # the tokenizer is the same in all of them


def test_what_an_alias_stands_for_stays(small_workspace, model):
    with small_workspace.database.transaction() as connection:
        aliases.move(connection, model="tiny", alias="champion", expected=None, new=1, actor="p")
    assert pruned(prune(small_workspace, "tiny", keep=1)) == [f"tiny@{n}" for n in (2, 3, 4, 5)]


def test_what_a_younger_version_comes_from_stays_with_its_checkpoints(small_workspace, model, put_version):
    put_version(small_workspace, "assistant", 1, based_on=model[0])
    with small_workspace.database.transaction() as connection:
        lineage.add_edge(connection, Edge(model[5].digest, model[1].digest, "step"))
        lineage.add_edge(connection, Edge(model[5].digest, model[2].digest, "rebuilt-from"))
    assert pruned(prune(small_workspace, "tiny", keep=1)) == ["tiny@3", "tiny@4", "tiny@5"]
    with small_workspace.database.read() as connection:
        assert set(inventory.state_of(connection, model[1].digest)) == {"own", "shared"}
    assert ask(small_workspace, "assistant@1", ["Where?"], 2)


def test_a_base_that_only_a_reference_names_stays(small_workspace, model, put_version):
    version = put_version(small_workspace, "assistant", 1, based_on=model[0])
    with small_workspace.database.transaction() as connection:
        from amends.ledger.tables import edges

        connection.execute(edges.delete().where(edges.c.child == version.digest))
    assert "tiny@1" not in pruned(prune(small_workspace, "tiny", keep=1))


def test_what_an_open_case_names_stays_until_it_ends(small_workspace, model):
    open_case(small_workspace, {"source": model[0].digest, "holds": {"versions": ["tiny@2"]}})
    with small_workspace.database.transaction() as connection:
        journal.record_step(connection, "t-1", "prepare", {"parent": {"version": 3, "digest": model[2].digest}})
    assert pruned(prune(small_workspace, "tiny", keep=1)) == ["tiny@4", "tiny@5"]
    with small_workspace.database.transaction() as connection:
        cases.set_status(connection, "t-1", CaseStatus.CANCELLED)
    assert pruned(prune(small_workspace, "tiny", keep=1)) == ["tiny@1", "tiny@2", "tiny@3"]


def test_files_of_a_candidate_that_is_not_registered_yet_stay(small_workspace, model, put_version):
    candidate = model[0].digest  # as if it were built and not entered
    shared = fetch_manifest(small_workspace.blobs, candidate).files["model/model.safetensors"].sha256
    open_case(small_workspace, {})
    with small_workspace.database.transaction() as connection:
        journal.record_step(connection, "t-1", "train", {"digest": candidate, "state": {}})
    prune(small_workspace, "tiny", keep=1)
    assert small_workspace.blobs.has(shared)


def test_a_sealed_version_goes_only_if_no_case_will_purge_it(small_workspace, model):
    with small_workspace.database.transaction() as connection:
        lineage.set_status(connection, "tiny", 5, "sealed")
        lineage.set_status(connection, "tiny", 6, "sealed")
    open_case(small_workspace, {"holds": {"versions": ["tiny@6"]}})
    assert pruned(prune(small_workspace, "tiny", keep=4)) == ["tiny@5"]


def test_a_quarantined_version_stays_to_be_looked_into(small_workspace, model):
    with small_workspace.database.transaction() as connection:
        lineage.set_status(connection, "tiny", 2, "quarantined")
    assert pruned(prune(small_workspace, "tiny", keep=3)) == ["tiny@1", "tiny@3"]
    assert statuses(small_workspace)[2] == "quarantined"


def test_a_prune_that_was_killed_is_finished_by_the_next(small_workspace, model):
    for digest in (model[0].digest, fetch_manifest(small_workspace.blobs, model[1].digest).files["recipe.json"].sha256):
        small_workspace.blobs.delete(digest)
    assert pruned(prune(small_workspace, "tiny", keep=4)) == ["tiny@1", "tiny@2"]
    assert statuses(small_workspace)[1] == statuses(small_workspace)[2] == "purged"


def test_nothing_is_pruned_while_a_case_is_carried_out(small_workspace, model):
    with (small_workspace.home / "executor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Waiting):
            prune(small_workspace, "tiny", keep=1)
    assert set(statuses(small_workspace).values()) == {"active"}


def test_bad_input_is_refused(small_workspace, model):
    with pytest.raises(BadInput, match="keep"):
        prune(small_workspace, "tiny", keep=0)
    with pytest.raises(UnknownModel):
        prune(small_workspace, "nobody")
    with small_workspace.database.transaction() as connection:
        token = people.add(connection, "Auden", "auditor")
    with pytest.raises(Denied):
        prune(Workspace(small_workspace.home, token), "tiny", keep=1)
