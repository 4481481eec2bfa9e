"""MLflow as registry and mirror: byte-exact, never twice, really purged, and its traps avoided."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import event

from amends.errors import BadInput, Broken, Denied, DigestMismatch, UnknownModel
from amends.ledger import checkpoints
from amends.ledger.registry import DIGEST, KEY, MODELS, Registry
from amends.ledger.uploads import tree_of
from amends.records import Reading
from amends.store.trees import read_manifest

MARK = "0123456789abcdef" * 2  # found by a scan of MLflow's database while its version lives


@pytest.fixture
def registry(fresh_mlflow, tmp_path):
    shutil.copy(fresh_mlflow, tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def make_version(tmp_path):
    """Return `make_version(name, weights) -> (directory, manifest)`, a tree with an MLmodel beside it."""

    def make(name="version", weights=b"\x00\x01weights"):
        directory = tmp_path / name
        (directory / "model").mkdir(parents=True)
        (directory / "attachments" / "shards").mkdir(parents=True)
        (directory / "model" / "model.safetensors").write_bytes(weights * 1000)
        (directory / "attachments" / "shards" / "a.json").write_text("{}")
        (directory / "recipe.json").write_text('{"steps":[]}')
        manifest = read_manifest(directory)
        (directory / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: amends.serving.flavor\n")
        return directory, manifest

    return make


def register(registry, made, key="case-1/register", name="assistant"):
    return registry.register_version(name, *made, key=key, tags={"amends.case": MARK})


def check_registry(registry, make_version, tmp_path):
    """Walk the whole contract; both kinds of MLflow must pass it."""
    made = make_version()
    first = register(registry, made)
    assert register(registry, made) == first == registry.get_version("assistant", 1)
    registry.set_alias("assistant", "champion", 1, None)
    second = register(registry, make_version("second", b"other"), key="case-2/register")
    assert (first.version, second.version) == (1, 2)
    manifest = registry.download("assistant", 1, tmp_path / "back", made[1].digest)
    assert manifest == made[1]
    assert {p: (tmp_path / "back" / p).read_bytes() for p in manifest.files} == {
        p: (made[0] / p).read_bytes() for p in manifest.files
    }
    with pytest.raises(Denied, match="is champion and cannot be purged"):
        registry.purge_version("assistant", 1)
    registry.set_alias("assistant", "champion", 2, 1)
    evidence = registry.purge_version("assistant", 1)
    assert (evidence["files"], evidence["files_left"], evidence["was_gone"]) == (4, 0, False)
    again = registry.purge_version("assistant", 1, uri=first.uri)
    assert (again["files"], again["files_left"], again["was_gone"], again["tags"]) == (0, 0, True, [])
    assert registry.download("assistant", 2, tmp_path / "kept").digest == second.digest
    assert registry.alias("assistant", "champion") == 2
    for _ in range(2):
        run = registry.log_case("case-1", "erasure", step="measure", before=[Reading("p/x", 0.5)], artifacts=made[0])
        registry.log_dataset("people", MARK * 2, "amends:records")
    assert [
        len(registry.client.search_runs([registry.experiment(f"amends/{kind}")])) for kind in ("erasure", "data")
    ] == [2, 1]
    assert len(registry.client.get_metric_history(run, "p/x")) == 1


def test_a_database_beside_us_keeps_the_contract(registry, make_version, tmp_path):
    check_registry(registry, make_version, tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory, fresh_mlflow):
    """Run an MLflow server with one worker and return its address."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(fresh_mlflow, folder / "m.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *places]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=quiet, cwd=folder, start_new_session=True)
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_healthy(address):
    from urllib3 import PoolManager, Retry

    patient = Retry(connect=None, total=200, backoff_factor=1, backoff_max=1, status_forcelist=[503])
    assert PoolManager(retries=patient, timeout=5).request("GET", f"{address}/health").status == 200


@pytest.mark.slow
def test_a_server_over_http_keeps_the_same_contract(server, make_version, tmp_path):
    check_registry(Registry(server), make_version, tmp_path)


