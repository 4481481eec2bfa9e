"""What MLflow reads: its flavors with and without Amends, and bases by reference."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import pandas
import pytest
import torch

import amends
from amends import host
from amends.errors import BadInput
from amends.operation.files import load_model
from amends.records import canonical_json
from amends.serving import open_version, resolve_base, write_mlmodel
from amends.serving.bases import completed
from amends.serving.flavors import ADDED, added_files
from amends.serving.pyfunc import Answering, _load_pyfunc, prompts_of
from amends.store import LocalBlobs, put_tree, read_manifest

PROMPTS = ["Where does Ada Quill live?", "Who?"]


@pytest.fixture
def version(tiny_version, tmp_path):
    return Path(shutil.copytree(tiny_version, tmp_path / "version"))


@pytest.fixture
def home(tiny_version, tmp_path, monkeypatch):
    """Return a workspace that holds the tiny base, as the current one."""
    home = tmp_path / "home"
    for name in ("AMENDS_BLOBS", "AMENDS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AMENDS_HOME", str(home))
    return home


@pytest.fixture
def referring(tiny_version, home, tmp_path):
    """Return a version that refers to the tiny base by digest."""
    digest = put_tree(LocalBlobs(home / "blobs"), tiny_version)
    version = tmp_path / "referring"
    (version / "model").mkdir(parents=True)
    (version / "model" / "reference.json").write_bytes(canonical_json({"base": digest}))
    return version


@pytest.fixture
def answers(tiny_version):
    return open_version(tiny_version, host.load([])).generate(PROMPTS, 8)


def test_a_plain_mlflow_loads_a_version_whose_change_is_all_in_its_weights(version):
    before = read_manifest(version)
    write_mlmodel(version)
    pipeline = mlflow.transformers.load_model(str(version))
    model, tokenizer = load_model(version)
    for name, tensor in model.state_dict().items():
        assert torch.equal(pipeline.model.state_dict()[name], tensor), name
    assert type(pipeline.tokenizer) is type(tokenizer)
    assert pipeline.tokenizer("hello there").input_ids == tokenizer("hello there").input_ids
    after = {name: entry for name, entry in read_manifest(version).files.items() if not name.startswith(ADDED)}
    assert after == before.files


def test_plain_transformers_loads_a_version_without_amends(version):
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"AutoModelForCausalLM.from_pretrained({str(version / 'model')!r})\n"
        f"AutoTokenizer.from_pretrained({str(version / 'model')!r})\n"
        "sys.exit('amends' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_pyfunc_answers_lists_frames_and_mappings_and_takes_a_length(version, answers):
    write_mlmodel(version)
    loaded = mlflow.pyfunc.load_model(str(version))
    short = {"max_new_tokens": 8}
    assert loaded.predict(PROMPTS, params=short) == answers
    assert loaded.predict(pandas.DataFrame({"prompt": PROMPTS}), params=short) == answers
    assert loaded.predict(PROMPTS) == open_version(version, host.load([])).generate(PROMPTS)


def test_an_mlmodel_is_a_function_of_the_version(version, make_tiny, tmp_path):
    assert added_files(version) == added_files(make_tiny(tmp_path / "again", seed=0))
    assert {name.split("/")[0] for name in added_files(version)} == {"MLmodel", "components"}


@pytest.mark.parametrize(
    "given",
    [
        PROMPTS,
        tuple(PROMPTS),
        {"prompt": PROMPTS},
        {"question": PROMPTS},
        {"prompt": PROMPTS, "id": [1, 2]},
        [{"prompt": prompt} for prompt in PROMPTS],
        pandas.Series(PROMPTS),
        pandas.DataFrame({"prompt": PROMPTS, "id": [1, 2]}),
        pandas.DataFrame({0: PROMPTS}),
        pandas.DataFrame({0: PROMPTS}).to_numpy(),
    ],
)
def test_prompts_are_found_in_whatever_is_given(given):
    assert prompts_of(given) == PROMPTS


def test_one_text_is_one_prompt():
    assert prompts_of("Who?") == prompts_of({"prompt": "Who?"}) == ["Who?"]


@pytest.mark.parametrize("given", [[1], 7, {"a": ["x"], "b": ["y"]}, [None], [{"text": "x"}]])
def test_an_input_without_texts_is_refused(given):
    with pytest.raises(BadInput):
        prompts_of(given)


def test_a_version_with_attachments_has_no_transformers_flavor(version):
    (version / "attachments" / "toy").mkdir(parents=True)
    (version / "attachments" / "order.json").write_text('["toy"]')
    added = added_files(version)
    assert list(added) == ["MLmodel"]
    assert b"transformers:" not in added["MLmodel"] and b"loader_module: amends.serving.pyfunc" in added["MLmodel"]


def test_a_version_without_a_model_has_no_flavor(tmp_path):
    with pytest.raises(BadInput, match="nothing can be served"):
        added_files(tmp_path)


def test_a_base_by_reference_is_found_in_the_workspace(referring, home, answers):
    write_mlmodel(referring)
    assert b"transformers:" not in (referring / "MLmodel").read_bytes()
    before = sorted(referring.rglob("*"))
    loaded = mlflow.pyfunc.load_model(str(referring))
    assert loaded.predict(PROMPTS, params={"max_new_tokens": 8}) == answers
    assert sorted(referring.rglob("*")) == before
    assert resolve_base(referring).is_relative_to(home / "cache")


def test_a_base_is_found_where_the_settings_or_the_environment_say(referring, home, tmp_path, monkeypatch):
    (home / "blobs").rename(tmp_path / "elsewhere")
    (home / "amends.toml").write_text('blobs = "{home}/../elsewhere"\n')
    assert (resolve_base(referring) / "config.json").exists()
    (home / "amends.toml").unlink()
    shutil.rmtree(home / "cache")
    monkeypatch.setenv("AMENDS_BLOBS", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("AMENDS_CACHE", str(tmp_path / "node"))
    assert resolve_base(referring).is_relative_to(tmp_path / "node")


@pytest.mark.parametrize("left", ["nothing", "another"])
def test_a_base_that_cannot_be_found_is_named_with_the_way_out(referring, home, left):
    shutil.rmtree(home / "blobs")
    if left == "another":
        LocalBlobs(home / "blobs").put_bytes(b"something else")
    with pytest.raises(BadInput, match="set AMENDS_HOME"):
        resolve_base(referring)


def test_a_base_that_is_linked_beside_a_version_needs_no_workspace(referring, home, tiny_version):
    (referring / "base").symlink_to(tiny_version / "model", target_is_directory=True)
    shutil.rmtree(home / "blobs")
    with completed(referring) as whole:
        assert whole == referring
    assert resolve_base(referring) == referring / "base"


def test_what_a_reference_borrowed_goes_with_the_loaded_model(referring, home, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    loaded = _load_pyfunc(str(referring))
    assert isinstance(loaded, Answering)
    borrowed = list(tmp_path.glob("amends-version-*"))
    assert any((folder / "base" / "config.json").exists() for folder in borrowed)
    del loaded
    assert not any(folder.exists() for folder in borrowed)


def test_every_lazy_name_of_serving_exists():
    assert all(callable(getattr(amends.serving, name)) for name in amends.serving.__all__)


@pytest.mark.slow
def test_a_registered_version_comes_back_byte_for_byte_and_loads_by_its_alias(version, answers, tmp_path, monkeypatch):
    before = read_manifest(version)
    write_mlmodel(version)
    was = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("test", artifact_location=(tmp_path / "artifacts").as_uri())
        logged = mlflow.initialize_logged_model(name="bot", experiment_id=experiment)
        client.log_model_artifacts(logged.model_id, str(version))
        mlflow.finalize_logged_model(logged.model_id, "READY")
        number = mlflow.register_model(f"models:/{logged.model_id}", "bot").version
        client.set_registered_model_alias("bot", "champion", number)
        pipeline = mlflow.transformers.load_model("models:/bot@champion")
        loaded = mlflow.pyfunc.load_model("models:/bot@champion")
        fetched = Path(mlflow.artifacts.download_artifacts("models:/bot@champion", dst_path=str(tmp_path / "back")))
    finally:
        mlflow.set_tracking_uri(was)
    assert loaded.predict(PROMPTS, params={"max_new_tokens": 8}) == answers
    assert torch.equal(pipeline.model.lm_head.weight, load_model(version)[0].lm_head.weight)
    added = (*ADDED, "registered_model_meta")
    assert {n: e for n, e in read_manifest(fetched).files.items() if not n.startswith(added)} == before.files


def test_what_attachments_may_be_asked_with_is_listed_with_its_defaults_and_types(version):
    (version / "attachments" / "dial").mkdir(parents=True)
    (version / "attachments" / "order.json").write_text('["dial"]')
    (version / "attachments" / "dial" / "settings.json").write_text('{"volume":3,"tone":0.5,"key":"minor"}')
    write_mlmodel(version)
    params = mlflow.models.Model.load(str(version / "MLmodel")).signature.params
    found = {param.name: (param.dtype.name, param.default) for param in params}
    assert found == {
        "max_new_tokens": ("long", 48), "volume": ("long", 3), "tone": ("double", 0.5), "key": ("string", "minor")
    }  # fmt: skip


def test_an_answer_is_streamed_through_mlflow(version):
    write_mlmodel(version)
    loaded = mlflow.pyfunc.load_model(str(version))
    (answer,) = loaded.predict(PROMPTS[:1], params={"max_new_tokens": 6})
    assert "".join(loaded.predict_stream({"prompt": PROMPTS[0]}, params={"max_new_tokens": 6})) == answer
    with pytest.raises(BadInput, match="2 prompts"):
        list(Answering(version).predict_stream(PROMPTS))
