"""The documentation says what the code does: hooks are described, examples run, generated pages are fresh."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from amends import hookspecs, host
from amends.cli.root import root
from amends.records import DataSubject, Disclosure

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
    """Run a command as somebody who has the plugin installed, and no Ray of this process."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**own, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", **given}
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)


def test_the_plugin_of_the_page_has_a_pyproject_of_seven_lines():
    assert len(titled("plugins.md")["pyproject.toml"].splitlines()) == 7


def test_the_plugin_of_the_page_is_listed_and_described(installed, tmp_path):
    amends = (sys.executable, "-m", "amends")
    assert "amends-tuning" in run(installed, *amends, "plugins", "--json").stdout
    shown = run(installed, *amends, "operations", "tuning.norms")
    assert "Train the norms of a model" in shown.stdout and "tuning.brevity" in shown.stdout


@pytest.mark.parametrize("where", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_the_plugin_of_the_page_runs_and_gives_the_same_bytes_twice(installed, tmp_path, tiny_version, where):
    script = tmp_path / "try_it.py"
    script.write_text(titled("plugins.md")["try_it.py"], encoding="utf-8")
    told = run(installed, sys.executable, script, tiny_version, tmp_path / "work", where)
    assert told.returncode == 0, told.stderr
    assert re.fullmatch(r"deterministic tuning\.brevity/share [01]\.\d+\n", told.stdout), told.stdout


def test_every_hook_is_a_heading_with_its_name_and_arguments():
    headings = re.findall(r"^## (amends_.*)$", (DOCS / "hooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    specs = [f"{name}({', '.join(inspect.signature(spec).parameters)})" for name, spec in HOOKS.items()]
    assert headings == specs


LONGEST = {"amends_stores": 15, "amends_attachments": 12}  # a seam has three functions; all other hooks fit ten lines


@pytest.mark.parametrize(("name", "code"), list(zip(HOOKS, blocks("hooks.md", "python"), strict=True)), ids=list(HOOKS))
def test_the_example_of_each_hook_is_short_and_a_sound_plugin(name, code):
    assert len([line for line in code.splitlines() if line.strip()]) <= LONGEST.get(name, 10)
    module = ModuleType(name)
    exec(compile(code, f"hooks.md, {name}", "exec"), vars(module))
    found = host.load([(name, module)])
    assert not found.broken, found.broken
    assert found.manager.get_plugin(name) and getattr(found.manager.hook, name).get_hookimpls()


def test_the_store_of_the_page_finds_and_erases(tmp_path):
    module = ModuleType("notes")
    exec(blocks("hooks.md", "python")[list(HOOKS).index("amends_stores")], vars(module))
    (tmp_path / "notes.txt").write_text("Ada Quill called")
    (store,) = host.load([("notes", module)]).stores(SimpleNamespace(home=tmp_path))
    ada = Disclosure(DataSubject("s_1"), {"name": ("Ada Quill",)})
    assert [len(list(asked(ada))) for asked in (store.locate, store.erase, store.erase, store.verify)] == [1, 1, 0, 0]


def test_a_page_that_says_something_else_than_the_code_is_named(tmp_path):
    generator = tmp_path / "docs" / "generate.py"
    generator.parent.mkdir()
    generator.write_bytes((DOCS / "generate.py").read_bytes())
    (tmp_path / "policies").symlink_to(ROOT / "policies")

    def generate(*arguments):
        return subprocess.run([sys.executable, generator, *arguments], capture_output=True, text=True, check=False)

    assert generate("--check").returncode == 1
    assert generate().stdout.count("wrote docs/reference/") == 6
    assert generate("--check").returncode == 0
    (tmp_path / "docs" / "reference" / "hooks.md").write_text("nothing")
    told = generate("--check")
    assert (told.returncode, told.stdout) == (1, "docs/reference/hooks.md is stale; run make fix\n")


def printed(page: str) -> list[tuple[str, str]]:
    """Return the commands of Amends that stand alone in a block of a page, each with the output shown under it."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```sh\namends ([^\n]*)\n```\n\n```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_checks_of_edits_on_the_page_print_what_the_page_says(tmp_path, monkeypatch):
    for name, text in titled("editing.md").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    told = [(CliRunner().invoke(root, shlex.split(words)), output) for words, output in printed("editing.md")]
    assert [done.stdout for done, _ in told] == [output for _, output in told]
    assert [done.exit_code for done, _ in told] == [0, 2]


@pytest.mark.parametrize("family", ["editing", "detox", "distillation", "rag"])
def test_each_operation_of_a_family_has_a_card_and_no_other_has(family):
    page = (DOCS / f"{family}-methods.md").read_text("utf-8")
    headings = re.findall(rf"^## ({family}\..*)$", page, re.MULTILINE)
    assert sorted(headings) == sorted(name for name in host.current().operations if name.startswith(f"{family}."))


PARTS = ("**Changes**", "**Use it**", "**Not**", "**Cost**", "**Fails**")


def test_each_card_of_editing_says_what_it_owes():
    """What it changes, when to use it and when not, its cost, how it fails; and its paper and its figures."""
    page = (DOCS / "editing-methods.md").read_text("utf-8")
    cards = dict(re.findall(r"^## (editing\..*?)\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL))
    figures = page.partition("\n## Figures\n")[2]
    assert "`make bench-editing DATA=" in figures
    for name, card in cards.items():
        assert [part for part in PARTS if part not in card] == [], name
        if name == "editing.forget":  # a person's records by the means of another: its figures are unlearning's
            continue
        assert re.search(r"\b(arXiv \d{4}\.\d{5})", re.sub(r"\s+", " ", card)) and "**Verbs**" in card, name
        assert f"`{name}`" in figures, name


def test_each_training_and_unlearning_has_a_card_with_all_its_parts():
    pages = "\n".join((DOCS / f"unlearning-{page}.md").read_text("utf-8") for page in ("exact", "methods"))
    cards = dict(re.findall(r"^## ((?:training|unlearning)\.\S+)\n(.*?)(?=^## |\Z)", pages, re.MULTILINE | re.DOTALL))
    assert sorted(cards) == sorted(n for n in host.current().operations if n.startswith(("training.", "unlearning.")))
    assert {name: [part for part in PARTS if part not in card] for name, card in cards.items()} == {
        name: [] for name in cards
    }


def test_every_variable_of_the_environment_is_documented():
    page = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    for file in [*(ROOT / "platform").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        for name in re.findall(
            r'environ(?:\.get\(|\[)"(AMENDS_\w+|RAY_ADDRESS|MLFLOW_TRACKING_URI)"', file.read_text()
        ):
            assert f"`{name}`" in page, name


PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "deploy" / "README.md"]


def typed(page: Path) -> list[list[str]]:
    """Return the words of every command of Amends in a page's shell blocks, without `amends` itself."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    found = re.findall(r"(?:^|[\s(])amends (?!amends\b)([a-z][^|;&<)#\n]*)", text, re.MULTILINE)
    return [shlex.split(line) for line in found]


COMMANDS = [(page.name, words) for page in PAGES for words in typed(page)]


@pytest.mark.parametrize("words", [words for _, words in COMMANDS], ids=[f"{p} {' '.join(w)}" for p, w in COMMANDS])
def test_every_command_in_the_pages_is_one_that_amends_has(words):
    command, context = root, click.Context(root, info_name="amends")
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, name
        context = click.Context(command, info_name=name, parent=context)
    command.make_context(command.name, words, parent=context.parent)


def test_the_pages_tell_the_whole_story_in_commands():
    told = {tuple(words[:2]) for _, words in COMMANDS}
    for story in (
        "models import",
        "data register",
        "cases approve",
        "cases purge",
        "edit check",
        "edit trace",
        "edit drop",
        "certificate verify",
        "audit verify",
    ):
        assert tuple(story.split()) in told, story


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_no_link_inside_the_repository_is_dead(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_pages_build_strictly_and_fetch_nothing(tmp_path):
    built = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    told = subprocess.run(built, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        assert not re.search(
            r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', page.read_text(encoding="utf-8")
        ), page
    for style in (tmp_path / "site").rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8"), style


def test_each_decision_is_one_page_with_its_three_parts_and_listed():
    listed = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    for number, page in enumerate(sorted((DOCS / "decisions").glob("0*.md")), start=1):
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. ") and page.name.startswith(f"{number:04d}-") and page.name in listed
        assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == ["Context", "Choice", "Consequences"], page.name
        assert len(text.splitlines()) <= 50, page.name


def test_each_fragment_of_the_changelog_is_a_sentence_of_a_known_kind():
    for fragment in (ROOT / "changelog").glob("*"):
        assert re.fullmatch(r"\d+\.(added|changed|fixed|removed|security)\.md", fragment.name), fragment.name
        text = fragment.read_text(encoding="utf-8").strip()
        assert text[0].isupper() and text.endswith(".") and "\n" not in text, fragment.name
