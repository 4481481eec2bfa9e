"""Read tasks written for the Language Model Evaluation Harness (lm-eval, Gao et al.): YAML with data beside it.

A folder holds one task or more, each a `.yaml` file. Supported is what a machine can check here in the same way:
`multiple_choice` by log-likelihood, and `generate_until` with `exact_match`, zero-shot, on JSON or JSON Lines in the
same folder. Whatever else a file says is refused, not ignored, for its figure would be about another task. lm-eval
itself is not needed, nothing is fetched, and no code of a task is run: its templates are rendered in a sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from amends import BadRecords
from amends_detox.lmanswers import IGNORED, STEP
from amends_detox.lmdocs import HarnessTask, Row, rows_of_task
from amends_detox.rows import misfit, name_in

CHOICE, GENERATE = "multiple_choice", "generate_until"
METRICS = {CHOICE: ("acc", "acc_norm"), GENERATE: ("exact_match",)}
TEXT, TEXTS = {"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}}
TEXT_OR_TEXTS = {"anyOf": [TEXT, TEXTS]}
FILES = {"type": "object", "additionalProperties": TEXT_OR_TEXTS}
METRIC = {"metric": {"type": "string"}, "aggregation": {}, "higher_is_better": {}, **IGNORED}
READ = {
    "task": TEXT,
    "dataset_path": TEXT,
    "dataset_kwargs": {
        "type": ["object", "null"],
        "properties": {"data_files": {"anyOf": [*TEXT_OR_TEXTS["anyOf"], FILES]}},
    },
    "test_split": TEXT,
    "validation_split": TEXT,
    "output_type": TEXT,
    "doc_to_text": TEXT,
    "doc_to_target": {"type": ["string", "integer", "array", "null"]},
    "doc_to_choice": {"type": ["string", "array", "null"]},
    "description": TEXT,
    "target_delimiter": TEXT,
    "fewshot_delimiter": TEXT,
    "num_fewshot": {},
    "repeats": {},
    "generation_kwargs": {
        "type": ["object", "null"],
        "properties": {"until": TEXT_OR_TEXTS, "max_gen_toks": {"type": "integer", "minimum": 1}},
    },
    "metric_list": {
        "type": ["array", "null"],
        "items": {"type": "object", "required": ["metric"], "properties": METRIC, "additionalProperties": False},
    },
    "filter_list": {
        "type": ["array", "null"],
        "items": {"type": "object", "properties": {"filter": {"type": "array", "items": STEP}}},
    },
}
"""What is read of a task's file, each with the form that it has."""

SAID = {"task_alias", "tag", "metadata", "training_split", "fewshot_split", "doc_to_decontamination_query",
        "should_decontaminate"}  # fmt: skip
"""Keys that change nothing of a zero-shot run; every key that is neither here nor in `READ` is refused."""

FIXED = {"num_fewshot": (0, None), "repeats": (1, None), "target_delimiter": (" ", None), "dataset_path": ("json",)}
GENERATION = {"until", "max_gen_toks", "do_sample", "temperature"}
DELIMITER = "\n\n"  # between examples, and where an answer ends unless a task says otherwise, as lm-eval has it
LONGEST = 256  # tokens, as lm-eval has it where a task says nothing


def read_harness(place: Path) -> list[Row]:
    """Return the rows for `utility.tasks` of a task's file, or of every task of a folder.

    Raises:
        BadRecords: There is no task, or one says what is not supported; the sentence names the file and the key.
    """
    files = [place] if place.is_file() else sorted((*place.glob("*.yaml"), *place.glob("*.yml")))
    if not files:
        raise BadRecords(f"{place} has no task; give a folder with .yaml files in lm-eval's form")
    rows = []
    for file in files:
        given = _load(file)
        rows += rows_of_task(_task(given, file.name), _documents(given, file), file.name)
    return rows


