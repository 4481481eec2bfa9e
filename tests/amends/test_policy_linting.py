"""A policy's mistakes are told with their line and column, and a rule that decides nothing is one of them."""

from __future__ import annotations

import random

import pytest

from amends.policy import Known, find_policy, lint, list_policies, parse_policy
from amends.policy.engine import CelEngine
from amends.policy.places import Place
from amends.policy.reach import answers
from amends.policy.references import read_references

PROBES = {"some.probe": ["bins"], "utility.perplexity": []}
KNOWN = Known(PROBES, ("editing.rome",))
SMALL = """name: small
description: One rule.
probes: {some.probe: {bins: 4}}
rules:
  - id: only
    severity: deny
    expr: readings["some.probe/score"].value <= 0.5
    message: It is not so.
"""
SEARCH = """search:
  probes: {some.probe: {bins: 3}}
  least: readings["some.probe/score"].high
  against: readings["some.probe/score"].value
  rules:
    - id: cheap
      severity: deny
      expr: readings["some.probe/score"].low <= 1.0
      message: It costs too much.
  candidates:
    - operation: some.change
"""
EXPR = 'readings["some.probe/score"].value <= 0.5'


def found(text, known=KNOWN):
    return [(str(one.place), one.about, one.sentence) for one in lint(text, "small.yaml", known)]


def the_only(text, known=KNOWN):
    (one,) = found(text, known)
    return one


def test_a_sound_policy_has_no_mistake():
    assert found(SMALL) == []


@pytest.mark.parametrize("name", list_policies())
def test_no_rule_of_the_policies_that_come_with_amends_decides_nothing(name):
    from amends import host

    offered = host.current()
    known = Known({n: [p.name for p in f.parameters] for n, f in offered.probes.items()}, tuple(offered.operations))
    assert lint(find_policy(name).read_text(encoding="utf-8"), f"{name}.yaml", known) == []


def test_a_mistake_in_the_yaml_is_told_where_it_stands():
    place, about, sentence = the_only("name: small\nrules: [")
    assert (place, about) == ("2:9", "the file") and sentence.endswith("mend the YAML")
    assert the_only(SMALL + "name: other\n")[0] == "9:1"


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("expr: facts.first == 1", "7:23"),
        ("expr: 'facts.first == 1'", "7:24"),
        ("expr: >-\n      facts.first ==\n      1", "8:19"),
        ("expr: |\n      facts.objections == 0 &&\n      facts.first == 1", "9:19"),
    ],
)
def test_a_mistake_in_an_expression_is_told_at_its_letter_however_it_is_folded(written, place):
    at, about, sentence = the_only(SMALL.replace(f"expr: {EXPR}", written))
    assert (at, about) == (place, "rule 'only'") and sentence.startswith("found no matching overload for '_==_'")


def test_the_probe_that_asks_incidents_is_looked_up_with_its_settings():
    with_settings = SMALL + "incidents: {probe: some.probe, settings: {bins: 4}}\n"
    assert found(with_settings) == [] and parse_policy(with_settings).incidents == {"some.probe": {"bins": 4}}
    assert the_only(SMALL + "incidents: {probe: some.prob}\n") == (
        "9:20", "incidents", "no plugin offers the probe 'some.prob'; did you mean 'some.probe'",
    )  # fmt: skip
    assert the_only(SMALL + "incidents: {probe: some.probe, settings: {bin: 4}}\n")[1] == "incidents"
    assert the_only(SMALL + "incidents: {settings: {bins: 4}}\n")[2].endswith("needs 'probe'; add it")


def test_unknown_facts_readings_probes_parameters_and_operations_are_named_with_what_is_near():
    assert the_only(SMALL.replace(EXPR, "facts.objectionz == 0")) == (
        "7:17", "rule 'only'", "there is no fact 'objectionz'; did you mean 'objections'",
    )  # fmt: skip
    place, about, sentence = the_only(SMALL.replace(EXPR, 'readings["some.prob/score"].value <= 0.5'))
    assert (place, about) == ("7:21", "rule 'only'")
    assert sentence == "no probe reads 'some.prob/score'; did you mean 'some.probe'"
    assert the_only(SMALL.replace("bins: 4", "bin: 4")) == (
        "3:23", "probes", "probe 'some.probe' has no parameter 'bin'; did you mean 'bins'",
    )  # fmt: skip
    assert the_only(SMALL + "audit: {utility.perplexitie: {}}\n")[2].endswith("did you mean 'utility.perplexity'")
    assert the_only(SMALL + "required: [nothing/here]\n")[:2] == ("9:12", "required")
    assert the_only(SMALL + "minimum: {nothing/here: {n: 2}}\n")[:2] == ("9:11", "minimum")
    assert the_only(SMALL + "operations: [editing.rom]\n")[2].endswith("did you mean 'editing.rome'")
    assert found(SMALL + "operations: [editing.absent, editing.rome]\n") == []


