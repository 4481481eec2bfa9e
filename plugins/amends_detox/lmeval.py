"""Read tasks written for the Language Model Evaluation Harness (lm-eval, Gao et al.): YAML with data beside it.

A folder holds one task or more, each a `.yaml` file. Supported is what a machine can check here in the same way:
`multiple_choice` by log-likelihood, and `generate_until` with `exact_match`, zero-shot, on JSON or JSON Lines in the
same folder. Whatever else a file says is refused, not ignored, for its figure would be about another task. lm-eval
itself is not needed, nothing is fetched, and no code of a task is run: its templates are rendered in a sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from amends import BadRecords

CHOICE, GENERATE = "multiple_choice", "generate_until"
METRICS = {CHOICE: ("acc", "acc_norm"), GENERATE: ("exact_match",)}
READ = {
    "task", "dataset_path", "dataset_kwargs", "test_split", "validation_split", "output_type", "doc_to_text",
    "doc_to_target", "doc_to_choice", "description", "target_delimiter", "num_fewshot", "repeats", "generation_kwargs",
    "metric_list", "filter_list",
}  # fmt: skip
SAID = {"task_alias", "tag", "metadata", "training_split", "fewshot_split", "doc_to_decontamination_query",
        "should_decontaminate", "fewshot_delimiter"}  # fmt: skip
"""Keys that change nothing of a zero-shot run; every key that is neither here nor in `READ` is refused."""

FIXED = {"num_fewshot": (0, None), "repeats": (1, None), "target_delimiter": (" ", None), "dataset_path": ("json",)}
GENERATION = {"until", "max_gen_toks", "do_sample", "temperature"}
IGNORES = ("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore")
STEP = {"function", "regex_pattern", "group_select", "fallback"}
FILTERS = ("regex", "take_first", "remove_whitespace", "lowercase", "uppercase")
LONGEST = 256  # tokens, as lm-eval has it where a task says nothing
Row = dict[str, Any]


@dataclass(frozen=True)
class HarnessTask:
    """One task as its file says it; `filters`, `ignores` and `until` are about generated answers alone."""

    name: str
    is_choice: bool
    text: str
    target: Any
    choice: Any = None
    description: str = ""
    is_normalised: bool = False
    until: tuple[str, ...] = ("\n\n",)
    tokens: int = LONGEST
    filters: tuple[Row, ...] = ()
    ignores: Row = field(default_factory=dict)


def read_harness(place: Path) -> list[Row]:
    """Return the rows for `utility.tasks` of a task's file, or of every task of a folder.

    Raises:
        BadRecords: There is no task, or one says what is not supported; the sentence names the file and the key.
    """
    from amends_detox.lmdocs import rows_of_task

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
    if not isinstance(given, dict) or not isinstance(given.get("task"), str):
        raise BadRecords(f"{file.name}: a task's file has the key 'task' with its name; add it")
    for key in given:
        if key not in READ | SAID:
            raise BadRecords(f"{file.name}: {key!r} is not supported; take it out, or write the task's rows yourself")
    for key, allowed in FIXED.items():
        if given.get(key) not in allowed:
            raise BadRecords(f"{file.name}: {key} is only supported as {allowed[0]!r}")
    return given


def _task(given: Row, where: str) -> HarnessTask:
    kind, text = given.get("output_type"), given.get("doc_to_text")
    if kind not in METRICS:
        raise BadRecords(f"{where}: output_type is {' or '.join(METRICS)} here")
    if not isinstance(text, str) or given.get("doc_to_target") is None:
        raise BadRecords(f"{where}: a task needs doc_to_text as a text, and doc_to_target")
    metric = _metric(given, kind, where)
    about = {"name": given["task"], "is_choice": kind == CHOICE, "text": text, "target": given["doc_to_target"]}
    about["description"] = str(given.get("description") or "")
    if kind == CHOICE:
        if given.get("filter_list") or given.get("generation_kwargs") or not given.get("doc_to_choice"):
            raise BadRecords(f"{where}: a {CHOICE} task has doc_to_choice, and nothing about generated text")
        return HarnessTask(**about, choice=given["doc_to_choice"], is_normalised=metric.get("metric") == "acc_norm")
    ignores = {name: metric[name] for name in IGNORES if metric.get(name)}
    return HarnessTask(**about, **_generation(given, where), filters=_filters(given, where), ignores=ignores)


def _metric(given: Row, kind: str, where: str) -> Row:
    """Return the first metric of a task; another one of the same kind beside it is lm-eval's to print."""
    metrics = given.get("metric_list") or [{"metric": METRICS[kind][0]}]
    known = {"metric", "aggregation", "higher_is_better", *IGNORES}
    for metric in metrics:
        is_read = metric.get("metric") in METRICS[kind] and metric.get("aggregation", "mean") == "mean"
        if not is_read or set(metric) - known:
            raise BadRecords(
                f"{where}: of a {kind} task the mean of {' or '.join(METRICS[kind])} is read, nothing else"
            )
    return dict(metrics[0])


def _generation(given: Row, where: str) -> Row:
    told = given.get("generation_kwargs") or {}
    if set(told) - GENERATION or told.get("do_sample") or told.get("temperature"):
        raise BadRecords(
            f"{where}: answers are greedy, with {', '.join(sorted(GENERATION))} in generation_kwargs alone"
        )
    until = told.get("until", ["\n\n"])
    stops = (until,) if isinstance(until, str) else tuple(map(str, until))
    return {"until": stops, "tokens": int(told.get("max_gen_toks", LONGEST))}


def _filters(given: Row, where: str) -> tuple[Row, ...]:
    found = given.get("filter_list") or [{"filter": []}]
    if len(found) != 1:
        raise BadRecords(f"{where}: it has {len(found)} filters, each of which gives a figure of its own; keep one")
    steps = tuple(dict(step) for step in found[0].get("filter", ()))
    for step in steps:
        name = step.get("function")
        if name not in FILTERS or set(step) - STEP:
            raise BadRecords(f"{where}: the filter {name!r} is not supported so; there are {', '.join(FILTERS)}")
    return steps


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
