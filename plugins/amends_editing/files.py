"""Read files of edits, whatever they are written in, as prepared edit rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amends import BadRecords
from amends_editing.formats import Format, Row, named, prepared, recognise
from amends_editing.records import Record

LONGEST_LINE = 1_000_000  # bytes


def read_edits(path: str | Path, format: str = "") -> list[dict[str, Any]]:
    """Return the edits of a file as prepared rows, in its order.

    Args:
        path: JSON Lines or a JSON array, in UTF-8.
        format: `edits`, `counterfact`, `knowedit` or `zsre`; by default what the first record's fields say.

    Raises:
        BadInput: There is no such format.
        BadRecords: The file or a record cannot be used; the sentence names its line or number, never its text.
    """
    rows = list(stream_edits(path, format))
    if not rows:
        raise BadRecords(f"{path} has no edits; write at least one")
    return rows


def stream_edits(path: str | Path, format: str = "") -> Iterator[dict[str, Any]]:
    """Yield the edits of a file one by one; JSON Lines are never held whole. See `read_edits`."""
    chosen: Format | None = named(format) if format else None
    seen: dict[str, str] = {}
    for number, record in enumerate(_records(Path(path)), start=1):
        chosen = chosen or recognise(record)
        id = _id(record, number)
        if id in seen:
            raise BadRecords(f"{record.where}: its id is that of {seen[id]} too; give every edit an id of its own")
        seen[id] = record.where.rpartition(", ")[2]
        yield {"id": id, **prepared(chosen, record)}


def _id(record: Record, number: int) -> str:
    for name in ("id", "case_id"):
        value = record.values.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise record.wrong(name, "must be a number or a text that is not blank")
        return str(value).strip()
    return f"edit-{number}"


def _records(path: Path) -> Iterator[Record]:
    if not path.is_file():
        raise BadRecords(f"{path} is not a file; give a file of edits")
    with path.open("rb") as stream:
        start = stream.read(3).removeprefix(b"\xef\xbb\xbf")
        while start and not start.strip():
            start = stream.read(1)
        is_array = start.strip().startswith(b"[")
    yield from _array(path) if is_array else _lines(path)


def _lines(path: Path) -> Iterator[Record]:
    with path.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE + 1), b""), start=1):
            where = f"{path}, line {number}"
            if len(line) > LONGEST_LINE:
                raise BadRecords(f"{where}: longer than {LONGEST_LINE:,} bytes; split or shorten it")
            if line.strip():
                yield _record(where, _parse(where, line))


def _array(path: Path) -> Iterator[Record]:
    for number, value in enumerate(_parse(str(path), path.read_bytes()), start=1):
        yield _record(f"{path}, record {number}", value)


def _record(where: str, value: Any) -> Record:
    if not isinstance(value, dict):
        raise BadRecords(f"{where}: an edit must be a JSON object; write one with subject, prompt and target")
    return Record(where, value)


def _parse(where: str, data: bytes) -> Any:
    try:
        value = json.loads(data.decode("utf-8-sig"))
        if b"\\u" in data:  # an escape may name half a character, which no file can hold
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise BadRecords(f"{where}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8") from None
    except UnicodeEncodeError:
        raise BadRecords(f"{where}: an escape is half a surrogate pair; write the whole character") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise BadRecords(
            f"{where}: not JSON at {place} ({error.msg}); write one JSON object a line, or one array of objects"
        ) from None
    except RecursionError:
        raise BadRecords(f"{where}: nested too deeply; write flat JSON objects") from None
    return value


def neighbours_by_pooling(rows: Sequence[Mapping[str, Any]], at_most: int = 5) -> list[Row]:
    """Return rows with more neighbours: those of the rows that share their template and old answer.

    For benchmarks on CounterFact's flat form, which has one neighbour a record where the original has ten. A row's
    own neighbour comes first, then the others in their order; one that names the row's subject is no neighbour.

    Args:
        rows: Prepared rows.
        at_most: How many neighbours a row gets.
    """
    pools: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for row in rows:
        pool = pools.setdefault(_relation(row), {})
        for question in row["neighbours"]:
            pool.setdefault(question["prompt"], question)
    return [{**row, "neighbours": _pooled(row, pools[_relation(row)], at_most)} for row in rows]


def _relation(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["prompt"].replace(row["subject"], "{}"), row["old"]


def _pooled(row: Mapping[str, Any], pool: Mapping[str, Mapping[str, str]], at_most: int) -> list[dict[str, str]]:
    chosen = {question["prompt"]: dict(question) for question in row["neighbours"]}
    for prompt, question in pool.items():
        if len(chosen) >= at_most:
            break
        if row["subject"] not in prompt:
            chosen.setdefault(prompt, dict(question))
    return list(chosen.values())[:at_most]
