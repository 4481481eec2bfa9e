"""The guarded registry: what MLflow's server refuses without a signed permit, and what a permit is good for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException

from amends.errors import BadInput, Broken, Tampered
from amends.governor.models.importing import import_model
from amends.governor.models.promoting import Promotion, promote
from amends.governor.upkeep.doctor import examine
from amends.governor.workspace import Workspace
from amends.ledger.columns import now
from amends.ledger.guard import open_store, permits
from amends.ledger.guard.permits import PREFIX, Call
from amends.ledger.guard.writing import Permits, is_guarded
from amends.ledger.registry import Registry
from amends.records import Change
from amends.store.trees import read_manifest
from amends.vault.keys import Keyring

ROOT = Path(__file__).parents[2]
GROUP = "mlflow.model_registry_store"
MOVE = Call("set_registered_model_alias", "bot", "2", "champion")


@pytest.fixture(scope="session")
def guarded_database(tmp_path_factory):
    """Return a registry with two versions of `bot`; its migrations take seconds, so every test copies it."""
    folder = tmp_path_factory.mktemp("guarded")
    store = open_store(f"amends+sqlite:///{folder}/mlflow.db")
    store.create_registered_model("bot")
    for number in (1, 2):
        store.create_model_version("bot", f"s3://files/{number}")
    return folder / "mlflow.db"


@pytest.fixture
def public_keys(keyring, tmp_path, monkeypatch):
    """Configure the registry with the workspace's public keys, and return their directory."""
    directory = keyring.public_directory(tmp_path / "public")
    monkeypatch.setenv("AMENDS_REGISTRY_KEY", str(directory))
    return directory


@pytest.fixture
def store(guarded_database, public_keys, tmp_path):
    shutil.copy(guarded_database, tmp_path / "mlflow.db")
    return open_store(f"amends+sqlite:///{tmp_path}/mlflow.db")


def hand_over(store, keyring, call, model=None, **more):
    """Write a permit as Amends does, and return its tag."""
    tag = RegisteredModelTag(*permits.issue(keyring, call, **more))
    store.set_registered_model_tag(model or call.model, tag)
    return tag


def refused(call, *arguments, **more):
    """Return the sentence with which a call is refused."""
    with pytest.raises(MlflowException) as told:
        call(*arguments, **more)
    assert told.value.error_code == "PERMISSION_DENIED"
    return told.value.message


def alias_of(store):
    return store.get_registered_model("bot").aliases.get("champion")


OURS = ("amends.decision", "forged")
GUARDED = {
    "set_registered_model_alias": ("bot", "champion", "1"),
    "delete_registered_model_alias": ("bot", "champion"),
    "delete_model_version": ("bot", "1"),
    "delete_registered_model": ("bot",),
    "rename_registered_model": ("bot", "other"),
    "transition_model_version_stage": ("bot", "1", "Production", False),
    "create_registered_model": ("fresh", [RegisteredModelTag(*OURS)]),
    "create_model_version": ("bot", "s3://files/3", None, [ModelVersionTag(*OURS)]),
    "set_registered_model_tag": ("bot", RegisteredModelTag(*OURS)),
    "delete_registered_model_tag": ("bot", "amends.decision"),
    "set_model_version_tag": ("bot", "1", ModelVersionTag(*OURS)),
    "delete_model_version_tag": ("bot", "1", "amends.decision"),
}


@pytest.mark.parametrize("method", GUARDED)
def test_each_guarded_call_is_refused_and_changes_nothing(store, method):
    assert "is refused: this registry is guarded by Amends" in refused(getattr(store, method), *GUARDED[method])
    (bot,) = store.search_registered_models()
    assert (bot.name, bot.tags, bot.aliases) == ("bot", {}, {})
    assert [(v.version, v.tags, v.current_stage) for v in store.search_model_versions()] == [
        (2, {}, "None"),
        (1, {}, "None"),
    ]


def test_what_nobody_guards_works_without_a_permit(store):
    store.set_registered_model_tag("bot", RegisteredModelTag("team", "voice"))
    store.set_model_version_tag("bot", "1", ModelVersionTag("amendsish", "yes"))
    store.delete_model_version_tag("bot", "1", "amendsish")
    store.update_model_version("bot", "1", "The first one.")
    store.create_registered_model("other", [RegisteredModelTag("team", "voice")])
    assert store.create_model_version("other", "s3://files", tags=[ModelVersionTag("note", "x")]).version == 1
    assert store.get_registered_model("bot").tags == {"team": "voice"}