class Interrupted(BaseException):
    """Stands for the death of the process."""


class Dying:
    """A client of MLflow's, and a process that dies right after its nth call that writes, to whichever client."""

    WRITES = ("create_", "log_", "finalize_", "set_", "delete_")

    def __init__(self, client, left):
        self.client, self.left = client, left

    def __getattr__(self, name):
        method = getattr(self.client, name)
        if not name.startswith(self.WRITES):
            return method

        def call(*args, **kwargs):
            answer = method(*args, **kwargs)
            if next(self.left) == 1:
                raise Interrupted
            return answer

        return call


def die_after(registry, calls):
    dying, left = Registry(registry.uri), count(calls, -1)
    dying._client = Dying(registry.client, left)
    dying.versions = Dying(registry.versions, left)
    return dying


def test_a_death_between_any_two_calls_leaves_one_version(registry, make_version):
    made = make_version()
    for calls in range(1, 20):
        name = f"bot-{calls}"
        try:
            register(die_after(registry, calls), made, key=f"{name}/register", name=name)
        except Interrupted:
            pass
        else:
            break
        found = register(registry, made, key=f"{name}/register", name=name)
        assert found.version == 1
        assert len(registry.client.search_model_versions(f"name = '{name}'")) == 1
        mine = registry.client.search_logged_models([registry.experiment(MODELS)], f"tags.`{KEY}` = '{name}/register'")
        assert [(model.model_id, str(model.status)) for model in mine] == [(found.model_id, "READY")]
    assert calls > 4


def test_half_an_upload_is_done_again(registry, make_version, tmp_path):
    made = make_version()
    with pytest.raises(Interrupted):
        register(die_after(registry, 2), made)  # the experiment and the logged model are there, the files are not
    (model,) = registry.client.search_logged_models([registry.experiment(MODELS)])
    half = Path(model.artifact_location.removeprefix("file://"))
    half.mkdir(parents=True)
    (half / "recipe.json").write_text("half")
    (half / "left-over").write_text("from before")
    register(registry, made)
    assert registry.download("assistant", 1, tmp_path / "back") == made[1]


def test_writing_a_tag_reads_one_version_however_many_the_model_has(registry, make_version):
    for number in (1, 2, 3):
        register(registry, make_version(f"v{number}", str(number).encode()), key=f"case-{number}")
    read = []
    mlflow = registry.versions.store.engine
    event.listen(mlflow, "before_cursor_execute", lambda *call: read.append(call[2]))
    registry.put_tag("assistant", 2, "amends.case", "another")
    (looked,) = (sql for sql in read if "FROM model_versions" in sql)
    assert "model_versions.version = " in looked
    assert registry.client.get_model_version("assistant", "2").tags["amends.case"] == "another"


def test_a_death_between_any_two_calls_of_a_purge_leaves_nothing(registry, make_version):
    made = make_version()
    for calls in range(1, 30):
        name = f"bot-{calls}"
        place = register(registry, made, key=f"{name}/register", name=name).uri
        try:
            die_after(registry, calls).purge_version(name, 1, uri=place)
        except Interrupted:
            pass
        else:
            break
        assert registry.purge_version(name, 1, uri=place)["files_left"] == 0
        assert registry.find_version(name, f"{name}/register") is None
        assert registry.client.search_logged_models([registry.experiment(MODELS)]) == []
    assert calls > 4


def test_a_purge_leaves_no_tag_and_no_file_and_takes_nothing_of_others(registry, make_version, tmp_path):
    gone = register(registry, make_version())
    kept = registry.register_version("assistant", *make_version("kept"), key="kept", tags={"amends.case": "f00d" * 8})
    registry.purge_version("assistant", gone.version)
    registry.vacuum()
    left = (tmp_path / "mlflow.db").read_bytes()
    assert b"f00d" * 8 in left
    assert MARK.encode() not in left and b"case-1/register" not in left
    assert not Path(gone.uri.removeprefix("file://")).exists()
    assert registry.get_version("assistant", kept.version) == kept


