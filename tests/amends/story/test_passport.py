"""The passport of a version: all that is on record, what is not by name, and an ML-BOM that tools can read."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator

from amends.cli.root import root
from amends.errors import UnknownModel
from amends.governor.models.anatomy import count_parameters
from amends.governor.proof.inventories import REGIMES
from amends.governor.proof.mlbom import bom_of
from amends.governor.proof.passport import passport_of
from amends.governor.proof.sheet import render_passport
from amends.ledger import decisions

VOID = {"meta", "br", "path", "rect", "circle"}


class Page(HTMLParser):
    """The elements of a page; what is closed out of turn is a problem."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.stack, self.problems = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.problems.append(tag)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def passport(after):
    """Return the passport of the version that an erasure made."""
    return passport_of(after.workspace, "assistant@2")


def rows(passport, regime, question):
    return [row for row in passport["questions"] if row["regime"] == regime and question in row["question"]]


def test_a_passport_has_what_lineage_cases_and_decisions_know(after, passport):
    assert (passport["reference"], passport["version"]["guarantee"]) == ("assistant@2", "exact")
    assert passport["version"]["aliases"] == ["champion"] and passport["case"]["id"] == after.case_id
    assert [(row["version"], row["kind"]) for row in passport["ancestors"]] == [
        ("tiny@1", "base"),
        ("assistant@1", "rebuilt-from"),
    ]
    assert [step["operation"] for step in passport["steps"]] == ["training.shards"]
    assert [row["role"] for row in passport["data"]] == ["train"] and passport["data"][0]["records"] > 0
    assert {decision["policy"] for decision in passport["decisions"]} == {"erasure", "promotion"}
    assert [row["role"] for row in passport["approvals"]] == ["dpo", "ml-engineer"]
    with after.workspace.database.read() as connection:
        judged = {found.id: found for found in decisions.find(connection, after.case_id)}
    seen = judged[passport["readings"]["decision"]].inputs["after"]
    told = {reading["name"]: reading["value"] for reading in passport["readings"]["after"]}
    assert told == {reading["name"]: reading["value"] for reading in seen} and told
    assert any(reading["low"] is not None for reading in passport["readings"]["after"])


def test_a_passport_names_no_person_and_no_salt(after, passport, told):
    for text in (json.dumps(passport), render_passport(passport), json.dumps(bom_of(passport))):
        assert not [name for name in told.PEOPLE if name in text or name.split()[0] in text]
        assert "_salt" not in text and "5a17" not in text
        assert not [name for name in ("dora", "olga", "sven") if re.search(rf"\b{name}\b", text)]


def test_what_nobody_recorded_is_named_as_open_and_nothing_is_left_out(passport):
    asked = [(regime, item, text) for regime, questions in REGIMES.items() for item, text, _ in questions]
    assert [(row["regime"], row["item"], row["question"]) for row in passport["questions"]] == asked
    assert {row["source"] for row in passport["questions"]} <= {"lineage", "declared", "open"}
    (energy,) = rows(passport, "EU AI Act, Annex XI", "energy consumption")
    assert energy["source"] == "open" and any("energy consumption" in item for item in passport["open"])
    assert len(passport["open"]) == sum(row["source"] == "open" for row in passport["questions"]) > 10
    page = render_passport(passport)
    assert page.count("! open") == len(passport["open"])


