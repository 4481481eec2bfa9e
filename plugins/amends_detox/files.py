"""Read prompts and pairs of texts from the files that people have: JSON Lines, RealToxicityPrompts, ParaDetox."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amends import BadRecords

Row = dict[str, Any]
PAIR = ("toxic", "neutral")
PARADETOX = ("toxic", "neutral1")


def read_prompts(file: Path, hardest: int = 0) -> list[Row]:
    """Return the prompts of a file, one row each, without repetitions.

    Args:
        file: JSON Lines with `prompt`: a text, or as in RealToxicityPrompts an object with `text` and scores.
        hardest: Keep so many, those with the highest score of toxicity, and none without one; 0
            keeps all.

    Raises:
        BadRecords: It cannot be read, has no prompts, or no scores to choose by.
    """
    found: dict[str, float | None] = {}
    for where, row in _lines(file):
        given = row.get("prompt")
        inner = given if isinstance(given, dict) else {"text": given}
        text, score = inner.get("text"), inner.get("toxicity")
        if not isinstance(text, str) or not text.strip():
            raise BadRecords(f"{where}: 'prompt' must be a text, or an object with a 'text'")
        found.setdefault(text.strip(), float(score) if isinstance(score, int | float) else None)
    if hardest:
        return [{"id": _digest(text)[:24], "prompt": text} for text, _ in _hardest(file, found)[:hardest]]
    return [{"id": _digest(text)[:24], "prompt": text} for text in found]


def read_pairs(file: Path, most: int = 0) -> list[Row]:
    """Return pairs of a toxic and a neutral text, and perhaps the prompt that both continue.

    Args:
        file: JSON Lines with `toxic`, `neutral` and perhaps `prompt`; or ParaDetox's table (`.tsv`).
        most: Keep so many of them, the first in the order of their digests; 0 keeps all.

    Raises:
        BadRecords: It cannot be read, or has no pairs.
    """
    rows = _table(file) if file.suffix == ".tsv" else _json_pairs(file)
    found = {_digest(json.dumps([row[name] for name in ("prompt", *PAIR)])): row for row in rows}
    if not found:
        raise BadRecords(f"{file.name} has no pairs; write a toxic and a neutral text in each line")
    chosen = sorted(found)[:most] if most else list(found)
    return [{"id": digest[:24], **found[digest]} for digest in chosen]


def read_text(file: Path) -> list[Row]:
    """Return the passages of plain text, a row for each line that is not blank.

    Raises:
        BadRecords: It cannot be read, or there is none.
    """
    found = dict.fromkeys(line.strip() for line in _text_lines(file) if line.strip())
    if not found:
        raise BadRecords(f"{file.name} is empty; write a passage a line")
    return [{"id": _digest(text)[:24], "prompt": text} for text in found]


def read_tasks(place: Path) -> list[Row]:
    """Return tasks for `utility.tasks`: rows of JSON Lines as they are, or those that tasks of lm-eval become.

    Args:
        place: A file of JSON Lines, a `.yaml` file, or a folder with some.

    Raises:
        BadRecords: A task cannot be read or checked.
    """
    from amends_detox.lmeval import read_harness
    from amends_detox.tasks import check_row

    if place.is_dir() or place.suffix in (".yaml", ".yml"):
        return read_harness(place)
    rows = [(where, dict(row)) for where, row in _lines(place)]
    for where, row in rows:
        check_row(row, where)
    return [row for _, row in rows]


def split(prompts: Sequence[Row], most: int) -> tuple[list[Row], list[Row]]:
    """Return the prompts to search on, and those that judge: once, by digest, so that nobody chooses.

    Args:
        prompts: All of them.
        most: How many to search on, at most half.

    Raises:
        BadRecords: There are fewer than two.
    """
    if len(prompts) < 2:
        raise BadRecords("one prompt cannot be searched on and judge as well; give two or more, best some hundred")
    ordered = sorted(prompts, key=lambda row: _digest(str(row["prompt"])))
    searched = min(most, len(ordered) // 2)
    return ordered[:searched], ordered[searched:]


def _hardest(file: Path, found: Mapping[str, float | None]) -> list[tuple[str, float]]:
    scored = [(text, score) for text, score in found.items() if score is not None]
    if not scored:
        raise BadRecords(f"{file.name} has no scores of toxicity; leave --hardest out")
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))


def _json_pairs(file: Path) -> Iterator[Row]:
    for where, row in _lines(file):
        texts = {name: row.get(name, "") for name in ("prompt", *PAIR)}
        if not all(isinstance(text, str) for text in texts.values()) or not all(texts[name].strip() for name in PAIR):
            raise BadRecords(f"{where}: 'toxic' and 'neutral' must be texts that are not blank")
        yield {name: text.strip() for name, text in texts.items()}


def _table(file: Path) -> Iterator[Row]:
    table = csv.DictReader(_text_lines(file), delimiter="\t", quoting=csv.QUOTE_NONE)
    if not set(PARADETOX) <= set(table.fieldnames or ()):
        raise BadRecords(f"{file.name} needs the columns {' and '.join(PARADETOX)}, as ParaDetox has")
    for row in table:
        toxic, neutral = (str(row[name] or "").strip() for name in PARADETOX)
        if toxic and neutral:
            yield {"prompt": "", "toxic": toxic, "neutral": neutral}


def _lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    lines = [(number, line) for number, line in enumerate(_text_lines(file), start=1) if line.strip()]
    if not lines:
        raise BadRecords(f"{file.name} is empty; write a JSON object a line")
    for number, line in lines:
        where = f"{file.name}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadRecords(f"{where} is no JSON, from column {error.colno} on; write an object a line") from None
        if not isinstance(row, dict):
            raise BadRecords(f"{where} is no JSON object; write one a line")
        yield where, row


def _text_lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError):
        raise BadRecords(f"{file} cannot be read as UTF-8; give a text file") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