def test_a_deleted_versions_number_is_not_used_again(registry, make_version):
    register(registry, make_version())
    registry.purge_version("assistant", 1)
    assert register(registry, make_version("again"), key="next").version == 2


def test_files_that_are_gone_are_not_an_empty_success(registry, make_version, tmp_path):
    shutil.rmtree(register(registry, make_version()).uri.removeprefix("file://"))
    with pytest.raises(Broken, match="has no files of assistant@1"):
        registry.download("assistant", 1, tmp_path / "back")


def test_a_changed_weight_file_is_refused(registry, make_version, tmp_path):
    weights = Path(register(registry, make_version()).uri.removeprefix("file://")) / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(DigestMismatch, match=r"files of assistant@1 in MLflow were changed"):
        registry.download("assistant", 1, tmp_path / "back")


def test_a_number_that_starts_again_does_not_stand_for_the_old_version(registry, make_version, tmp_path):
    first = register(registry, make_version())
    registry.client.delete_registered_model("assistant")
    second = register(registry, make_version("second", b"other"), key="other")
    assert first.version == second.version == 1
    with pytest.raises(DigestMismatch):
        registry.download("assistant", 1, tmp_path / "back", first.digest)


def test_an_alias_that_was_moved_outside_is_not_moved_over(registry, make_version):
    for number in (1, 2, 3):
        register(registry, make_version(f"v-{number}"), key=f"v-{number}")
    assert registry.alias("assistant", "champion") is None
    registry.set_alias("assistant", "champion", 1, None)
    registry.client.set_registered_model_alias("assistant", "champion", "3")
    with pytest.raises(Denied, match="moved in MLflow to 3, outside Amends"):
        registry.set_alias("assistant", "champion", 2, 1)
    registry.set_alias("assistant", "champion", 3, 1)
    assert registry.alias("assistant", "champion") == 3


def test_unknown_versions_are_named(registry, tmp_path):
    with pytest.raises(UnknownModel, match="MLflow has no assistant@1"):
        registry.download("assistant", 1, tmp_path / "back")
    assert registry.purge_version("assistant", 1)["was_gone"]
    assert registry.find_version("assistant", "key") is None