def test_architecture_size_and_context_are_read_from_the_files(after, passport, make_tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(make_tiny(tmp_path / "again") / "model")
    size = sum(math.prod(weight.shape) for weight in model.parameters())
    (row,) = rows(passport, "EU AI Act, Annex XII", "Architecture")
    assert row["answer"].startswith(f"LlamaForCausalLM, {size:,} parameters, and ") and row["source"] == "lineage"
    (row,) = rows(passport, "EU AI Act, Annex XII", "context window")
    assert row["answer"].startswith("512 tokens")


def test_a_damaged_file_has_no_size_rather_than_a_small_one(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{not json at all")
    assert count_parameters(tmp_path.glob("*")) is None
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 9)
    assert count_parameters(tmp_path.glob("*")) is None


def test_an_imported_base_says_what_was_declared_and_that_nothing_was_measured(after):
    known = passport_of(after.workspace, "tiny@1")
    assert (known["case"], known["steps"], known["readings"]["after"]) == (None, [], [])
    (licence,) = rows(known, "EU AI Act, Annex XI", "Licence")
    assert (licence["answer"], licence["source"]) == ("Apache-2.0 (permissive)", "declared")
    assert any("No readings stand in the ledger" in limit for limit in known["limits"])
    assert any("No policy has judged" in limit for limit in known["limits"])
    assert "No readings stand in the ledger" in render_passport(known)


def test_a_tombstone_has_a_passport_too(after):
    known = passport_of(after.workspace, "assistant@1")
    assert known["anatomy"] is None and any("purged: its files are gone" in limit for limit in known["limits"])
    assert check_bom(bom_of(known)) == [] and "not on record: the files are not here" in render_passport(known)


def test_a_version_that_is_not_there_has_none(after):
    with pytest.raises(UnknownModel, match="there is no assistant@9"):
        passport_of(after.workspace, "assistant@9")


def test_the_page_is_self_contained_well_formed_and_can_be_read_by_ear(passport):
    text = render_passport(passport)
    page = Page(text)
    assert page.problems == [] and page.stack == [] and page.all("html") == [{"lang": "en"}]
    assert not re.search(r"<script|<link|<img|src=|url\(|@import|href=\"(?!#)", text)
    for landmark in ("header", "main", "footer"):
        assert len(page.all(landmark)) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[:2] == [1, 2] and all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    named = [name for _, attrs in page.elements for name in attrs.get("aria-labelledby", "").split()]
    assert len(ids) == len(set(ids)) and set(named) <= set(ids) and len(named) >= 5
    assert all("aria-label" in attrs for attrs in page.all("table"))
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.all("th"))


def check_bom(bom):
    """Return what in a BOM breaks the rules of CycloneDX 1.6 for the parts that are used here, one sentence each."""
    hashed = {"alg": {"const": "SHA-256"}, "content": {"pattern": "^[a-fA-F0-9]{64}$"}}
    digest = {"type": "array", "items": {"required": ["alg", "content"], "properties": hashed}}
    licence = {"type": "object", "oneOf": [{"required": ["id"]}, {"required": ["name"]}]}
    properties = {"type": "array", "items": {"type": "object", "additionalProperties": False, "required": ["name"],
                  "properties": {"name": {"type": "string"}, "value": {"type": "string"}}}}  # fmt: skip
    bound = {"type": "object", "additionalProperties": {"type": "string"}}
    metric = {"type": "object", "additionalProperties": False, "properties": {
        "type": {"type": "string"}, "value": {"type": "string"}, "slice": {"type": "string"},
        "confidenceInterval": {**bound, "required": ["lowerBound", "upperBound"], "maxProperties": 2}}}  # fmt: skip
    ref = {"type": "string", "minLength": 1}
    texts = {name: {"type": "string"} for name in ("task", "architectureFamily", "modelArchitecture")}
    card = {"type": "object", "additionalProperties": False, "properties": {
        "modelParameters": {"properties": {**texts, "datasets": {"type": "array", "items": {"required": ["ref"]}}}},
        "quantitativeAnalysis": {"properties": {"performanceMetrics": {"type": "array", "items": metric}}},
        "considerations": {"properties": {"technicalLimitations": {"items": {"type": "string"}}}}}}  # fmt: skip
    dataset = {"required": ["type"], "properties": {"type": {"const": "dataset"}}}
    component = {"type": "object", "required": ["type", "name"], "additionalProperties": False, "properties": {
        "type": {"enum": ["application", "machine-learning-model", "data"]}, "name": {"type": "string"},
        "version": {"type": "string"}, "bom-ref": ref, "hashes": digest, "modelCard": card, "properties": properties,
        "licenses": {"type": "array", "items": {"required": ["license"], "properties": {"license": licence}}},
        "pedigree": {"properties": {"ancestors": {"type": "array", "items": {"$ref": "#/definitions/component"}}}},
        "data": {"type": "array", "items": dataset}}}  # fmt: skip
    schema = {
        "definitions": {"component": component}, "type": "object", "additionalProperties": False,
        "required": ["bomFormat", "specVersion"],
        "properties": {
            "$schema": {"const": "http://cyclonedx.org/schema/bom-1.6.schema.json"},
            "bomFormat": {"const": "CycloneDX"},
            "specVersion": {"const": "1.6"}, "version": {"type": "integer", "minimum": 1},
            "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"},
            "metadata": {"properties": {"component": {"$ref": "#/definitions/component"}}, "required": ["component"]},
            "components": {"type": "array", "items": {"$ref": "#/definitions/component"}, "uniqueItems": True},
            "dependencies": {"type": "array", "items": {"type": "object", "required": ["ref"]}, "uniqueItems": True},
        },
    }  # fmt: skip
    found = [error.message for error in Draft7Validator(schema).iter_errors(bom)]
    known = [bom["metadata"]["component"]["bom-ref"], *(component["bom-ref"] for component in bom["components"])]
    used = [ref for row in bom["dependencies"] for ref in (row["ref"], *row.get("dependsOn", []))]
    used += [row["ref"] for row in bom["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"]]
    return found + [f"{ref} is no component" for ref in used if ref not in known or known.count(ref) > 1]