def test_a_permit_lets_its_call_through_once_and_is_gone(store, keyring):
    tag = hand_over(store, keyring, MOVE)
    store.set_registered_model_alias("bot", "champion", "2")
    assert alias_of(store) == 2 and store.get_registered_model("bot").tags == {}
    refused(store.set_registered_model_alias, "bot", "champion", "2")
    assert "used before" in refused(store.set_registered_model_tag, "bot", tag)


def test_a_permit_that_was_used_by_one_worker_is_used_for_all(store, keyring):
    tag = hand_over(store, keyring, MOVE)
    other = open_store(f"amends+{store.db_uri}")
    other.set_registered_model_alias("bot", "champion", "2")
    refused(store.set_registered_model_tag, "bot", tag)
    super(type(store), store).set_registered_model_tag("bot", tag)  # as if the first had died before it deleted the tag
    refused(store.set_registered_model_alias, "bot", "champion", "2")


@pytest.mark.parametrize(
    "asked",
    [
        ("set_registered_model_alias", ("bot", "champion", "1")),
        ("set_registered_model_alias", ("bot", "canary", "2")),
        ("delete_registered_model_alias", ("bot", "champion")),
        ("delete_model_version", ("bot", "2")),
    ],
)
def test_a_permit_for_another_call_is_good_for_nothing(store, keyring, asked):
    hand_over(store, keyring, MOVE)
    method, arguments = asked
    refused(getattr(store, method), *arguments)
    store.set_registered_model_alias("bot", "champion", "2")  # it is still there for its own


def test_a_permit_binds_the_value_that_is_written(store, keyring):
    call = Call("set_model_version_tag", "bot", "1", "amends.decision", permits.value_of("case-1-promotion-0"))
    hand_over(store, keyring, call)
    refused(store.set_model_version_tag, "bot", "1", ModelVersionTag("amends.decision", "case-2-promotion-0"))
    store.set_model_version_tag("bot", "1", ModelVersionTag("amends.decision", "case-1-promotion-0"))
    assert store.get_model_version("bot", "1").tags == {"amends.decision": "case-1-promotion-0"}


def test_a_permit_for_a_version_binds_its_tags_and_where_its_files_lie(store, keyring):
    tags = {"amends.digest": "d" * 64}
    hand_over(store, keyring, Call("create_model_version", "bot", "", "s3://files/3", permits.value_of(tags)))
    written = [ModelVersionTag("amends.digest", "d" * 64), ModelVersionTag("note", "free")]
    refused(store.create_model_version, "bot", "s3://elsewhere", None, written)
    assert store.create_model_version("bot", "s3://files/3", None, written).version == 3


def test_a_permit_is_refused_when_its_time_is_not_now(store, keyring):
    for expires in (now() - timedelta(seconds=1), now() + timedelta(hours=1)):
        assert "has expired, or two clocks differ" in refused(hand_over, store, keyring, MOVE, expires=expires)
    tag = hand_over(store, keyring, MOVE)
    late = now() + permits.LIFETIME + timedelta(seconds=1)
    with pytest.raises(Tampered, match="has expired"):
        permits.read(tag.key, tag.value, keyring.public_keys(), late)


def test_what_is_no_permit_is_not_taken_for_one(store, keyring, tmp_path):
    stranger = Keyring.create(tmp_path / "stranger")
    assert "not signed by any of these keys" in refused(hand_over, store, stranger, MOVE)
    assert "another model" in refused(hand_over, store, keyring, MOVE, "other")
    key, value = permits.issue(keyring, MOVE)
    assert "under another's name" in refused(
        store.set_registered_model_tag, "bot", RegisteredModelTag(f"{key}0", value)
    )
    for rubbish in ("", "{}", "[]", "null", value[:-9]):
        refused(store.set_registered_model_tag, "bot", RegisteredModelTag(key, rubbish))
    assert store.get_registered_model("bot").tags == {}


def test_permits_that_nobody_used_are_swept_when_the_next_one_comes(store, keyring):
    old = RegisteredModelTag(*permits.issue(keyring, MOVE, expires=now() - timedelta(days=1)))
    super(type(store), store).set_registered_model_tag("bot", old)
    fresh = hand_over(store, keyring, MOVE)
    assert set(store.get_registered_model("bot").tags) == {fresh.key}


