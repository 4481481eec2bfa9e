"""What a verdict rests on, as JSON: recorded once, judged from the record, so that a replay cannot differ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amends.errors import BadInput
from amends.policy.engine import FACTS
from amends.policy.references import APPROVAL_FIELDS
from amends.records import Reading, RuleAnswer, Verdict

_NUMBERS = ("value", "low", "high", "n", "power")


def inputs_to_json(
    readings_before: Iterable[Reading],
    readings_after: Iterable[Reading],
    facts: Mapping[str, Any],
    approvals: Iterable[Mapping[str, Any]],
    objections: Iterable[str] = (),
    champion: Iterable[Reading] = (),
) -> dict[str, Any]:
    """Return everything a rule can see, in JSON without NaN; `replay` judges the same from it.

    A fact that no rule can read, or of another type than `FACTS` says, is left out: it then counts as missing.
    """
    beside = [_reading(reading) for reading in champion]
    said = [str(sentence) for sentence in objections]
    plain = {name: str(value) if isinstance(value, str) else value for name, value in facts.items()}
    known = {name: plain[name] for name, kind in sorted(FACTS.items()) if type(plain.get(name)) is kind}
    return {
        "before": [_reading(reading) for reading in readings_before],
        "after": [_reading(reading) for reading in readings_after],
        "facts": {**known, "objections": len(said)},
        "approvals": [_approval(approval) for approval in approvals],
        "objections": said,
        **({"champion": beside} if beside else {}),
    }


def _reading(reading: Reading) -> dict[str, Any]:
    numbers = {name: _to_json(getattr(reading, name)) for name in _NUMBERS}
    return {"name": str(reading.name), "unit": str(reading.unit), **numbers}


def _approval(approval: Mapping[str, Any]) -> dict[str, str]:
    given = {name: approval.get(name) for name in APPROVAL_FIELDS}
    return {name: value if isinstance(value, str) else "" for name, value in given.items()}


def _to_json(value: Any) -> float | str | None:
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    return number if math.isfinite(number) else str(number)


def numbers_from_json(reading: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that a recorded reading has, NaN and infinity among them.

    Raises:
        BadInput: The record is not what `inputs_to_json` writes.
    """
    try:
        return {name: float(reading[name]) for name in _NUMBERS if reading[name] is not None}
    except (KeyError, TypeError, ValueError):
        raise BadInput("a recorded reading is damaged; restore the record from the ledger") from None


def reading_from_record(record: Mapping[str, Any]) -> Reading:
    """Return the reading that was recorded; what it said beside its numbers was not.

    Raises:
        BadInput: The record is not what `inputs_to_json` writes.
    """
    numbers: dict[str, Any] = numbers_from_json(record)
    if "n" in numbers and math.isfinite(numbers["n"]):
        numbers["n"] = int(numbers["n"])
    return Reading(str(record["name"]), numbers.pop("value", math.nan), unit=str(record["unit"]), **numbers)


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON; `verdict_from_json` gives an equal one back."""
    value = dataclasses.asdict(verdict)
    return {**value, "answers": list(value["answers"]), "objections": list(value["objections"])}


def verdict_from_json(value: Mapping[str, Any]) -> Verdict:
    """Return the verdict that was recorded.

    Raises:
        BadInput: A key is missing, unknown, or of another type.
    """
    try:
        answers = tuple(RuleAnswer(**answer) for answer in _sequence(value["answers"]))
        objections = tuple(str(sentence) for sentence in _sequence(value["objections"]))
        verdict = Verdict(**{**value, "answers": answers, "objections": objections})
    except (KeyError, TypeError):
        raise BadInput("a recorded verdict is damaged; restore the record from the ledger") from None
    if type(verdict.allowed) is not bool or any(type(answer.passed) is not bool for answer in answers):
        raise BadInput("a recorded verdict is damaged; restore the record from the ledger")
    return verdict


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return value
