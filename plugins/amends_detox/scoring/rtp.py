"""Texts with their toxicity, as RealToxicityPrompts has them (Gehman et al., 2020), and which of them are fitted on.

A line is a JSON object with a `prompt` and perhaps a `continuation`, each with a `text` and its scores in [0, 1]. Heads
are fitted on half A of such a file, the lines whose prompt's sha256 begins with a byte below 0x80; half B stays for
evaluation, whoever samples it and in whatever order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends import BadRecords

ATTRIBUTES = (
    "toxicity",
    "severe_toxicity",
    "insult",
    "threat",
    "identity_attack",
    "profanity",
    "sexually_explicit",
    "flirtation",
)
"""Of the Perspective API, as RealToxicityPrompts names them."""

HALF = 0x80
RULE = "only lines whose sha256(prompt text, UTF-8) begins with a byte below 0x80 are fitted on"


@dataclass(frozen=True)
class Scored:
    """A text with its scores, in the order of `ATTRIBUTES`."""

    prompt: str = field(repr=False)
    text: str = field(repr=False)
    scores: tuple[float, ...]


def fitted_on(prompt: str) -> bool:
    """Return whether the line of this prompt belongs to half A, on which heads are fitted: never evaluate with it."""
    return hashlib.sha256(prompt.encode()).digest()[0] < HALF


def read_scored(file: Path) -> Iterator[Scored]:
    """Yield every text of a file that has all scores, prompts and continuations apart.

    Raises:
        BadRecords: The file cannot be read, or a line cannot be used.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecords(
            f"{file} cannot be read ({type(error).__name__}); give a file of JSON Lines in UTF-8"
        ) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _object(file, number, line)
        prompt = _part(file, number, row, "prompt")["text"]
        for name in ("prompt", "continuation"):
            if name in row:
                part = _part(file, number, row, name)
                scores = tuple(part.get(attribute) for attribute in ATTRIBUTES)
                if None not in scores:  # Perspective gave none for some texts
                    yield Scored(prompt, part["text"], _numbers(file, number, scores))


def _object(file: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadRecords(f"{file}, line {number}: this is no JSON; write one object a line") from error
    if not isinstance(row, dict):
        raise BadRecords(f"{file}, line {number}: a line must be a JSON object with a prompt")
    return row


def _part(file: Path, number: int, row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = row.get(name)
    if not isinstance(part, dict) or not isinstance(part.get("text"), str) or not part["text"].strip():
        raise BadRecords(f"{file}, line {number}: {name} must be an object with a text and its scores")
    return part


def _numbers(file: Path, number: int, scores: tuple[Any, ...]) -> tuple[float, ...]:
    if not all(isinstance(score, int | float) and 0 <= score <= 1 for score in scores):
        raise BadRecords(f"{file}, line {number}: scores must be numbers in [0, 1]")
    return tuple(float(score) for score in scores)
