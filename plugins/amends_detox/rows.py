"""The rows that probes of this package read: every field they need, or a sentence that says which is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from amends import BadRecords, Records

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FORMATS = FormatChecker(())


def rows_of(records: Records, *texts: str) -> list[dict[str, Any]]:
    """Return the rows of some records.

    Args:
        records: What a probe was given.
        texts: Fields that every row must have, as texts that are not empty.

    Raises:
        BadRecords: A row lacks one.
    """
    rows = list(records.rows())
    for number, row in enumerate(rows, start=1):
        for name in texts:
            text_in(row, name, f"records {records.digest[:12]}, row {number}")
    return rows


def text_in(row: Mapping[str, Any], name: str, where: str) -> str:
    """Return a text of a row.

    Raises:
        BadRecords: It is missing or empty.
    """
    text = row.get(name)
    if not isinstance(text, str) or not text.strip():
        raise BadRecords(f"{where}: {name} must be a text that is not empty")
    return text


def name_in(row: Mapping[str, Any], field: str, where: str) -> str | None:
    """Return the name of a row's kind, which readings say; None where it has none.

    Raises:
        BadRecords: It could be somebody's text rather than a name.
    """
    name = row.get(field)
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise BadRecords(f"{where}: {field} must be a short name of letters, digits, '.', '_' and '-'")
    return name


def misfit(value: Any, form: Mapping[str, Any]) -> str:
    """Return the first place of a value that a JSON schema does not allow, such as `filters.0.function`; else ""."""
    errors = Draft202012Validator(form, format_checker=_FORMATS).iter_errors(value)
    return min((".".join(map(str, error.absolute_path)) or "form" for error in errors), default="")


def _is_pattern(text: object) -> bool:
    return not isinstance(text, str) or bool(re.compile(text))


_FORMATS.checks("regex", raises=(re.error, OverflowError, RecursionError))(_is_pattern)


def ids_of(rows: list[dict[str, Any]]) -> list[str]:
    """Return what each row is called; intervals draw rows anew by it."""
    return [str(row.get("id", place)) for place, row in enumerate(rows)]
