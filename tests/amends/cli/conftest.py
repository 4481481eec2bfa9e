"""A shell that runs commands in this process, as one person or another, on one workspace."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from amends.cli.root import root

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


@pytest.fixture(scope="session")
def make_shell():
    """Return `make_shell(home, admin, **roles) -> Shell`, which makes a workspace with its people."""

    def make(home, admin, **roles):
        made = CliRunner().invoke(root, ["init", "--admin", admin, "--json"], env={"AMENDS_HOME": str(home)})
        assert made.exit_code == 0, made.stderr
        shell = Shell(home, {admin: json.loads(made.stdout)["token"]}, admin)
        (home / "amends.toml").write_text(SETTINGS)
        for name, role in roles.items():
            shell.tokens[name] = shell.json("people", "add", name, "--role", role)["token"]
        return shell

    return make
