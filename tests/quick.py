"""What makes many tests quick: what is slow to build is built once in a run, and nobody waits for the disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from contextlib import contextmanager

import pytest


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    """Return `built_once(name, build) -> folder`: `build(folder)` fills it, unless another worker of this run has.

    Its files are for copying: whoever changes them changes them for every worker.
    """
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "built"

    def once(name, build):
        folder, done = shared / name, shared / f"{name}.done"
        shared.mkdir(exist_ok=True)
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                build(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def fresh_mlflow(built_once):
    """Return an empty MLflow database; its migrations take seconds, so tests copy this one."""

    def build(folder):
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return built_once("mlflow", build) / "mlflow.db"


class Unsynced:
    """Lets SQLite write without waiting for the disk: tests kill processes, and no machine."""

    def __init__(self) -> None:
        self.is_on = True

    def __call__(self, driver, _record):
        if self.is_on and isinstance(driver, sqlite3.Connection):
            driver.execute("PRAGMA synchronous = OFF")

    @contextmanager
    def off(self):
        """Let connections be opened as they are without this."""
        self.is_on = False
        yield
        self.is_on = True


@pytest.fixture(scope="session", autouse=True)
def unsynced():
    """Let no SQLite that is opened through SQLAlchemy in this process wait for the disk."""
    from sqlalchemy import Engine, event

    unsynced = Unsynced()
    event.listen(Engine, "connect", unsynced)
    yield unsynced
    event.remove(Engine, "connect", unsynced)
