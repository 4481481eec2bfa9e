"""Every hook gathers, and fails closed: each is exercised here by a small plugin."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import ModuleType, SimpleNamespace

import click
import pytest
from click.testing import CliRunner

import amends
from amends import hookspecs, host
from amends.errors import BrokenPlugin, UnknownOperation, UnknownProbe
from amends.records import AuditEntry, Change, DataSubject, Disclosure, ModelVersion, Reading

ADA = Disclosure(DataSubject("s_1"), {"name": ("Ada Quill",)})
CHANGE = Change("toy.copy", None, ModelVersion("m", 1, "0" * 64))
ENTRY = AuditEntry(1, "e-1:opened", "2026-03-02T09:00:00+00:00", "p_1", "erasure.opened", {}, "", "0" * 64)


@amends.probe("toy.count")
def count(task: amends.ProbeTask) -> list[Reading]:
    """Count nothing."""
    return [Reading("toy.count", 1.0)]


@amends.operation("toy.copy", verified_by=["toy.count"])
def copy(task: amends.Task) -> None:
    """Copy the weights."""
    task.keep_weights()


class Prefix:
    kind = "prefix"

    def load(self, path, model, tokenizer):
        return SimpleNamespace(before=str, inside=nullcontext, after=lambda prompt, answer: answer)


class Notes:
    """A store of lines in memory."""

    def __init__(self, name, lines=()):
        self.name, self.lines = name, list(lines)

    def locate(self, disclosure):
        return [amends.Finding(self.name, "line") for line in self.lines if any(v in line for v in disclosure.values())]

    def erase(self, disclosure):
        found = self.locate(disclosure)
        self.lines = [line for line in self.lines if not any(v in line for v in disclosure.values())]
        return found

    verify = locate


def plugin(name="toy", **hooks):
    """Return a plugin with these hooks; what is not a function is what the hook returns."""
    module = ModuleType(name)
    for hook, answer in hooks.items():
        given = answer if callable(answer) else lambda answer=answer: answer
        setattr(module, hook, amends.hookimpl(given))
    return name, module


def toys(**more):
    return plugin(amends_operations=[copy], amends_probes=[count], **more)


def test_every_hook_has_a_test_of_its_own():
    for name in vars(hookspecs):
        if name.startswith("amends_"):
            assert f"test_hook_{name}" in globals(), name


def test_hook_amends_operations():
    found = host.load([toys()])
    assert list(found.operations) == ["toy.copy"] and found.operation("toy.copy") is copy
    with pytest.raises(UnknownOperation, match=r"no plugin offers 'toy\.paste'; there are toy\.copy"):
        found.operation("toy.paste")


def test_an_operation_whose_probe_nobody_offers_is_refused():
    found = host.load([plugin(amends_operations=[copy])])
    with pytest.raises(UnknownProbe, match=r"verified by 'toy\.count', which no plugin offers"):
        found.operation("toy.copy")


def test_an_operation_takes_whole_only_versions_that_it_asks_for():
    def distil(task: amends.Task, *, teacher: ModelVersion, times: int = 1) -> None:
        """Learn."""

    declare = partial(amends.operation, "toy.distil", verified_by=["toy.count"])
    assert declare(whole=["teacher"])(distil).whole == ("teacher",)
    for name in ("times", "pupil"):
        with pytest.raises(amends.BadInput, match=f"toy.distil takes no version called '{name}'"):
            declare(whole=[name])(distil)


def test_hook_amends_probes():
    found = host.load([toys()])
    assert found.probe("toy.count") is count and found.source_of("toy.count").name == "toy"
    with pytest.raises(UnknownProbe, match=r"no plugin offers 'toy\.sum'"):
        found.probe("toy.sum")


def test_hook_amends_stores():
    stores = (Notes("b", ["Ada Quill was here", "nobody was"]), Notes("a"))
    ours, others = plugin(amends_stores=lambda workspace: [stores[0]]), plugin("b", amends_stores=lambda: [stores[1]])
    found = host.load([ours, others])
    gathered = found.stores(SimpleNamespace(home=None))
    assert [store.name for store in gathered] == ["a", "b"]  # by name, whoever was loaded first
    assert [len(list(store.erase(ADA))) for store in gathered] == [0, 1]
    assert [list(store.verify(ADA)) for store in gathered] == [[], []]


def test_hook_amends_attachments():
    found = host.load([plugin(amends_attachments=[Prefix()])])
    assert list(found.attachments) == ["prefix"]
    assert found.attachment("prefix").load(None, None, None).after("q", "a") == "a"
    with pytest.raises(UnknownOperation, match="no plugin offers attachment 'suffix'"):
        found.attachment("suffix")


def test_hook_amends_review():
    consents = plugin("calm", amends_review=lambda change: ())
    objects = plugin("strict", amends_review=lambda change: [f"{change.candidate} is too new"])
    assert host.load([consents]).review(CHANGE) == ()
    assert host.load([objects, consents]).review(CHANGE) == ("m@1 is too new",)


def test_a_reviewer_that_raises_objects_and_the_others_are_heard():
    def fail(change):
        raise RuntimeError("Ada Quill lives in Brenn")

    found = host.load([plugin("a", amends_review=fail), plugin("b", amends_review=lambda change: ["too early"])])
    assert found.review(CHANGE) == ("reviewer 'a' failed (RuntimeError)", "too early")


def test_a_reviewer_that_answers_with_nothing_sensible_objects():
    (objection,) = host.load([plugin(amends_review=lambda change: 7)]).review(CHANGE)
    assert objection == "reviewer 'toy' failed (TypeError)"


def test_hook_amends_recorded():
    told = []
    found = host.load([plugin(amends_recorded=lambda entry: told.append(entry.id))])
    assert found.recorded(ENTRY) == () and told == ["e-1:opened"]


def test_a_listener_that_fails_undoes_nothing_and_the_next_is_told():
    told = []

    def fail(entry):
        raise OSError("no route to the ticket system")

    listeners = [
        plugin(name, amends_recorded=hook)
        for name, hook in (("a", fail), ("b", lambda entry: told.append(entry)), ("c", fail))
    ]
    assert sorted(host.load(listeners).recorded(ENTRY)) == ["a", "c"]
    assert told == [ENTRY]


def test_what_a_failing_listener_is_told_stays_in_the_ledger(small_workspace, monkeypatch):
    def fail(entry):
        raise OSError("no route to the ticket system")

    monkeypatch.setattr(host, "_HOST", [host.load([plugin(amends_recorded=fail)])])
    small_workspace.tell()
    from amends.ledger import audit

    with small_workspace.database.read() as connection:
        assert audit.verify_chain(connection) == 1
        assert audit.position(connection, "plugins") == 1


def test_hook_amends_commands():
    @click.command("motto")
    def motto():
        click.echo("Put it right, and prove it.")

    cli = click.Group("amends")
    host.load([plugin(amends_commands=lambda cli: cli.add_command(motto))]).add_commands(cli)
    assert CliRunner().invoke(cli, ["motto"]).output == "Put it right, and prove it.\n"


def everything_refuses(found):
    """Whether a host with a broken plugin refuses whatever could let something through."""
    asked = (
        lambda: found.operation("toy.copy"),
        lambda: found.probe("toy.count"),
        lambda: found.review(CHANGE),
        lambda: found.stores(SimpleNamespace(home=None)),
    )
    for ask in asked:
        with pytest.raises(BrokenPlugin, match="mend it or uninstall it"):
            ask()
    return True


BROKEN = {
    "a misspelt hook": plugin("odd", amends_reviews=lambda change: ()),
    "a misspelt argument": plugin("odd", amends_review=lambda changes: ()),
    "an operation that is none": plugin("odd", amends_operations=["toy.copy"]),
    "a hook that raises": plugin("odd", amends_operations=lambda: 1 / 0),
    "a name that is taken": plugin("odd", amends_operations=[copy]),
    "a probe where an operation belongs": plugin("odd", amends_operations=[count]),
    "an attachment without load": plugin("odd", amends_attachments=[SimpleNamespace(kind="odd")]),
}


@pytest.mark.parametrize("odd", BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_and_everything_refuses(odd):
    found = host.load([toys(amends_review=lambda change: ()), odd])
    assert [broken.name for broken in found.broken] == ["odd"] and found.broken[0].broken
    assert list(found.operations) == ["toy.copy"]  # nothing of the broken one is left, and what was there stays
    assert everything_refuses(found)


def test_a_broken_plugin_says_which_name_was_taken():
    found = host.load([toys(), plugin("odd", amends_probes=[count])])
    assert found.broken[0].broken == "ValueError: 'toy.count' is already offered by plugin 'toy'"


def test_a_plugin_that_cannot_be_imported_is_named_and_everything_refuses(tmp_path, monkeypatch):
    info = tmp_path / "amends_gone-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: amends-gone\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[amends]\ngone = amends_gone_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = host.load()
    assert [(b.name, b.distribution, b.version) for b in found.broken] == [("gone", "amends-gone", "1.0")]
    assert found.broken[0].broken == "ModuleNotFoundError: No module named 'amends_gone_module'"
    assert "training.shards" in found.operations  # named, so that people can look, and still refused:
    assert everything_refuses(found)