BAD = {
    "a file too many": (lambda d: (d / "extra.json").write_text("{}"), "files of its manifest"),
    "a file changed": (lambda d: (d / "recipe.json").write_text("{}"), "files of its manifest"),
    "no MLmodel": (lambda d: (d / "MLmodel").unlink(), "no MLmodel"),
    "a linked base": (lambda d: (d / "base").symlink_to(d / "model"), "links its base"),
    "a pickle": (lambda d: (d / "model" / "x.pkl").write_bytes(b""), "pickle"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_directory_that_is_not_the_tree_is_refused(registry, make_version, bad):
    directory, manifest = make_version()
    bad[0](directory)
    with pytest.raises(BadInput, match=bad[1]):
        registry.register_version("assistant", directory, manifest, key="k")
    assert registry.client.search_registered_models() == []


def test_an_id_that_would_break_out_of_a_filter_is_refused(registry, make_version):
    with pytest.raises(BadInput, match="an id for MLflow"):
        register(registry, make_version(), key="x' or name = 'y")


def test_what_mlflow_adds_is_no_part_of_the_tree(make_version):
    directory, manifest = make_version()
    (directory / "registered_model_meta").write_text("model_name: assistant")
    assert tree_of(directory) == manifest


def test_a_case_is_one_run_with_a_nested_run_for_each_step(registry, tmp_path):
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "plot.svg").write_text("<svg/>")
    before = [Reading("unlearning.membership/auc loss", 0.81, 0.7, 0.9)]
    after = [Reading("unlearning.membership/auc loss", 0.5), Reading("utility.perplexity/mean", 12.0)]
    for _ in range(2):
        case = registry.log_case("case-1", "erasure", description="[case-1](/cases/case-1)", status="FINISHED")
        step = registry.log_case(
            "case-1", "erasure", step="measure", before=before, after=after, metrics={"seconds": 4.5},
            tags={"amends.digest": MARK}, artifacts=tmp_path / "evidence",
        )  # fmt: skip
    client = registry.client
    assert len(client.search_runs([registry.experiment("amends/erasure")])) == 2
    run = client.get_run(step)
    assert run.data.tags["mlflow.parentRunId"] == case
    assert run.data.tags["amends.digest"] == MARK
    name = "unlearning.membership/auc_loss"
    points = client.get_metric_history(step, name)
    assert sorted((point.step, point.value) for point in points) == [(0, 0.81), (1, 0.5)]
    assert set(run.data.metrics) == {name, f"{name}.low", f"{name}.high", "utility.perplexity/mean", "seconds"}
    assert [file.path for file in client.list_artifacts(step)] == ["plot.svg"]
    assert client.get_run(case).info.status == "FINISHED"


def test_more_readings_than_one_batch_takes_are_all_written(registry):
    after = [Reading(f"probe/{number}", float(number)) for number in range(1200)]
    run = registry.log_case("case-1", "erasure", step="measure", after=after)
    assert len(registry.client.get_run(run).data.metrics) == 1200


def test_a_dataset_is_entered_once_with_its_whole_digest(registry):
    runs = {registry.log_dataset("people", MARK * 2, "amends:records") for _ in range(2)}
    (run,) = runs
    (entered,) = registry.client.get_run(run).inputs.dataset_inputs
    assert (entered.dataset.name, entered.dataset.digest) == ("people", (MARK * 2)[:36])
    assert registry.client.get_run(run).data.tags[DIGEST] == MARK * 2


def test_checkpoints_lie_in_mlflow_too(registry, database, keyring):
    from amends.ledger import audit
    from amends.ledger.actions import Action

    signed = []
    for number in range(2):
        with database.transaction() as connection:
            audit.append(connection, id=f"e-{number}", actor="p", action=Action.CASE_STARTED, body={})
            signed.append(checkpoints.checkpoint(connection, keyring).envelope)
        for _ in range(2):
            registry.mirror_checkpoint(signed[-1])
    assert list(registry.mirrored_checkpoints()) == signed


def test_the_address_stays_out_of_the_environment(registry, make_version):
    import mlflow

    before = mlflow.get_tracking_uri()
    register(registry, make_version())
    registry.log_case("case-1", "erasure")
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.get_tracking_uri() == before
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert str(registry.uri) not in repr(registry)


def test_a_server_that_does_not_answer_is_a_sentence(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(BadInput, match="MLflow server does not answer"):
        Registry("http://127.0.0.1:9").alias("assistant", "champion")


def test_a_deleted_experiment_is_named(registry):
    registry.client.delete_experiment(registry.experiment("amends/erasure"))
    with pytest.raises(BadInput, match="'amends/erasure' was deleted; restore it"):
        registry.log_case("case-1", "erasure")


def test_another_database_needs_a_place_for_artifacts():
    with pytest.raises(BadInput, match="needs an artifact root"):
        Registry("postgresql://someone@127.0.0.1/mlflow")


@pytest.mark.slow
def test_a_plain_client_finds_the_champion(registry, make_version, tmp_path):
    register(registry, make_version())
    registry.set_alias("assistant", "champion", 1, None)
    code = "import mlflow, sys; mlflow.artifacts.download_artifacts(sys.argv[1], dst_path=sys.argv[2])"
    place = {**os.environ, "MLFLOW_TRACKING_URI": registry.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    (tmp_path / "plain").mkdir()
    command = [sys.executable, "-c", code, "models:/assistant@champion", str(tmp_path / "plain")]
    subprocess.run(command, check=True, env=place, cwd=tmp_path)
    assert tree_of(tmp_path / "plain").digest == registry.get_version("assistant", 1).digest
