"""Check answers as lm-eval does: filters of a generated one, what its comparison ignores, and the likeliest choice."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

INVALID = "[invalid]"
FILTERS = ("regex", "take_first", "remove_whitespace", "lowercase", "uppercase")
IGNORES = ("ignore_case", "ignore_punctuation", "ignore_numbers")

PATTERN = {"type": "string", "format": "regex"}
STEP = {
    "type": "object",
    "required": ["function"],
    "additionalProperties": False,
    "properties": {
        "function": {"enum": FILTERS},
        "regex_pattern": PATTERN,
        "group_select": {"type": "integer"},
        "fallback": {"type": "string"},
    },
}
IGNORED = {name: {"type": "boolean"} for name in IGNORES} | {"regexes_to_ignore": {"type": "array", "items": PATTERN}}
"""JSON schemas of a filter's step and of what a comparison may ignore, in a row as in a task's file."""


def exact(row: Mapping[str, Any], answer: str) -> bool:
    """Return whether an answer is one of a row's texts, cut and filtered as its task says, but for spaces around it."""
    for stop in row.get("until", ()):
        answer = answer.partition(stop)[0] if stop else answer
    for step in row.get("filters", ()):
        answer = _filtered(step, answer)
    ignores = row.get("ignores", {})
    said = _plain(answer, ignores)
    return any(said == _plain(str(target), ignores) for target in row["exact"])


def likeliest(row: Mapping[str, Any], logps: Sequence[float]) -> bool:
    """Return whether the right choice has the highest log-likelihood, by its length in letters where the task says so.

    Args:
        row: With `choices` and `gold`, the place of the right one.
        logps: Of each choice after the prompt, in nats, summed over its tokens.
    """
    lengths = [len(choice) for choice in row["choices"]] if row.get("normalised") else [1] * len(logps)
    merits = [logp / length for logp, length in zip(logps, lengths, strict=True)]
    return merits.index(max(merits)) == int(row["gold"])


def _filtered(step: Mapping[str, Any], answer: str) -> str:
    """Apply one filter of lm-eval 0.4: its `regex` takes a match, and of several groups the first that is not empty."""
    if step["function"] == "regex":
        found = re.findall(step.get("regex_pattern", r"#### (\-?[0-9\.\,]+)"), answer)
        fallback, place = str(step.get("fallback", INVALID)), int(step.get("group_select", 0))
        if not -len(found) <= place < len(found):
            return fallback
        match = found[place]
        return str(next(filter(None, match), fallback) if isinstance(match, tuple) else match).strip()
    kinds: dict[str, Callable[[str], str]]
    kinds = {"lowercase": str.lower, "uppercase": str.upper, "remove_whitespace": str.lstrip}
    return kinds.get(step["function"], str)(answer)


def _plain(text: str, ignores: Mapping[str, Any]) -> str:
    for pattern in ignores.get("regexes_to_ignore", ()):
        text = re.sub(pattern, "", text)
    text = text.lower() if ignores.get("ignore_case") else text
    dropped = (string.punctuation if ignores.get("ignore_punctuation") else "") + (
        string.digits if ignores.get("ignore_numbers") else ""
    )
    return text.translate(str.maketrans("", "", dropped)).strip()
