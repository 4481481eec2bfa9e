"""Read whom a request is about: from standard input, a file or a hidden prompt, never from an argument's value."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import click

from amends.errors import BadInput

KINDS = ("name", "email", "phone")
LONGEST = 64 * 1024  # bytes

Identifiers = dict[str, tuple[str, ...]]


def read_subject(where: str, extra: tuple[str, ...] = ()) -> Identifiers:
    """Return the identifiers that somebody gives, by kind.

    Args:
        where: `-` for standard input (a hidden prompt on a terminal), or a file.
        extra: Further kinds that may be given, such as `receipt`.

    Raises:
        BadInput: It is the subject itself, which everybody on this machine could read, or cannot be understood.
    """
    if where == "-" and sys.stdin.isatty():
        return _asked((*KINDS, *extra))
    return parse_subject(_text(where), extra)


def parse_subject(text: str, extra: tuple[str, ...] = ()) -> Identifiers:
    """Read a JSON object, lines such as `name: …`, or one bare line, which is a name.

    Raises:
        BadInput: It is none of them; the sentence names a line, never its words.
    """
    kinds = (*KINDS, *extra)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise BadInput("nothing says whom the request is about; give a name, an e-mail address or a phone number")
    if text.lstrip().startswith(("{", "[")):
        pairs = list(_from_json(text, kinds))
    elif len(lines) == 1 and not lines[0][1].lower().startswith(tuple(f"{kind}:" for kind in kinds)):
        pairs = [("name", lines[0][1])]
    else:
        pairs = [_from_line(number, line, kinds) for number, line in lines]
    return _grouped(pairs)


def _text(where: str) -> str:
    if where != "-" and not Path(where).is_file():
        raise BadInput(
            "a data subject is never given as an argument, because everybody on this machine can read it in the "
            "process list; write --subject - and give it on standard input, or name a file that exists"
        )
    try:
        with nullcontext(sys.stdin.buffer) if where == "-" else Path(where).open("rb") as stream:
            data: bytes = stream.read(LONGEST + 1)
    except OSError as error:
        raise BadInput(f"the subject's file cannot be read ({error.strerror}); name another or write -") from None
    if len(data) > LONGEST:
        raise BadInput(f"the subject is longer than {LONGEST} bytes; give only name, e-mail address and phone number")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"the subject is not UTF-8 at byte {error.start + 1}; save it as UTF-8") from None


def _asked(kinds: tuple[str, ...]) -> Identifiers:
    pairs = []
    for kind in kinds:
        given = click.prompt(
            f"{kind} (hidden, empty to leave out)", default="", hide_input=True, show_default=False, err=True
        )
        pairs.append((kind, str(given)))
    return _grouped(pairs)


def _from_json(text: str, kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput('the subject is not JSON; write {"name": "…", "email": "…", "phone": "…"}') from None
    if not isinstance(value, dict):
        raise BadInput('the subject must be one JSON object, such as {"name": "…", "email": "…", "phone": "…"}')
    if set(value) - set(kinds):
        raise BadInput(f"the subject has a field that is not known; it may have {', '.join(kinds)}")
    for kind, given in value.items():
        for item in given if isinstance(given, list) else [given]:
            if not isinstance(item, str):
                raise BadInput(f"the subject's {kind} must be a text or a list of texts")
            yield kind, item


def _from_line(number: int, line: str, kinds: tuple[str, ...]) -> tuple[str, str]:
    kind, colon, value = line.partition(":")
    if not colon or kind.strip().lower() not in kinds:
        raise BadInput(f"line {number} of the subject begins with none of {', '.join(f'{kind}:' for kind in kinds)}")
    return kind.strip().lower(), value


def _grouped(pairs: list[tuple[str, str]]) -> Identifiers:
    found: dict[str, list[str]] = {}
    for kind, value in pairs:
        if value.strip():
            found.setdefault(kind, []).append(value.strip())
    if not found:
        raise BadInput("nothing says whom the request is about; give a name, an e-mail address or a phone number")
    return {kind: tuple(values) for kind, values in found.items()}
