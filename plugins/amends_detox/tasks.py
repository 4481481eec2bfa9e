"""Whether a model still does tasks whose answer a machine can check: a text, a pattern, a shape of JSON, a choice.

A row has a `prompt` and one of `CHECKS`. With `expected`, `regex` or `schema` the prompt is a question in Amends'
template; with `exact` or `choices`, which tasks of lm-eval become, it is a text that goes on as it stands.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry

from amends import BadRecords, ProbeTask, Reading, Records
from amends.operation.wording import words_of
from amends_detox.lmanswers import IGNORED, STEP, exact, likeliest
from amends_detox.rows import ids_of, misfit, name_in, rows_of
from amends_detox.shares import means_by, share_reading

NAME = "utility.tasks/passed"
CHECKS = ("expected", "regex", "schema", "exact", "choices")
FORM = {
    "properties": {
        "prompt": {"type": "string"},
        "tokens": {"type": "integer", "minimum": 1},
        "regex": {"type": "string", "format": "regex"},
        "exact": {"type": "array", "items": {"type": ["string", "number"]}},
        "until": {"type": "array", "items": {"type": "string"}},
        "filters": {"type": "array", "items": STEP},
        "ignores": {"type": "object", "properties": IGNORED, "additionalProperties": False},
        "choices": {"type": "array", "minItems": 2, "items": {"type": "string", "pattern": r"\S"}},
        "gold": {"type": "integer"},
        "normalised": {"type": "boolean"},
    }
}
AT_ONCE = 16
Row = Mapping[str, Any]


def read_tasks(task: ProbeTask, tasks: Records, *, tokens: int) -> list[Reading]:
    """Read the share of prompts whose greedy answer passes its check, or whose right choice is the likeliest."""
    rows = rows_of(tasks, "prompt")
    for number, row in enumerate(rows, start=1):
        check_row(row, f"records {tasks.digest[:12]}, row {number}")
    alike: dict[tuple[str, int], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        alike[_kind(row), int(row.get("tokens") or tokens)].append(place)
    passed = [math.nan] * len(rows)
    done = 0
    for (kind, longest), places in alike.items():
        for start in range(0, len(places), AT_ONCE):
            task.progress(done, len(rows), "answering")
            some = places[start : start + AT_ONCE]
            for place, value in zip(some, _asked(task, kind, [rows[at] for at in some], longest), strict=True):
                passed[place] = value
            done += len(some)
    names = [row.get("task") for row in rows]
    detail = {"by_task": means_by(names, passed)} if any(names) else None
    return [share_reading(NAME, passed, ids_of(rows), seed=task.seed, unit="share of tasks", detail=detail)]


def _kind(row: Row) -> str:
    return "choices" if row.get("choices") else "exact" if row.get("exact") else "answer"


def _asked(task: ProbeTask, kind: str, rows: Sequence[Row], tokens: int) -> Iterator[float]:
    """Yield 1 or 0 for each row, in order; NaN where the model gives no number for a choice."""
    prompts = [row["prompt"] for row in rows]
    if kind == "choices":
        for row in rows:
            scores = task.model.score_continuations([(row["prompt"], choice) for choice in row["choices"]])
            logps = [float(score.logp.sum()) for score in scores]
            yield float(likeliest(row, logps)) if all(map(math.isfinite, logps)) else math.nan
    elif kind == "exact":
        said = task.model.complete(prompts, tokens)
        yield from (float(exact(row, answer)) for row, answer in zip(rows, said, strict=True))
    else:
        said = task.model.generate(prompts, tokens)
        yield from (float(passes(row, answer)) for row, answer in zip(rows, said, strict=True))


def check_row(row: Row, where: str) -> None:
    """Refuse a row that cannot be checked.

    Raises:
        BadRecords: It has no check, or more than one, or one that cannot be used.
    """
    given = [name for name in CHECKS if row.get(name)]
    if len(given) != 1:
        raise BadRecords(f"{where}: give exactly one of {', '.join(CHECKS)}")
    name_in(row, "task", where)
    if place := misfit(row, FORM) or _useless(row, given[0]):
        raise BadRecords(f"{where}: its {place} cannot be used; mend it")


def _useless(row: Row, check: str) -> str:
    """Return which part of a row of the right form gives nothing to check by, or ""."""
    if check == "expected" and not words_of(str(row["expected"])):
        return "expected"
    if check == "choices" and not 0 <= row.get("gold", -1) < len(row["choices"]):
        return "gold"
    if check == "schema":
        try:
            Draft202012Validator.check_schema(row["schema"])
        except SchemaError:
            return "schema"
    return ""


def passes(row: Row, answer: str) -> bool:
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
        return bool(Draft202012Validator(row["schema"], registry=Registry()).is_valid(value))  # which fetches nothing
    return begins_with(answer, str(row["expected"]))


def begins_with(answer: str, expected: str) -> bool:
    """Return whether an answer's first words are these, whatever their case and punctuation."""
    wanted = words_of(expected)
    return words_of(answer)[: len(wanted)] == wanted