def test_a_search_is_linted_as_the_policy_is():
    text = SMALL + SEARCH
    known = Known({**KNOWN.probes}, ("some.change",))
    assert found(text, known) == []
    for old, new, said in (
        ("{some.probe: {bins: 3}}", "{some.probe: {bens: 3}}", "probe 'some.probe' has no parameter 'bens'"),
        ("some.change", "some.chance", "no plugin offers 'some.chance'; did you mean 'some.change'"),
        (".low <= 1.0", ".low <= 1.0 || true", "it holds whatever is read"),
    ):
        broken = text.replace(old, new)
        assert broken != text and any(said in sentence for _, _, sentence in found(broken, known)), said


def test_every_mistake_is_told_and_not_only_the_first():
    second = SMALL[SMALL.index("  - id") :].replace("severity: deny", "severity: warn")
    told = found(SMALL.replace(EXPR, "facts.firts == true") + second + second.replace(EXPR, "true"))
    assert [(place, about) for place, about, _ in told] == [
        ("7:17", "rule 'only'"), ("9:5", "rule 'only'"), ("13:5", "rule 'only'"), ("15:11", "rule 'only'"),
    ]  # fmt: skip
    assert told[1][2] == "there is a rule of this id at 5:5 already; give each its own"
    assert told[3][2].startswith("it reads neither readings nor facts nor approvals")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("facts.objections >= 0", "can never fire"),
        ("facts.first == true || facts.first == false", "can never fire"),
        (f"{EXPR} || true", "can never fire"),
        ('readings["some.probe/score"].n >= 1.0', "can never fire"),
        ('readings["some.probe/score"].power <= 1.0', "can never fire"),
        ("approvals.all(a, a.role == a.role)", "can never fire"),
        ("facts.objections < 0", "nothing passes it"),
        (f'{EXPR} && readings["some.probe/score"].value > 0.6', "nothing passes it"),
    ],
)
def test_a_rule_that_decides_nothing_is_a_mistake(expression, said):
    place, about, sentence = the_only(SMALL.replace(f"expr: {EXPR}", f"expr: {expression!r}"))
    assert (place, about) == ("7:11", "rule 'only'") and said in sentence


@pytest.mark.parametrize(
    "expression",
    [
        'readings["a.b/c"].value >= 0.85 * before["a.b/c"].value',
        'readings["a.b/c"].low > champion["a.b/c"].high + 0.001',
        'facts.environment != "champion" || facts.licence in ["apache-2.0", "mit"]',
        'approvals.exists(a, a.role == "dpo" && a.user != a.requester)',
        'approvals.exists(a, approvals.exists(b, a.user != b.user && a.role == "dpo" && b.role == "dpo"))',
        'readings["a.b/c"].n >= 20.0 && readings["a.b/c"].power >= 0.8',
        "facts.evidence_age_days <= 90",
    ],
)
def test_a_rule_that_decides_something_gives_both_answers(expression):
    assert answers(expression, read_references(expression), CelEngine()) == {True, False}


def test_a_rule_for_a_guarantee_that_nobody_tells_the_policy_of_is_a_mistake():
    text = SMALL + "    when: [exact]\n"
    assert the_only(text)[:2] == ("9:5", "rule 'only'")
    assert found(text.replace("name: small", "name: erasure")) == []


def test_whatever_a_policy_is_refused_for_is_told_at_a_place():
    from amends.errors import BadPolicy

    text, draw, engine = find_policy("promotion").read_text(encoding="utf-8"), random.Random(1), CelEngine()
    refused = 0
    for _ in range(150):
        at = draw.randrange(len(text))
        written = text[:at] + draw.choice(["", *"[]{}:'\"-> \n#&*!x0"]) + text[at + draw.randint(0, 6) :]
        told = lint(written, "promotion.yaml", KNOWN, engine)
        assert all(one.place.line > 0 < one.place.column and "\n" not in one.sentence for one in told)
        try:
            parse_policy(written, "promotion.yaml", engine)
        except BadPolicy:
            refused += 1
            assert told, written
    assert refused > 50


def test_what_only_the_whole_policy_shows_is_told_at_its_rule():
    place, about, sentence = the_only(SMALL.replace("probes: {some.probe: {bins: 4}}", "probes: {}"))
    assert (place, about) == ("5:5", "rule 'only'") and "is of a probe that `probes` does not list" in sentence
    assert the_only(SMALL.replace("severity: deny", "severity: warn"))[0] == str(Place(1, 1))
