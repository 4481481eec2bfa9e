"""What a guarded registry refuses, with which sentence, and what it leaves alone."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from guard_permitting import MOVE, hand_over, refused
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

from amends.errors import BadInput, Broken
from amends.ledger.guard.writing import Permits, is_guarded
from amends.ledger.registry import Registry

ROOT = Path(__file__).parents[3]
GROUP = "mlflow.model_registry_store"
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


def test_a_database_beside_us_cannot_be_guarded(keyring, tmp_path):
    with pytest.raises(BadInput, match="guarded_registry needs an MLflow server"):
        Registry(f"sqlite:///{tmp_path}/mlflow.db", None, Permits(keyring))


def test_a_permit_is_not_handed_to_a_registry_that_guards_nothing(keyring, guarded_database, tmp_path):
    where = guarded_database(tmp_path)
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
