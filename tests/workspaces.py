"""Workspaces and databases that are slow to make: each is made once in a run, and copied."""

from __future__ import annotations

import fcntl
import json
import os
import shutil

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


@pytest.fixture(scope="session", autouse=True)
def strong_hasher():
    """Return what hashes tokens; in tests they are hashed with little work, for each command looks one up."""
    from argon2 import PasswordHasher

    from amends.ledger import people

    with pytest.MonkeyPatch.context() as patch:
        strong = people._HASHER
        patch.setattr(people, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield strong


SETTINGS = 'scheduler = "inline"\njurisdiction = "DE"\ncpus = 1\n'


class Shell:
    """Runs commands on one workspace.

    Args:
        home: The workspace.
        tokens: By the names of its people.
        person: Who acts unless another is named.
    """

    def __init__(self, home, tokens, person):
        self.home, self.tokens, self.person = home, tokens, person

    def __call__(self, *arguments, as_=None, given=None, home=None):
        from click.testing import CliRunner

        from amends.cli.root import root

        token = self.tokens.get(self.person if as_ is None else as_, "")
        environment = {"AMENDS_HOME": str(home or self.home), "AMENDS_TOKEN": token}
        return CliRunner().invoke(root, [str(part) for part in arguments], env=environment, input=given)

    def json(self, *arguments, code=0, **more):
        """Run a command and return its one document."""
        done = self(*arguments, "--json", **more)
        assert done.exit_code == code, done.stderr
        return json.loads(done.stdout)

    def at(self, home, person=None):
        """Return a shell of the same people on a copy of the workspace."""
        return Shell(home, self.tokens, person or self.person)


def settle(home, admin, roles):
    """Make a workspace with its people, and return their tokens."""
    shell = Shell(home, {}, admin)
    shell.tokens[admin] = shell.json("init", "--admin", admin)["token"]
    (home / "amends.toml").write_text(SETTINGS)
    for name, role in roles.items():
        shell.tokens[name] = shell.json("people", "add", name, "--role", role)["token"]
    return shell.tokens


@pytest.fixture(scope="session")
def make_shell(built_once, fresh_mlflow):
    """Return `make_shell(home, admin, **roles) -> Shell`, which makes a workspace with its people.

    The same people are settled once and copied: their tokens and MLflow's tables take longer than most tests.
    """

    def make(home, admin, **roles):
        def build(folder):
            tokens = settle(folder / "home", admin, roles)
            shutil.copy(fresh_mlflow, folder / "home")
            (folder / "tokens.json").write_text(json.dumps(tokens))

        who = ".".join([admin, *(f"{name}-{role}" for name, role in roles.items())])
        template = built_once(f"settled-{who}", build)
        shutil.copytree(template / "home", home)
        return Shell(home, json.loads((template / "tokens.json").read_text()), admin)

    return make
