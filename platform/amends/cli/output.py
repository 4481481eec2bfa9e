"""Where answers, sentences and progress go: standard output for the answer, standard error for the rest."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amends.cli.progress import Progress
from amends.cli.tables import Table
from amends.errors import AmendsError, BadInput

if TYPE_CHECKING:
    from amends.governor.workspace import Workspace


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Say in one sentence that a file or directory cannot be written.

    Raises:
        BadInput: It cannot.
    """
    try:
        yield
    except OSError as error:
        raise BadInput(f"{place} cannot be written ({error.strerror}); name another place") from None


class Screen:
    """What one command shows.

    Args:
        as_json: Show one JSON document and neither sentences nor progress.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.progress = Progress(is_silent=as_json)

    def show(self, document: Any, *parts: str | Table) -> None:
        """Answer: the document as JSON, or else the parts that people read."""
        self.progress.stop()
        if self.as_json:
            click.echo(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False))
            return
        for part in parts:
            if isinstance(part, Table):
                part.show()
            else:
                click.echo(part)

    def say(self, sentence: str) -> None:
        """Say something on the way."""
        self.progress.say(sentence)

    def ask(self, question: str) -> bool:
        """Ask for a yes, on standard error so that the answer stays clean.

        Raises:
            BadInput: Nobody is there to answer.
        """
        self.progress.stop()
        try:
            return click.confirm(question, err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise BadInput("nobody is there to answer; give --yes") from None

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """Lend the workspace, with its sentences and progress shown here."""
        from amends.governor.workspace import open_workspace

        workspace = open_workspace()
        workspace.say, workspace.bar = self.say, self.progress.bar
        try:
            yield workspace
            workspace.deliver_news()
        except AmendsError:  # a case that waits or was denied is news as well
            workspace.deliver_news()
            raise
        finally:
            self.progress.stop()
            workspace.close()


def plain(value: Any) -> Any:
    """Return a value as JSON can say it: times as ISO text, paths as text, NaN as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def complain(error: Exception, as_json: bool, exit_code: int) -> None:
    """Write why a command stopped to standard error: one sentence, or one JSON object."""
    sentence = " ".join(_sentence(error).split())
    if as_json:
        known = {"error": sentence, "type": type(error).__name__, "exit_code": exit_code}
        click.echo(json.dumps(known, ensure_ascii=False), err=True)
    else:
        click.echo(f"error: {sentence}", err=True)


def _sentence(error: Exception) -> str:
    """Return what may be shown of an error; the words of an unexpected one could be anybody's."""
    if isinstance(error, AmendsError):
        return str(error)
    if isinstance(error, click.ClickException):
        return error.format_message()
    return f"something unexpected happened ({type(error).__name__}); set AMENDS_DEBUG=1 and run it again to see where"
