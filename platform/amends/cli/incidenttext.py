"""Incidents as people hand them in, and as they are shown to who may see what they say."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput

if TYPE_CHECKING:
    pass

LONGEST = 64 * 1024  # bytes of a text


def read_incidents(
    prompt: str | None, file: Path | None, bad: Path | None, expected: str, answer: Path | None, continued: bool
) -> list[dict[str, Any]]:
    """Return the incidents that somebody hands in: those of a file, or the one of a prompt.

    Raises:
        BadInput: There is neither a prompt nor a file, or both, or a text cannot be read.
    """
    if (prompt is None) == (file is None):
        raise BadInput("give either --prompt, a file or - for standard input, or --file with an incident a line")
    if file is not None:
        if bad is not None or answer is not None or continued or expected != "not-bad":
            raise BadInput("--file says all of its incidents itself; leave the other options out")
        return _rows(file)
    return [
        {
            "prompt": _text(str(prompt), "prompt"),
            "bad": "" if bad is None else _text(str(bad), "bad output"),
            "expected": expected if answer is None else f"text:{_text(str(answer), 'answer')}",
            "form": "text" if continued else "question",
        }
    ]


def shown(row: Mapping[str, Any], sees: bool) -> dict[str, Any]:
    """Return what is shown of an incident: of its texts nothing, unless somebody may see them."""
    expected = str(row.get("expected", ""))
    kind = expected if sees else expected.partition(":")[0]
    added = datetime.fromtimestamp(row.get("added", 0) / 1000, UTC)
    known = {
        "id": row["id"],
        "expected": kind,
        "form": row.get("form", "question"),
        "added": f"{added:%Y-%m-%d %H:%M}Z",
    }
    return {**known, "prompt": row["prompt"], "bad": row.get("bad", "")} if sees else known


def _rows(file: Path) -> list[dict[str, Any]]:
    from amends.governor.data.rawfiles import read_objects

    return [row for _, row in read_objects(file)]


def _text(where: str, what: str) -> str:
    if where != "-" and not Path(where).is_file():
        raise BadInput(f"the {what} is never given as an argument; name a file that exists, or write --prompt -")
    try:
        with nullcontext(sys.stdin.buffer) if where == "-" else Path(where).open("rb") as stream:
            data: bytes = stream.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise BadInput(f"the {what} is longer than {LONGEST} bytes; shorten it")
        return data.decode().strip()
    except OSError as error:
        raise BadInput(f"the {what}'s file cannot be read ({error.strerror}); name another") from None
    except UnicodeDecodeError:
        raise BadInput(f"the {what} is not UTF-8; save it as UTF-8") from None
