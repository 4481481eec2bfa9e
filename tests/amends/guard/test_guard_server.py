"""A real MLflow server on a guarded registry, with a plain client and with Amends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from guard_permitting import refused

from amends.errors import Broken
from amends.governor.models.importing import import_model
from amends.governor.models.promoting import Promotion, promote
from amends.governor.upkeep.doctor import examine
from amends.governor.workspace import Workspace
from amends.ledger.columns import now
from amends.ledger.guard import permits
from amends.ledger.guard.permits import PREFIX, Call
from amends.records import Change


@pytest.mark.slow
def test_a_plain_client_of_a_guarded_server_cannot_do_what_amends_decides(registered, plain):
    name = registered.name
    refused(plain.set_registered_model_alias, name, "champion", "2")
    refused(plain.delete_registered_model_alias, name, "champion")
    refused(plain.delete_model_version, name, "2")
    refused(plain.delete_registered_model, name)
    refused(plain.rename_registered_model, name, "other")
    refused(plain.set_model_version_tag, name, "1", "amends.digest", "forged")
    refused(plain.delete_model_version_tag, name, "1", "amends.digest")
    refused(plain.set_registered_model_tag, name, "amends.note", "forged")
    plain.set_model_version_tag(name, "1", "team", "voice")
    plain.set_registered_model_tag(name, "team", "voice")
    tags = plain.get_model_version(name, "1").tags
    assert tags["team"] == "voice" and len(tags["amends.digest"]) == 64 and tags["amends.case"] == "case-1"
    assert plain.get_model_version_by_alias(name, "champion").version == "1"


@pytest.mark.slow
def test_amends_promotes_tags_and_purges_on_a_guarded_server(registered, plain):
    registry, name = registered.registry, registered.name
    registry.set_alias(name, "champion", 2, 1, "case-1-promotion-0")
    registry.tag_version(name, 2, {"amends.certificate": "c" * 64})
    assert plain.get_model_version_by_alias(name, "champion").tags["amends.certificate"] == "c" * 64
    evidence = registry.purge_version(name, 1)
    assert (evidence["files"], evidence["files_left"]) == (2, 0) and "amends.digest" in evidence["tags"]
    registry.drop_alias(name, "champion", 2)
    model = plain.get_registered_model(name)
    assert (model.aliases, model.tags) == ({}, {})


@pytest.mark.slow
def test_a_permit_that_a_plain_client_read_is_of_no_use_to_it(server, registered, plain):
    name, keyring = registered.name, server.keyring
    key, value = permits.issue(keyring, Call("set_registered_model_alias", name, "2", "champion"))
    plain.set_registered_model_tag(name, key, value)
    refused(plain.set_registered_model_alias, name, "canary", "2")  # for another alias
    refused(plain.delete_registered_model_tag, name, key)
    plain.set_registered_model_alias(name, "champion", "2")  # what was decided, whoever asks
    registered.registry.set_alias(name, "champion", 1, 2)
    assert "used before" in refused(plain.set_registered_model_tag, name, key, value)
    refused(plain.set_registered_model_alias, name, "champion", "2")
    for call, more in (
        (Call("set_registered_model_alias", name, "2", "champion"), {"expires": now() - timedelta(seconds=1)}),
        (Call("set_registered_model_alias", "another", "2", "champion"), {}),
    ):
        refused(plain.set_registered_model_tag, name, *permits.issue(keyring, call, **more))
    wrong = permits.issue(keyring, Call("set_registered_model_alias", name, "1", "champion"))
    plain.set_registered_model_tag(name, *wrong)
    refused(plain.set_registered_model_alias, name, "champion", "2")  # it is for another version
    assert plain.get_model_version_by_alias(name, "champion").version == "1"
    assert wrong[0].startswith(PREFIX)
    assert keyring.signing_key().private_bytes_raw().hex() not in server.log.read_text(errors="replace")


@pytest.mark.slow
def test_the_doctor_says_whether_a_server_is_guarded_and_knows_this_workspace(server, registered, small_workspace):
    def look(settings):
        (small_workspace.home / "amends.toml").write_text(f'scheduler = "inline"\nmlflow = "{server.uri}"\n{settings}')
        return {check.name: check for check in examine(small_workspace.home)}["guard"]

    unsigned = look("")
    assert (unsigned.state, unsigned.mend) == ("broken", "set guarded_registry = true")
    stranger = look("guarded_registry = true")
    assert stranger.state == "broken" and "does not take this workspace's permits" in stranger.sentence
    small_workspace.keyring.public_directory(server.public)
    assert look("guarded_registry = true").state == "ok"


def settle(workspace, server, guarded):
    """Let a workspace use the server, and open it again as the next process does."""
    guard = f"guarded_registry = {str(guarded).lower()}"
    (workspace.home / "amends.toml").write_text(f'scheduler = "inline"\ncpus = 1\nmlflow = "{server.uri}"\n{guard}\n')
    return Workspace(workspace.home, workspace.token)


@pytest.mark.slow
def test_a_promotion_through_amends_moves_the_alias_and_one_without_permits_does_not(
    server, plain, small_workspace, make_tiny, tmp_path
):
    small_workspace.keyring.public_directory(server.public)
    workspace = settle(small_workspace, server, True)
    version = import_model(workspace, str(make_tiny(tmp_path / "tiny") / "model"), name="promoted", licence="MIT")
    facts = {"evidence_allowed": True, "digests_verified": True, "suppression_checked": True, "suppression_hits": 0}
    facts |= {"evidence_age_days": 0, "incidents_asked": 0, "incidents_relapsed": 0}
    change = Change("training.none", None, version)
    promotion = Promotion(change, "champion", None, "t-1", facts)
    assert promote(workspace, promotion, workspace.actor.id).allowed
    assert plain.get_model_version_by_alias("promoted", "champion").tags["amends.digest"] == version.digest
    moved = "set_registered_model_alias on promoted@1 (champion) by decision t-1-promotion-0"
    assert moved in server.log.read_text(errors="replace")
    workspace.close()
    unsigned = settle(small_workspace, server, False)
    with pytest.raises(Broken, match="PERMISSION_DENIED"):
        unsigned.registry.set_alias("promoted", "canary", 1, None)
    assert set(plain.get_registered_model("promoted").aliases) == {"champion"}
