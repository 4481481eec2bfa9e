"""Whether a model still does tasks whose answer a machine can check: a text, a pattern, or a shape of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from amends import BadRecords, ProbeTask, Reading, Records
from amends.operation.wording import words_of
from amends_detox.rows import ids_of, rows_of
from amends_detox.shares import share_reading

NAME = "utility.tasks/passed"
CHECKS = ("expected", "regex", "schema")
AT_ONCE = 16


def read_tasks(task: ProbeTask, tasks: Records, *, tokens: int) -> list[Reading]:
    """Read the share of prompts whose greedy answer passes its check."""
    rows = rows_of(tasks, "prompt")
    for number, row in enumerate(rows, start=1):
        check_row(row, f"records {tasks.digest[:12]}, row {number}")
    passed: list[float] = []
    for start in range(0, len(rows), AT_ONCE):
        task.progress(start, len(rows), "answering")
        some = rows[start : start + AT_ONCE]
        said = task.model.generate([row["prompt"] for row in some], tokens)
        passed += [float(passes(row, answer)) for row, answer in zip(some, said, strict=True)]
    return [share_reading(NAME, passed, ids_of(rows), seed=task.seed, unit="share of tasks")]


def check_row(row: Mapping[str, Any], where: str) -> None:
    """Refuse a row that cannot be checked.

    Raises:
        BadRecords: It has no check, or more than one, or one that cannot be used.
    """
    given = [name for name in CHECKS if row.get(name)]
    if len(given) != 1:
        raise BadRecords(f"{where}: give exactly one of {', '.join(CHECKS)}")
    try:
        if given == ["regex"]:
            re.compile(row["regex"])
        elif given == ["schema"]:
            Draft202012Validator.check_schema(row["schema"])
        elif not words_of(str(row["expected"])):
            raise ValueError("an expected answer has a word")
    except (re.error, TypeError, ValueError, SchemaError) as error:
        raise BadRecords(f"{where}: its {given[0]} cannot be used ({type(error).__name__}); mend it") from None


def passes(row: Mapping[str, Any], answer: str) -> bool:
    """Return whether an answer passes.

    `expected`: its words are the answer's first, whatever their case and punctuation; `regex`: it is found somewhere;
    `schema`: the whole answer is JSON of that schema.
    """
    if row.get("regex"):
        return re.search(row["regex"], answer) is not None
    if row.get("schema"):
        try:
            value = json.loads(answer)
        except ValueError:
            return False
        return bool(Draft202012Validator(row["schema"]).is_valid(value))
    return begins_with(answer, str(row["expected"]))


def begins_with(answer: str, expected: str) -> bool:
    """Return whether an answer's first words are these, whatever their case and punctuation."""
    wanted = words_of(expected)
    return words_of(answer)[: len(wanted)] == wanted
