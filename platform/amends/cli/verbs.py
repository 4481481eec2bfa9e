"""What every command of Amends is: a function of a screen, with `--json` and an example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import click

from amends.cli.output import Screen


class Verb(click.Command):
    """A command that is given a `Screen` first and may return an exit code.

    Args:
        example: A line that works, shown by `--help`.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params.append(click.Option(["--json", "as_json"], is_flag=True, help="Show one JSON document."))

    def invoke(self, ctx: click.Context) -> Any:
        """Call the function with a screen and the parsed arguments."""
        screen = Screen(ctx.params.pop("as_json"))
        try:
            return ctx.invoke(self.callback, screen, **ctx.params) if self.callback else None
        finally:
            screen.progress.stop()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the example."""
        with formatter.section("Example"):
            formatter.write(f"{'':>{formatter.current_indent}}{self.example}\n")


class Group(click.Group):
    """Commands that belong together; plugins may add to it, and never replace anything.

    Args:
        default: The command that options without one are read as, or empty.
    """

    def __init__(self, *args: Any, default: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read options that stand where a command's name should as those of the default."""
        if self.default and args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def verb(self, name: str, *, example: str) -> Callable[[Callable[..., Any]], click.Command]:
        """Declare a function as one of this group's commands."""

        def declare(function: Callable[..., Any]) -> click.Command:
            command = verb(name, example=example)(function)
            self.add_command(command)
            return command

        return declare

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command.

        Raises:
            ValueError: There is one of that name.
        """
        name = name or cmd.name or ""
        if name in self.commands:
            raise ValueError(f"there is a command {name!r} already")
        super().add_command(cmd, name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, asking the plugins where it is not one of ours."""
        if cmd_name not in self.commands:
            gather(ctx)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of their declaration, the plugins' last."""
        gather(ctx)
        return list(self.commands)


def verb(name: str, *, example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Declare a function as a command."""
    return click.command(name, cls=Verb, example=example)


def group(name: str, help: str, *, default: str = "", short_help: str | None = None) -> Group:
    """Return an empty group of commands; options without a command are the default's, where there is one."""
    return Group(name, help=help, short_help=short_help, no_args_is_help=True, default=default)


_GATHERED: WeakSet[click.Group] = WeakSet()  # by the roots themselves: a number of one that is gone may come back


def gather(ctx: click.Context) -> None:
    """Let every plugin add its commands to the root, once; a plugin that cannot leaves ours working."""
    root = ctx.find_root().command
    if not isinstance(root, click.Group) or root in _GATHERED:
        return
    _GATHERED.add(root)
    from amends import host

    try:
        host.current().add_commands(root)
    except Exception as error:
        click.echo(f"warning: a plugin could not add its commands ({type(error).__name__}: {error})", err=True)
