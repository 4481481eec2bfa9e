"""What a command shows: one JSON document, aligned tables, and progress that keeps to standard error."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from amends.cli.output import Screen
from amends.cli.progress import Progress
from amends.cli.tables import Marked, Table


@dataclass
class Thing:
    where: Path
    at: datetime
    value: float


def test_a_document_is_valid_json_whatever_it_holds(capsys):
    thing = Thing(Path("/a"), datetime(2026, 1, 31, tzinfo=UTC), math.nan)
    Screen(as_json=True).show({"thing": thing, "many": {1}}, "not shown")
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"thing": {"where": "/a", "at": "2026-01-31T00:00:00+00:00", "value": None}, "many": [1]}


def test_with_json_nothing_else_is_shown(capsys):
    screen = Screen(as_json=True)
    screen.say("on the way")
    screen.progress.bar(1, 2, "training")
    screen.show({})
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("{}\n", "")


def test_a_table_is_aligned_and_an_empty_one_says_so(capsys):
    Table(("name", "n"), [("a", 1), ("longer", None), (Marked("red", "red"), 0.123456)]).show()
    Table(("name",), [], "nobody").show()
    assert capsys.readouterr().out.splitlines() == ["name    n", "a       1", "longer  -", "red     0.1235", "nobody"]


def test_progress_off_a_terminal_is_plain_lines_that_do_not_flood(capsys):
    progress = Progress()
    for done in range(81):
        progress.bar(done, 80, "training")
    progress.bar(0, 3, "measuring")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["[0/80] training", "[80/80] training", "[0/3] measuring"]