def test_without_a_key_everything_guarded_is_refused_with_the_way_out(store, keyring, monkeypatch):
    tag = hand_over(store, keyring, MOVE)
    monkeypatch.delenv("AMENDS_REGISTRY_KEY")
    for said in (
        refused(store.set_registered_model_alias, "bot", "champion", "2"),
        refused(store.set_registered_model_tag, "bot", tag),
    ):
        assert "AMENDS_REGISTRY_KEY is not set; give it the directory that `amends keys show --export` wrote" in said
    for given in ("neither/a/path/nor=base64", "A" * 5000):
        monkeypatch.setenv("AMENDS_REGISTRY_KEY", given)
        assert "is neither a path nor base64" in refused(store.set_registered_model_alias, "bot", "champion", "2")


def test_the_key_may_be_given_in_the_variable_itself(store, keyring, monkeypatch):
    (pem,) = keyring.public_keys().values()
    monkeypatch.setenv("AMENDS_REGISTRY_KEY", "".join(pem.splitlines()[1:-1]))
    hand_over(store, keyring, MOVE)
    store.set_registered_model_alias("bot", "champion", "2")
    assert alias_of(store) == 2


def test_a_rotated_key_is_trusted_when_its_file_is_there(store, keyring, public_keys):
    keyring.rotate_signing()
    assert "not signed by any of these keys" in refused(hand_over, store, keyring, MOVE)
    keyring.public_directory(public_keys)
    hand_over(store, keyring, MOVE)
    store.set_registered_model_alias("bot", "champion", "2")
    assert alias_of(store) == 2


def test_a_database_beside_us_cannot_be_guarded(keyring, tmp_path):
    with pytest.raises(BadInput, match="guarded_registry needs an MLflow server"):
        Registry(f"sqlite:///{tmp_path}/mlflow.db", None, Permits(keyring))


def test_a_permit_is_not_handed_to_a_registry_that_guards_nothing(keyring, guarded_database, tmp_path):
    shutil.copy(guarded_database, tmp_path / "mlflow.db")
    where = f"sqlite:///{tmp_path}/mlflow.db"
    plain = MlflowClient(tracking_uri=where, registry_uri=where)
    assert not is_guarded(plain, "bot")
    with pytest.raises(Broken, match="the MLflow server guards nothing; start it with --registry-store-uri amends"):
        Permits(keyring).hand_over(plain, MOVE)
    assert plain.get_registered_model("bot").tags == {}


def test_the_distribution_declares_each_scheme_and_each_is_one_to_mlflow():
    from mlflow.utils.uri import get_uri_scheme

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    assert set(declared.values()) == {"amends.ledger.guard:open_store"}
    for scheme in declared:
        assert get_uri_scheme(f"{scheme}://amends@postgres/mlflow") == scheme


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Run an MLflow server with two workers on a guarded registry; return its address and the keyring it trusts."""
    folder = tmp_path_factory.mktemp("guarded-server")
    keyring = Keyring.create(folder / "keys")
    (folder / "amends_guard-1.0.dist-info").mkdir()
    (folder / "amends_guard-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: amends-guard\nVersion: 1.0\n"
    )
    points = f"[{GROUP}]\namends+sqlite = amends.ledger.guard:open_store\n"
    (folder / "amends_guard-1.0.dist-info" / "entry_points.txt").write_text(points)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = f"sqlite:///{folder}/m.db"
    places = [
        "--backend-store-uri",
        where,
        "--registry-store-uri",
        f"amends+{where}",
        "--artifacts-destination",
        "files",
    ]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "2", *places]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "platform"), os.environ.get("PYTHONPATH", "")]),
        "AMENDS_REGISTRY_KEY": str(keyring.public_directory(folder / "public")),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}")
            yield SimpleNamespace(
                uri=f"http://127.0.0.1:{port}", keyring=keyring, log=folder / "log", public=folder / "public"
            )
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_healthy(address):
    from urllib3 import PoolManager, Retry

    patient = Retry(connect=None, total=200, backoff_factor=1, backoff_max=1, status_forcelist=[503])
    assert PoolManager(retries=patient, timeout=5).request("GET", f"{address}/health").status == 200


@pytest.fixture
def plain(server):
    """Return MLflow's own client, as anybody has it."""
    return MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)


@pytest.fixture
def registered(server, tmp_path, request):
    """Return Amends' registry on that server and a model of which it registered two versions, the first champion."""
    registry, name = Registry(server.uri, None, Permits(server.keyring)), f"model-{request.node.name[:40]}"
    for number in (1, 2):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        (directory / "recipe.json").write_text(f'{{"steps":[{number}]}}')
        manifest = read_manifest(directory)
        (directory / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: nothing\n")
        registry.register_version(name, directory, manifest, key=f"{name}/{number}", tags={"amends.case": "case-1"})
    registry.set_alias(name, "champion", 1, None)
    return SimpleNamespace(registry=registry, name=name)


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
