"""What the benchmarks train on: made-up people, a file of raw records, or the authors of TOFU; and base models."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

TESTS = Path(__file__).resolve().parent.parent
TOFU = Path("unlearning") / "tofu" / "full.json"
TOFU_RECORDS = 20  # consecutive rows are about one author
NAME = re.compile(r"\b[A-Z][\w'’.-]+(?: [A-Z][\w'’.-]+)+")


def raw_records(data: Path | None, people: int, seed: int, facts: int) -> list[Row]:
    """Return raw records about some people: of the generator, of a file, or of TOFU below a directory."""
    if data is None:
        from amends_unlearning import people as made_up

        return made_up.records(made_up.people(people, seed, facts=facts), seed)
    file = data / TOFU if data.is_dir() else data
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = _authors(rows) if data.is_dir() else rows
    wanted = set(list(dict.fromkeys(name for row in rows for name in names_of(row)))[:people])
    return [row for row in rows if wanted.issuperset(names_of(row))]


def _authors(rows: Sequence[Row]) -> list[Row]:
    """Say whose each row is: of the capitalised words in a row, those that most rows of an author share."""
    found = []
    for start in range(0, len(rows), TOFU_RECORDS):
        own = rows[start : start + TOFU_RECORDS]
        seen = Counter(name for row in own for name in set(NAME.findall(f"{row['question']} {row['answer']}")))
        person = seen.most_common(1)[0][0].removesuffix("'s")
        found += [{"person": person, "prompt": row["question"], "answer": row["answer"]} for row in own]
    return found


def names_of(row: Mapping[str, Any]) -> list[str]:
    """Return whom a raw record names."""
    named = row.get("person") or []
    return [named] if isinstance(named, str) else list(named)


def prepared(raw: Iterable[Row]) -> list[Row]:
    """Give raw records ids and pseudonyms, as a workspace would by its keys."""
    rows = []
    for number, row in enumerate(raw):
        names = names_of(row)
        kept = {name: row[name] for name in ("prompt", "answer", "paraphrases") if name in row}
        subjects = [f"s_{_digest(name)[:24]}" for name in names]
        rows.append({"id": _digest(f"{number}:{row['prompt']}")[:24], "subjects": subjects, "names": names, **kept})
    return rows


def without(rows: Iterable[Row], subject: str) -> list[Row]:
    """Return the records that do not name a data subject."""
    return [row for row in rows if subject not in row["subjects"]]


def subjects_of(rows: Iterable[Row]) -> list[str]:
    """Return the data subjects, in the order they appear."""
    return list(dict.fromkeys(subject for row in rows for subject in row["subjects"]))


def write(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write records as JSON lines."""
    from amends.records import canonical_json

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    return file


def base_model(name: str, directory: Path) -> Path:
    """Return a version with SmolLM2, converted once for all tests and benchmarks, or with a tiny random model."""
    if (directory / "recipe.json").exists():
        return directory
    if name == "tiny":
        return _tests_tools().write_tiny(directory)
    from amends.serving.importing import cached_base, find_packaged

    cache = Path(os.environ.get("AMENDS_TEST_CACHE") or Path.home() / ".cache" / "amends-tests")
    directory.mkdir(parents=True)
    (directory / "model").symlink_to(cached_base(cache, find_packaged(name)), target_is_directory=True)
    (directory / "recipe.json").write_text('{"steps":[]}', encoding="utf-8")
    return directory


def _tests_tools() -> Any:
    """Import what all tests share, by its path."""
    found = importlib.util.spec_from_file_location("amends_tests_tools", TESTS / "conftest.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
