"""The command line starts light, is whole, and turns every error into one sentence and an exit code."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from amends import host
from amends.cli import root as roots
from amends.cli.verbs import Group, Verb
from amends.errors import Denied, Waiting

HEAVY = ["torch", "transformers", "ray", "mlflow", "sentence_transformers", "pydantic", "sqlalchemy", "dbos", "peft"]
HEAVY += ["rich", "numpy", "cryptography", "cel_expr_python"]
LIGHT = ["--help", "plugins", "operations", "operations training.shards", "probes", "version"]
LIGHT += ["cases --help", "erase --help", "train --help", "policy check --help"]


def commands(command=None, path=()):
    """Yield every command that is ours with its path, groups left out."""
    command = command or roots.root
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command, info_name="amends")
    for name in list(command.commands):
        yield from commands(command.get_command(context, name), (*path, name))


OURS = {path: command for path, command in commands() if path != ("demo",)}


def loaded_after(*arguments):
    """Return which heavy modules a process has after a command."""
    code = (
        "import json, sys\n"
        "from amends.cli.root import root\n"
        f"sys.argv = ['amends', *{list(arguments)!r}]\n"
        "try:\n    root.main(prog_name='amends')\n"
        f"finally:\n    sys.stderr.write(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stderr)


@pytest.mark.parametrize("line", LIGHT)
def test_looking_around_imports_nothing_heavy(line):
    assert loaded_after(*line.split()) == []


def test_every_command_takes_json_and_shows_an_example():
    assert len(OURS) > 40
    for path, command in OURS.items():
        if isinstance(command, Verb):
            assert any("--json" in parameter.opts for parameter in command.params), path
            assert command.example.startswith(f"amends {' '.join(path)}"), path
            assert command.help, path


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_help_shows_an_example_that_parses(path):
    command = OURS[path]
    shown = CliRunner().invoke(roots.root, [*path, "--help"])
    assert shown.exit_code == 0, shown.output
    if isinstance(command, Verb):
        assert command.example in shown.output
        words = shlex.split(command.example.partition("<")[0])[1 + len(path) :]
        command.make_context(path[-1], words)


def test_the_root_help_names_every_command():
    shown = CliRunner().invoke(roots.root, ["--help"]).output
    for name in roots.root.commands:
        assert f"  {name} " in shown


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["cases", "nonsense"], ["models", "show"], ["erase", "--nonsense"]]
)
def test_a_usage_error_is_one_sentence_and_two(arguments):
    done = CliRunner().invoke(roots.root, arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_with_json_an_error_is_one_object_on_standard_error():
    done = CliRunner().invoke(roots.root, ["operations", "no.such", "--json"])
    assert done.exit_code == 2
    assert done.stdout == ""
    said = json.loads(done.stderr)
    assert said["type"] == "UnknownOperation" and said["exit_code"] == 2


def failing_root(error):
    """Return a root with one command that fails so."""
    root = roots.Root()

    @click.command("fail")
    def fail():
        raise error

    root.add_command(fail)
    return root


@pytest.mark.parametrize(
    ("error", "code"),
    [(Denied("no, ask a dpo"), 1), (Waiting("Dora has to act"), 3), (KeyboardInterrupt(), 130)],
    ids=str,
)
def test_every_kind_of_error_has_its_exit_code(error, code):
    assert CliRunner().invoke(failing_root(error), ["fail"]).exit_code == code


def test_an_unexpected_error_is_named_by_its_type_and_not_by_its_words(monkeypatch):
    monkeypatch.delenv("AMENDS_DEBUG", raising=False)
    done = CliRunner().invoke(failing_root(KeyError("Ada Quill")), ["fail"])
    assert done.exit_code == 1
    assert "KeyError" in done.stderr and "Ada" not in done.stderr and "Traceback" not in done.stderr


def test_a_traceback_is_shown_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("AMENDS_DEBUG", "1")
    assert "Traceback" in CliRunner().invoke(failing_root(KeyError("x")), ["fail"]).stderr


def plugin_that_adds(*added):
    """Return a plugin whose hook adds commands to the root, or to a group in it."""

    class Plugin:
        @staticmethod
        @host.hookspecs.hookimpl
        def amends_commands(cli):
            for where, name in added:
                parent = cli.commands[where] if where else cli
                assert isinstance(parent, click.Group)
                parent.add_command(click.Command(name, callback=lambda: click.echo("from the plugin")))

    return Plugin


@pytest.fixture
def use_plugin(monkeypatch):
    """Return a function that makes a plugin the only one of this process, and gives a fresh root."""

    def use(plugin):
        monkeypatch.setattr(host, "_HOST", [host.load([("third", plugin)])])
        return roots.Root()

    return use


def test_a_plugin_adds_commands_to_the_root_and_to_a_group(use_plugin):
    root = use_plugin(plugin_that_adds(("", "greet"), ("data", "weave")))
    assert "greet" in CliRunner().invoke(root, ["--help"]).output
    assert CliRunner().invoke(root, ["greet"]).output == "from the plugin\n"
    assert CliRunner().invoke(root, ["data", "weave"]).output == "from the plugin\n"


def test_a_plugin_adds_its_commands_to_every_root_of_a_process(use_plugin):
    use_plugin(plugin_that_adds(("", "greet")))
    for _ in range(50):  # where one root is gone, the next may lie at its place in memory
        assert CliRunner().invoke(roots.Root(), ["greet"]).output == "from the plugin\n"


def test_a_plugin_is_found_by_a_group_that_is_loaded_already(use_plugin):
    root = use_plugin(plugin_that_adds(("data", "weave")))
    assert CliRunner().invoke(root, ["data", "list", "--help"]).exit_code == 0
    assert CliRunner().invoke(root, ["data", "weave"]).output == "from the plugin\n"


@pytest.mark.parametrize("place", [("", "erase"), ("data", "register")], ids=["root", "group"])
def test_a_plugin_replaces_none_of_our_commands(use_plugin, place):
    root = use_plugin(plugin_that_adds(place))
    assert CliRunner().invoke(root, ["--help"]).exit_code == 0
    path = [name for name in place if name]
    assert "from the plugin" not in CliRunner().invoke(root, path).output


def test_a_group_refuses_a_second_command_of_a_name():
    group = Group("g")
    group.add_command(click.Command("a"))
    with pytest.raises(ValueError, match="'a' already"):
        group.add_command(click.Command("a"))


def test_a_broken_plugin_leaves_help_and_plugins_working(monkeypatch):
    class Broken:
        @staticmethod
        @host.hookspecs.hookimpl
        def amends_nonsense():
            return ()

    monkeypatch.setattr(host, "_HOST", [host.load([("third", Broken)])])
    assert CliRunner().invoke(roots.Root(), ["--help"]).exit_code == 0
    listed = json.loads(CliRunner().invoke(roots.Root(), ["plugins", "--json"]).stdout)
    assert "nonsense" in listed[0]["broken"]
    refused = CliRunner().invoke(roots.Root(), ["operations", "training.shards"])
    assert refused.exit_code == 1 and "broken" in refused.stderr


def test_the_entry_point_leaves_with_the_exit_code(tmp_path):
    environment = {**os.environ, "AMENDS_HOME": str(tmp_path / "nowhere")}
    done = subprocess.run(
        [sys.executable, "-m", "amends", "people", "list"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2
    assert "amends init" in done.stderr
