"""A guarded registry: a store in this process, and an MLflow server that runs on one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from amends.ledger.guard import open_store
from amends.ledger.guard.writing import Permits
from amends.ledger.registry import Registry
from amends.store.trees import read_manifest
from amends.vault.keys import Keyring

ROOT = Path(__file__).parents[3]
GROUP = "mlflow.model_registry_store"
HERE = Path(__file__).parent


def beside(name):
    """Load a file of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"guard_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


beside("permitting")


@pytest.fixture(scope="session")
def guarded_database(database_kind, tmp_path_factory, request):
    """Return `guarded_database(folder) -> URL`: a copy of a registry with two versions of `bot`, for one test.

    Its migrations take seconds, so they are run once on each kind of database.
    """
    whole = tmp_path_factory.mktemp("guarded") / "mlflow.db"
    is_file = database_kind == "sqlite"
    make_postgres = None if is_file else request.getfixturevalue("make_postgres")
    place = f"sqlite:///{whole}" if is_file else make_postgres()
    store = open_store(f"amends+{place}")
    store.create_registered_model("bot")
    for number in (1, 2):
        store.create_model_version("bot", f"s3://files/{number}")
    store.engine.dispose()

    def copied(folder):
        return f"sqlite:///{shutil.copy(whole, folder)}" if is_file else make_postgres(template=place)

    return copied


@pytest.fixture
def public_keys(keyring, tmp_path, monkeypatch):
    """Configure the registry with the workspace's public keys, and return their directory."""
    directory = keyring.public_directory(tmp_path / "public")
    monkeypatch.setenv("AMENDS_REGISTRY_KEY", str(directory))
    return directory


@pytest.fixture
def store(guarded_database, public_keys, tmp_path):
    opened = open_store(f"amends+{guarded_database(tmp_path)}")
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="module")
def server(database_kind, tmp_path_factory, fresh_mlflow, request):
    """Run an MLflow server with two workers on a guarded registry; return its address and the keyring it trusts."""
    folder = tmp_path_factory.mktemp("guarded-server")
    shutil.copy(fresh_mlflow, folder / "m.db")
    keyring = Keyring.create(folder / "keys")
    (folder / "amends_guard-1.0.dist-info").mkdir()
    (folder / "amends_guard-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: amends-guard\nVersion: 1.0\n"
    )
    points = f"[{GROUP}]\namends+{database_kind} = amends.ledger.guard:open_store\n"
    (folder / "amends_guard-1.0.dist-info" / "entry_points.txt").write_text(points)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = f"sqlite:///{folder}/m.db" if database_kind == "sqlite" else request.getfixturevalue("make_postgres")()
    places = ["--backend-store-uri", where, "--registry-store-uri", f"amends+{where}"]
    places += ["--artifacts-destination", "files"]
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
