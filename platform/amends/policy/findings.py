"""A mistake in a policy's file, and what the installed plugins offer to compare its names with."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from amends.errors import BadPolicy
from amends.policy.places import Place

_MARK = re.compile(r"(?:.*?, )?(\d+):(\d+): (.*)", re.DOTALL)


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake: where it stands, what it is about, and a sentence that names the way out."""

    place: Place
    about: str
    sentence: str


@dataclass(frozen=True)
class Known:
    """What the installed plugins offer: the parameters of each probe by its name, and the names of operations."""

    probes: Mapping[str, Collection[str]] = field(default_factory=dict)
    operations: Collection[str] = ()


def near(name: str, known: Collection[str]) -> str:
    """Return the way out of a name that is not known: the nearest one that is."""
    found = difflib.get_close_matches(name, sorted(known), 1)
    return f"did you mean {found[0]!r}" if found else "check its spelling, or install the plugin that brings it"


def told(error: BadPolicy, about: str, place: Place, find: Callable[[int, int], Place] | None = None) -> Finding:
    """Return an error as a finding: at the place that it names, where it names one."""
    marked = _MARK.fullmatch(str(error))
    if marked is None:
        return Finding(
            place, about, str(error).partition(": ")[2] if find is None and ": " in str(error) else str(error)
        )
    line, column = int(marked[1]), int(marked[2])
    return Finding(find(line, column) if find else Place(line, column), about, marked[3])
