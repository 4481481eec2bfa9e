"""The documentation says what the code does: hooks are described, examples run, generated pages are fresh."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amends import hookspecs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOOKS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("amends_")}


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language in a page, without their fences."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}(?: [^\n]*)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def titled(page: str) -> dict[str, str]:
    """Return the fenced blocks of a page under the name of a file, by that name."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Install the plugin of the page as a distribution, and return a directory for the search path."""
    folder, site = tmp_path_factory.mktemp("tuning"), tmp_path_factory.mktemp("site")
    for name, text in titled("plugins.md").items():
        if name != "try_it.py":
            (folder / name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(folder)], check=True)
    return site


def run(installed: Path, *command: str | Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody who has the plugin installed."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", **given}
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)


def test_the_plugin_of_the_page_has_a_pyproject_of_seven_lines():
    assert len(titled("plugins.md")["pyproject.toml"].splitlines()) == 7


def test_the_plugin_of_the_page_is_listed_and_described(installed, tmp_path):
    amends = (sys.executable, "-m", "amends")
    assert "amends-tuning" in run(installed, *amends, "plugins", "--json").stdout
    shown = run(installed, *amends, "operations", "tuning.norms")
    assert "Train the norms of a model" in shown.stdout and "tuning.brevity" in shown.stdout


def test_the_plugin_of_the_page_runs_and_gives_the_same_bytes_twice(installed, tmp_path, tiny_version):
    script = tmp_path / "try_it.py"
    script.write_text(titled("plugins.md")["try_it.py"], encoding="utf-8")
    told = run(installed, sys.executable, script, tiny_version, tmp_path / "work", "inline")
    assert told.returncode == 0, told.stderr
    assert re.fullmatch(r"deterministic tuning\.brevity/share [01]\.\d+\n", told.stdout), told.stdout
