"""The root of the command line: names and short helps, and the modules that hold the rest."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import click

from amends.cli.output import complain
from amends.cli.verbs import Group, gather
from amends.errors import AmendsError

HELP = """Put a trained language model right, and prove it.

Each command has `--help` with an example, and `--json` for one JSON document. AMENDS_HOME says where the workspace
is (./.amends), AMENDS_TOKEN who acts. Exit codes: 0 done, 1 denied or failed, 2 bad input, 3 waiting for someone.
"""

SECTIONS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Workspace": (
        ("init", "home", "Make a workspace and its first admin."),
        ("doctor", "home", "Say what is configured, what is broken, and how to mend it."),
        ("people", "people:", "Who may do what."),
        ("keys", "keys:", "The keys that sign."),
        ("backup", "home", "Write the whole workspace into one file."),
        ("restore", "home", "Make a workspace from a backup, without whom was erased since."),
        ("demo", "demo", "Tell the whole story on a small real model."),
        ("version", "home", "Say which Amends this is."),
    ),
    "Models and data": (
        ("models", "models:", "Import, list, show, describe, export and prune models."),
        ("data", "data:", "Register training data that knows whose it is."),
        ("train", "train", "Train a model so that erasure can be exact."),
        ("ask", "ask", "Ask a model a question."),
        ("promote", "promote", "Move an alias to a version, as the policy allows."),
        ("rollback", "promote", "Move an alias back to where it stood."),
        ("incidents", "incidents:", "Keep what a model said wrong, and ask it again before any alias moves."),
        ("aliases", "aliases:", "Find what moved in MLflow behind Amends' back, and put it back."),
    ),
    "Requests": (
        ("erase", "erase", "Open an erasure request."),
        ("cases", "cases:", "Follow, review, approve and carry out requests."),
        ("work", "work", "Carry out whatever is pending, and finish what a crash interrupted."),
    ),
    "Evidence": (
        ("policy", "policy:", "Read, check, test, explain and replay policies."),
        ("audit", "audit:", "Read, verify and export the audit log."),
        ("certificate", "certificate:", "List, show and verify certificates and receipts."),
        ("bundle", "bundle:", "Hand a case out to be verified offline, or take one in."),
        ("webhooks", "webhooks:", "Tell other systems of what happens."),
    ),
    "Plugins": (
        ("plugins", "offers", "List the plugins and whether they are sound."),
        ("operations", "offers", "List the operations, or show one with its parameters."),
        ("probes", "offers", "List the probes, or show one with its parameters."),
    ),
}


class Later(Group):
    """A command whose module is imported when it is needed; meanwhile plugins can add to it."""

    def __init__(self, name: str, module: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help, help=short_help)
        self.module = module.rstrip(":")

    def load(self) -> click.Command:
        """Import the command, with what plugins added."""
        found: click.Command = getattr(import_module(f"amends.cli.{self.module}"), self.name or "")
        if isinstance(found, click.Group):
            for name in self.commands.keys() - found.commands.keys():  # ours win
                found.add_command(self.commands[name])
        return found


class Root(Group):
    """The command `amends`."""

    def __init__(self) -> None:
        super().__init__("amends", help=HELP, no_args_is_help=True)
        for rows in SECTIONS.values():
            for name, module, short_help in rows:
                self.add_command(Later(name, module, short_help))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module."""
        found = super().get_command(ctx, cmd_name)
        if isinstance(found, Later):
            found = self.commands[cmd_name] = found.load()
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the commands by what they are for, importing none of them."""
        gather(ctx)
        left = dict(self.commands)
        for title, rows in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, short_help) for name, _, short_help in rows if left.pop(name)])
        if left:
            with formatter.section("From plugins"):
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in left.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and leave with an exit code: 0 done, 1 denied or failed, 2 bad input, 3 waiting for someone."""
        given = list(sys.argv[1:] if args is None else args)
        run = partial(super().main, given, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        sys.exit(_guarded(run, "--json" in given))


def _guarded(run: Callable[[], Any], as_json: bool) -> int:
    try:
        answer = run()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except Exception as error:
        code = error.exit_code if isinstance(error, AmendsError | click.ClickException) else 1
        if os.environ.get("AMENDS_DEBUG") == "1":
            traceback.print_exc()
        complain(error, as_json, code)
        return code
    return answer if isinstance(answer, int) else 0


root = Root()