def test_the_bom_has_the_shape_that_the_specification_asks_for(passport):
    bom = bom_of(passport)
    assert check_bom(bom) == [] and bom_of(passport) == bom
    model = bom["metadata"]["component"]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}]
    assert [row["name"] for row in model["pedigree"]["ancestors"]] == ["tiny", "assistant"]
    (data,) = bom["components"]
    assert data["hashes"][0]["content"] == passport["data"][0]["digest"]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    read = passport["readings"]
    assert len(metrics) == len(read["before"]) + len(read["after"])
    sure = [reading for reading in (*read["before"], *read["after"]) if reading["low"] is not None]
    assert len([metric for metric in metrics if "confidenceInterval" in metric]) == len(sure) > 0


@pytest.mark.parametrize(
    "break_it",
    [
        lambda bom: bom.update(specVersion="1.5"),
        lambda bom: bom["metadata"]["component"].update(type="model"),
        lambda bom: bom["metadata"]["component"]["hashes"][0].update(content="abc"),
        lambda bom: bom["components"][0]["licenses"].append({"license": {}}),
        lambda bom: bom["dependencies"].append({"ref": "nobody"}),
        lambda bom: bom["metadata"]["component"]["properties"].append({"name": "amends:n", "value": 3}),
    ],
)
def test_the_check_of_that_shape_finds_what_breaks_it(passport, break_it):
    bom = bom_of({**passport, "data": [{**passport["data"][0], "licence": "CC-BY-4.0"}]})
    assert check_bom(bom) == []
    break_it(bom)
    assert check_bom(bom) != []


def test_the_bom_is_valid_under_the_full_schema(passport):
    import cyclonedx
    from referencing import Registry
    from referencing.jsonschema import DRAFT7

    folder = Path(cyclonedx.__file__).parent / "schema" / "_res"
    schemas = {file.name: json.loads(file.read_text()) for file in folder.glob("*.schema.json")}
    found = {name: DRAFT7.create_resource(schema) for name, schema in schemas.items()}
    registry = Registry().with_resources((f"http://cyclonedx.org/schema/{name}", one) for name, one in found.items())
    schema = schemas["bom-1.6.SNAPSHOT.schema.json"]
    found = Draft7Validator(schema, registry=registry).iter_errors(bom_of(passport))
    assert [f"{error.json_path}: {error.message[:200]}" for error in found] == []


def test_the_command_writes_both_files_and_says_what_is_open(after, tmp_path):
    after.close()
    environment = {"AMENDS_HOME": str(after.home), "AMENDS_TOKEN": after.tokens["olga"]}
    line = ["models", "passport", "assistant@champion", "--output", str(tmp_path / "out")]
    told = CliRunner().invoke(root, line, env=environment)
    assert told.exit_code == 0, told.stderr
    assert "open questions: " in told.stdout and "2 conflicts" not in told.stdout
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["assistant-2.cdx.json", "assistant-2.passport.html"]
    assert check_bom(json.loads((tmp_path / "out" / "assistant-2.cdx.json").read_text())) == []
    only = CliRunner().invoke(root, [*line[:-1], str(tmp_path / "page"), "--format", "html"], env=environment)
    assert only.exit_code == 0 and [path.name for path in (tmp_path / "page").iterdir()] == [
        "assistant-2.passport.html"
    ]
    shown = CliRunner().invoke(root, ["models", "show", "assistant@2", "--json"], env=environment)
    licences = json.loads(shown.stdout)["licences"]
    assert licences["label"] == "Apache-2.0" and licences["conflicts"] == [] and len(licences["unknown"]) == 1
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(root, [*line[:-1], str(tmp_path / "file" / "in")], env=environment)
    assert refused.exit_code == 2 and "name another place" in refused.stderr