def _load(file: Path) -> Row:
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.constructor.ConstructorError:
        raise BadRecords(
            f"{file.name}: it calls a function of its own, which is not run here; write its rows out"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadRecords(f"{file.name} cannot be read as YAML ({type(error).__name__}); mend it") from None
    if not isinstance(given, dict) or given.get("task") is None:
        raise BadRecords(f"{file.name}: a task's file has the key 'task' with its name; add it")
    for key in given:
        if key not in {*READ, *SAID}:
            raise BadRecords(f"{file.name}: {key!r} is not supported; take it out, or write the task's rows yourself")
    for key, allowed in FIXED.items():
        if given.get(key) not in allowed:
            raise BadRecords(f"{file.name}: {key} is only supported as {allowed[0]!r}")
    name_in(given, "task", file.name)
    if place := misfit(given, {"properties": READ}):
        raise BadRecords(f"{file.name}: its {place} has not the form that is read here; mend it")
    return given


def _task(given: Row, where: str) -> HarnessTask:
    kind, text, target = (given.get(name) for name in ("output_type", "doc_to_text", "doc_to_target"))
    if kind not in METRICS:
        raise BadRecords(f"{where}: output_type is {' or '.join(METRICS)} here")
    if text is None or target is None:
        raise BadRecords(f"{where}: a task needs doc_to_text and doc_to_target; add them")
    metric, about = _metric(given, kind, where), {"name": given["task"], "text": text, "target": target}
    about["description"] = given.get("description") or ""
    choice, is_choice = given.get("doc_to_choice"), kind == CHOICE
    if bool(choice) != is_choice or (is_choice and (given.get("filter_list") or given.get("generation_kwargs"))):
        raise BadRecords(f"{where}: a {CHOICE} task has doc_to_choice and nothing of generated text, others none")
    if is_choice:
        return HarnessTask(**about, is_choice=True, choice=choice, is_normalised=metric["metric"] == "acc_norm")
    ignores = {name: metric[name] for name in IGNORED if metric.get(name)}
    told = {**_generation(given, where), "filters": _filters(given, where), "ignores": ignores}
    return HarnessTask(**about, is_choice=False, **told)


def _metric(given: Row, kind: str, where: str) -> Row:
    """Return the first metric of a task; another one of the same kind beside it is lm-eval's to print."""
    metrics: list[Row] = given.get("metric_list") or [{"metric": METRICS[kind][0]}]
    for metric in metrics:
        if metric["metric"] not in METRICS[kind] or metric.get("aggregation", "mean") != "mean":
            raise BadRecords(
                f"{where}: of a {kind} task the mean of {' or '.join(METRICS[kind])} is read, nothing else"
            )
    return metrics[0]


def _generation(given: Row, where: str) -> Row:
    told = given.get("generation_kwargs") or {}
    if set(told) - GENERATION or told.get("do_sample") or told.get("temperature"):
        raise BadRecords(
            f"{where}: answers are greedy, with {', '.join(sorted(GENERATION))} in generation_kwargs alone"
        )
    until = told.get("until", given.get("fewshot_delimiter", DELIMITER))
    stops = until if isinstance(until, list) else [until]
    return {"until": tuple(filter(None, stops)), "tokens": told.get("max_gen_toks", LONGEST)}


def _filters(given: Row, where: str) -> tuple[Row, ...]:
    found = given.get("filter_list") or [{}]
    if len(found) != 1:
        raise BadRecords(f"{where}: it has {len(found)} filters, each of which gives a figure of its own; keep one")
    return tuple(found[0].get("filter", ()))


def _documents(given: Mapping[str, Any], file: Path) -> list[Row]:
    """Return the documents of a task's test split, or of its validation split where it has no other."""
    split = given.get("test_split") or given.get("validation_split") or "train"
    files = (given.get("dataset_kwargs") or {}).get("data_files")
    found = files.get(split) if isinstance(files, Mapping) else files
    names = [found] if isinstance(found, str) else list(found or ())
    if not names:
        raise BadRecords(
            f"{file.name}: dataset_kwargs has no data_files for the split {split!r}; name a file beside it"
        )
    return [document for name in names for document in _read(file, str(name))]


def _read(task: Path, name: str) -> list[Row]:
    data = task.parent / name
    if not data.resolve().is_relative_to(task.parent.resolve()) or not data.is_file():
        raise BadRecords(f"{task.name}: the data file {name!r} is not in the task's folder; put it there")
    try:
        text = data.read_text(encoding="utf-8")
        is_list = text.lstrip().startswith("[")
        lines = json.loads(text) if is_list else [json.loads(line) for line in text.split("\n") if line.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadRecords(f"{name}: it is neither JSON nor JSON Lines ({type(error).__name__}); mend it") from None
    if not lines or not all(isinstance(line, dict) for line in lines):
        raise BadRecords(f"{name}: it has no documents, or one that is no JSON object; mend it")
    return list(lines)
