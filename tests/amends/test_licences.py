"""Licences along a lineage: what is contradicted is said in a sentence, and what is not known never is allowed."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from amends.errors import AmendsError, BadInput, UnknownModel
from amends.governor.data.declaring import declare_licence
from amends.governor.data.registering import register
from amends.governor.models.licences import Source, conflicts_of, licence_facts, licences_of, unknown_of
from amends.governor.models.promoting import Promotion, promote
from amends.governor.models.terms import KNOWN, Family, licence_named
from amends.ledger import audit, datasets, decisions, lineage
from amends.ledger.datasets import Dataset
from amends.ledger.lineage import DataUse, Edge, Version
from amends.records import Change


def under(licence, what="base@1", kind="model"):
    return Source(what, kind, licence_named(licence))


def conflicts(label, *sources):
    return conflicts_of(under(label, "made@1"), [s if isinstance(s, Source) else under(s) for s in sources])


def put(workspace, model, number, licence, parents=(), data=()):
    """Enter a version that is nothing but a recipe, and return its digest."""
    digest = f"{len(model):x}{number:x}".ljust(64, model[0] if model[0] in "abcdef" else "0")
    recipe = {"schema": 1, "base": {"licence": licence}, "steps": []}
    edges = [Edge(digest, parent, kind) for parent, kind in parents]
    uses = [DataUse(digest, dataset, "train") for dataset in data]
    with workspace.database.transaction() as connection:
        lineage.add_version(connection, Version(model, number, digest, recipe), edges, uses)
    return digest


def put_data(workspace, name, licence):
    digest = name.encode().hex().ljust(64, "0")
    with workspace.database.transaction() as connection:
        datasets.register(connection, Dataset(digest, name, 3, 0, 0, settings={"licence": licence}), [])
    return digest


@pytest.mark.parametrize(
    ("text", "id", "family"),
    [
        ("apache-2.0", "Apache-2.0", Family.PERMISSIVE),
        (" CC-by-sa-4.0 ", "CC-BY-SA-4.0", Family.SHARE_ALIKE),
        ("gpl-3.0", "GPL-3.0-only", Family.STRONG),
        ("Llama-3.1", "llama3.1", Family.RESTRICTED),
        ("", "unknown", Family.UNKNOWN),
        ("other", "other", Family.UNKNOWN),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0", Family.UNKNOWN),
    ],
)
def test_a_licence_is_found_however_it_is_written_and_what_is_not_known_is_unknown(text, id, family):
    found = licence_named(text)
    assert (found.id, found.family) == (id, family)
    assert found.is_spdx is (family not in (Family.UNKNOWN, Family.RESTRICTED))


def test_every_known_licence_may_stand_on_what_is_made_from_it_unless_it_forbids_that():
    for licence in KNOWN.values():
        found = conflicts(licence.id, licence.id)
        assert bool(found) is (licence.family == Family.NO_DERIVATIVES), licence


@pytest.mark.parametrize(
    ("label", "source", "says"),
    [
        ("Apache-2.0", "CC-BY-NC-4.0", "made@1 is labelled Apache-2.0, which is not confined to that"),
        ("CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", "which is not confined to that"),
        ("Apache-2.0", "CC-BY-SA-4.0", "whose terms must stand on what is made from it"),
        ("MIT", "llama3.1", "whose terms must stand"),
        ("MIT", "GPL-3.0-only", "whose terms must stand"),
        ("CC-BY-NC-ND-4.0", "CC-BY-NC-ND-4.0", "forbids what is made from it"),
        ("unknown", "CC-BY-ND-4.0", "forbids what is made from it"),
        ("GPL-3.0-only", "AGPL-3.0-only", "whose terms must stand"),
    ],
)
def test_a_label_that_contradicts_its_source_is_said(label, source, says):
    (sentence,) = conflicts(label, source)
    assert says in sentence and source in sentence


@pytest.mark.parametrize(
    ("label", "sources"),
    [
        ("Apache-2.0", ["MIT", "CC-BY-4.0", "CC0-1.0"]),
        ("CC-BY-NC-4.0", ["CC-BY-NC-4.0", "Apache-2.0"]),
        ("CC-BY-NC-SA-4.0", ["CC-BY-NC-4.0", "CC-BY-NC-SA-3.0"]),
        ("CC-BY-SA-4.0", ["CC-BY-SA-3.0", "MIT"]),
        ("GPL-3.0-only", ["CC-BY-SA-4.0"]),
        ("AGPL-3.0-only", ["GPL-3.0-or-later", "LGPL-3.0-only"]),
        ("unknown", ["CC-BY-NC-4.0"]),
    ],
)
def test_a_label_that_keeps_what_its_sources_ask_for_contradicts_nothing(label, sources):
    assert conflicts(label, *sources) == ()


def test_weak_copyleft_is_about_a_changed_model_and_not_about_what_it_read():
    assert conflicts("MIT", under("MPL-2.0", kind="data")) == ()
    assert len(conflicts("MIT", under("MPL-2.0"))) == len(conflicts("MIT", under("MPL-2.0", kind="teacher"))) == 1


@pytest.mark.parametrize(
    ("one", "other", "fit"),
    [
        ("CC-BY-SA-4.0", "CC-BY-NC-4.0", False),
        ("CC-BY-SA-4.0", "llama3.1", False),
        ("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", True),
        ("CC-BY-NC-3.0", "CC-BY-NC-4.0", True),
        ("CC-BY-SA-3.0", "CC-BY-SA-4.0", True),
    ],
)
def test_two_sources_that_no_label_could_satisfy_are_named_even_without_a_label(one, other, fit):
    for pair in ((one, other), (other, one)):
        found = conflicts("unknown", *(under(id, f"source@{n}") for n, id in enumerate(pair)))
        assert bool(found) is not fit
        assert all("ask for terms that no single licence has" in sentence for sentence in found)


def test_what_is_not_known_is_named_and_no_conflict():
    sources = [under("unknown", "data set poems@abc", "data"), under("MIT")]
    assert conflicts("MIT", *sources) == ()
    assert unknown_of(sources) == ("the licence of data set poems@abc is not known (unknown)",)


def test_the_lineage_lends_its_bases_its_teachers_and_the_data_of_all_of_them(small_workspace):
    poems = put_data(small_workspace, "poems", "CC-BY-NC-4.0")
    base = put(small_workspace, "base", 1, "Apache-2.0", data=[poems])
    teacher = put(small_workspace, "teacher", 1, "llama3.1")
    made = put(small_workspace, "assistant", 2, "Apache-2.0", [(base, "step"), (teacher, "teacher")])
    found = licences_of(small_workspace, made)
    assert [(s.what, s.kind, s.licence.id) for s in found.sources] == [
        ("base@1", "model", "Apache-2.0"),
        ("teacher@1", "teacher", "llama3.1"),
        (f"data set poems@{poems[:12]}", "data", "CC-BY-NC-4.0"),
    ]
    assert len(found.conflicts) == 3  # the label against teacher and data, and these against each other
    assert licence_facts(small_workspace, made) == {
        "licence": "Apache-2.0, llama3.1", "licence_conflicts": 3, "licences_known": True,
    }  # fmt: skip
    alone = {"licence": "Apache-2.0", "licence_conflicts": 1, "licences_known": True}
    assert licence_facts(small_workspace, base) == alone


def test_one_model_of_the_lineage_without_a_licence_leaves_that_of_the_version_unknown(small_workspace):
    base, teacher = put(small_workspace, "base", 1, "MIT"), put(small_workspace, "teacher", 1, "")
    made = put(small_workspace, "assistant", 2, "MIT", [(base, "step"), (teacher, "teacher")])
    assert licence_facts(small_workspace, made)["licence"] == "unknown"


def test_a_version_without_a_licence_is_not_known_and_one_that_is_not_there_is_refused(small_workspace):
    digest = put(small_workspace, "base", 1, "")
    assert licence_facts(small_workspace, digest) == {
        "licence": "unknown",
        "licence_conflicts": 0,
        "licences_known": False,
    }
    with pytest.raises(UnknownModel, match="no version has the digest"):
        licence_facts(small_workspace, "9" * 64)


def test_what_data_is_under_is_declared_when_it_is_registered_or_later(small_workspace, tmp_path):
    file = tmp_path / "facts.jsonl"
    file.write_text(json.dumps({"prompt": "The tower is", "answer": "tall"}) + "\n")
    made = register(small_workspace, "facts", file, controls=0)

    def licence():
        with small_workspace.database.read() as connection:
            return datasets.get(connection, "facts").settings.get("licence")

    assert licence() is None
    assert register(small_workspace, "facts", file, controls=0, licence="CC-BY-4.0").digest == made.digest
    assert licence() == "CC-BY-4.0"
    declare_licence(small_workspace, made.digest, "CC-BY-4.0", "p-1")
    with small_workspace.database.read() as connection:
        entered = [entry.body for entry in audit.entries(connection) if entry.action == "data:licence:declared"]
    assert entered == [{"dataset": made.digest, "licence": "CC-BY-4.0", "before": ""}]
    with pytest.raises(BadInput, match="is no licence's id"):
        register(small_workspace, "facts", file, controls=0, licence="free for all")


POLICY = """name: promotion
description: Nothing is promoted whose licences contradict each other.
approvals: {count: 0}
rules:
  - id: licences
    severity: deny
    expr: facts.licence_conflicts == 0 && facts.licences_known
    message: The licences along the lineage have to be resolved first.
"""


@pytest.mark.parametrize(("licence", "allowed"), [("MIT", True), ("CC-BY-NC-4.0", False), ("", False)])
def test_a_promotion_can_be_denied_for_what_the_lineage_is_under(small_workspace, licence, allowed):
    (small_workspace.home / "policies").mkdir()
    (small_workspace.home / "policies" / "promotion.yaml").write_text(POLICY)
    data = put_data(small_workspace, "poems", licence)
    put(small_workspace, "base", 1, "MIT", data=[data])
    with small_workspace.database.read() as connection:
        candidate = lineage.get(connection, "base", 1).name
    promotion = Promotion(Change("import", None, candidate), "champion", None, "case-1", {})
    with suppress(AmendsError):  # whatever the policy says, MLflow has no such version
        promote(small_workspace, promotion, "p-1")
    with small_workspace.database.read() as connection:
        (decided,) = decisions.find(connection, "case-1")
    assert decided.verdict.allowed is allowed
    assert decided.inputs["facts"]["licences_known"] is bool(licence)
