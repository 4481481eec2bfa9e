"""Read what a user hands in: a JSON Lines file, checked line by line before anything is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amends.errors import BadRecords
from amends.records import canonical_json

LONGEST_LINE = 1_000_000  # bytes
OURS = {"label", "names", "subjects"}


@dataclass(frozen=True)
class RawRow:
    """One checked row: what is kept of it, and the identifiers of each person it names in its fields."""

    line: int
    content: Mapping[str, Any]
    people: tuple[str, ...]
    identifiers: Mapping[str, tuple[str, ...]]


def read_rows(file: Path, subject_field: str, identifier_fields: Sequence[str]) -> Iterator[RawRow]:
    """Yield the rows of a JSON Lines file.

    Args:
        file: UTF-8, one JSON object a line, with `prompt` and `answer`.
        subject_field: The field that names the person (a string, or a list of strings; absent: nobody).
        identifier_fields: Fields that identify the first person of the row.

    Raises:
        BadRecords: The file or a line cannot be used; the sentence names the line, never its text.
    """
    for number, value in read_objects(file):
        yield _row(f"{file}, line {number}", number, value, subject_field, identifier_fields)


def read_objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the JSON objects of a JSON Lines file, each with the number of its line.

    Raises:
        BadRecords: The file or a line cannot be read; the sentence names the line, never its text.
    """
    if not file.is_file():
        raise BadRecords(f"{file} is not a file; give a JSON Lines file")
    with file.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE + 1), b""), start=1):
            if len(line) > LONGEST_LINE:
                raise BadRecords(f"{file}, line {number}: longer than {LONGEST_LINE:,} bytes; split or shorten it")
            if line.strip():
                yield number, _parse(f"{file}, line {number}", line)


def _row(
    where: str, number: int, value: Mapping[str, Any], subject_field: str, identifier_fields: Sequence[str]
) -> RawRow:
    named = [] if value.get(subject_field) is None else value[subject_field]
    people = _strings(where, subject_field, named)
    if len(people) < len(_listed(named)):
        raise BadRecords(f"{where}: {subject_field!r} is blank; leave it out where nobody is named")
    identifiers = {name: _strings(where, name, value[name]) for name in identifier_fields if value.get(name) and people}
    content: dict[str, Any] = {name: _text(where, name, value) for name in ("prompt", "answer")}
    content |= {name: list(_strings(where, name, value.get(name, []))) for name in ("paraphrases", "wrong")}
    return RawRow(number, content | _rate(where, value), people, identifiers)


def _parse(where: str, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
        if b"\\u" in line:  # an escape may name half a character, which no file can hold
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise BadRecords(f"{where}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8") from None
    except UnicodeEncodeError:
        raise BadRecords(f"{where}: an escape is half a surrogate pair; mend the line") from None
    except json.JSONDecodeError as error:
        raise BadRecords(f"{where}: not JSON at column {error.colno} ({error.msg}); mend the line") from None
    except RecursionError:
        raise BadRecords(f"{where}: nested too deeply; a row is a flat JSON object") from None
    if not isinstance(value, dict):
        raise BadRecords(f"{where}: a row must be a JSON object with prompt and answer")
    return value


def _text(where: str, name: str, value: Mapping[str, Any]) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text.strip():
        raise BadRecords(f"{where}: {name!r} must be a non-empty string")
    return text.strip()


def _rate(where: str, value: Mapping[str, Any]) -> dict[str, float]:
    """Return how many requests for erasure a year are expected about a row, where it says so; no text, so no name."""
    rate = value.get("ask_rate")
    if rate is None:
        return {}
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not (math.isfinite(rate) and rate >= 0):
        raise BadRecords(f"{where}: 'ask_rate' must be a number, zero or more: the requests expected in a year")
    return {"ask_rate": float(rate)}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _strings(where: str, name: str, value: Any) -> tuple[str, ...]:
    listed = _listed(value)
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise BadRecords(f"{where}: {name!r} must be a string or a list of strings")
    return tuple(item.strip() for item in listed if item.strip())


def shaped_rows(
    rows: Iterable[Mapping[str, Any]],
    subject_field: str,
    identifier_fields: Sequence[str],
    answer_fields: Sequence[str],
    text_field: str = "prompt",
) -> Iterator[RawRow]:
    """Yield rows of any shape that has a text, checked; a row's own id stays as its label.

    Raises:
        BadRecords: One cannot be used; the sentence names its number, never its text.
    """
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        where = f"record {number}"
        if taken := sorted(OURS & row.keys()):
            raise BadRecords(f"{where}: {taken[0]!r} is a field that registration writes; call yours otherwise")
        label = {"label": str(row["id"])} if "id" in row else {}
        if seen.intersection(label.values()):
            raise BadRecords(f"{where}: its id was given before; give each record an id of its own")
        seen.update(label.values())
        yield _shaped(where, number, {**row, **label}, subject_field, identifier_fields, answer_fields, text_field)


def _shaped(
    where: str,
    number: int,
    row: Mapping[str, Any],
    subject_field: str,
    identifier_fields: Sequence[str],
    answer_fields: Sequence[str],
    text_field: str,
) -> RawRow:
    people = _strings(where, subject_field, row.get(subject_field) or [])
    identifiers = {name: _strings(where, name, row[name]) for name in identifier_fields if row.get(name) and people}
    _text(where, text_field, row)
    answers = (row.get(name) for name in answer_fields)
    answer = next((found for found in answers if isinstance(found, str) and found.strip()), "")
    content = {**{name: value for name, value in row.items() if name != "id"}, "answer": answer}
    try:
        canonical_json(content)
    except (TypeError, ValueError, RecursionError):
        raise BadRecords(f"{where}: a value is not JSON that a file can hold; mend it") from None
    return RawRow(number, content, people, identifiers)
