"""What a page says: the verdict in plain words, how sure it is, and every reading behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amends.governor.proof.evidence import Outside
from amends.governor.proof.inference import REFERENCE, STRANGERS, inference_of
from amends.governor.proof.page import render_page
from amends.governor.proof.plainly import plain_verdict
from amends.governor.proof.plots import thresholds_of
from amends.governor.proof.statements import build_statement
from amends.records import Verdict

PLAIN = {
    "approximate": ("Done, with open points", "It was not built again without them."),
    "exact": ("Done", "The person&#39;s data are out of the model."),
    "exact by data flow": ("Done", "Bits were not compared"),
    "negative": ("Done", "No data about this person were found."),
    "finding": ("Done", "shows no sign of knowing them"),
    "denied": ("No certificate", "Not granted: nothing that was tried meets the policy."),
}


def test_the_verdict_comes_first_in_plain_words(kind, told):
    page = render_page(told.STATEMENTS[kind]())
    state, said = PLAIN[kind]
    verdict = page[page.index('<h2 id="verdict">') : page.index("What was asked")]
    assert page.index("<main") < page.index('id="verdict"') and state in verdict and said in verdict
    assert verdict.index("What was found") < verdict.index("What this does not show")


def test_only_a_whole_and_closed_erasure_has_no_open_point(told):
    clean = told.exact(outside=())
    assert plain_verdict(build_statement(clean)["predicate"]).state == "held"
    late = plain_verdict(build_statement(clean)["predicate"], is_late=True)
    assert "after its due date" in " ".join(late.found)
    for changes, said in (
        ({"outside": (Outside("recipient", "a partner"),)}, "nobody confirmed to be gone: 1"),
        ({"verdict": Verdict(True, "p", "9" * 64, (told.rule("x", "m", False, "warn"),))}, "Alarms of the policy"),
    ):
        plain = plain_verdict(build_statement(told.exact(**{"outside": (), **changes}))["predicate"])
        assert plain.state == "short" and said in " ".join(plain.found)


def test_a_search_that_found_the_person_is_said_first(told):
    scan = {**told.SCAN, "is_clean": False, "hits": 3}
    plain = plain_verdict(build_statement(told.evidence(scan=scan, outside=()))["predicate"])
    assert plain.state == "short" and "still found the person in 3 places" in " ".join(plain.found)
    assert not any("found nothing" in sentence for sentence in plain.evidence)


def test_what_lies_outside_its_margin_is_said_although_no_rule_reads_it(told):
    plain = plain_verdict(build_statement(told.evidence(outside=()))["predicate"])
    assert "2 of 7 comparisons do not lie within their margin; the policy's rules allow it." in plain.found


def test_a_denied_case_says_each_failed_rule_and_never_that_it_is_done(told):
    plain = plain_verdict(told.denied()["predicate"])
    assert plain.state == "none" and plain.found == ("Taught again, it tells more.",)
    assert "3 methods were tried: toy.unfit, unlearning.revert, unlearning.npo." in plain.evidence[0]
    page = render_page(told.denied())
    assert page.index("no certificate") < page.index("<h1>") and "made with Amends. This page is a report" in page
    assert "amends certificate verify" not in page and "Signed root" not in page
    assert "amends policy replay e-0123456789-erasure-3" in page


def test_how_a_reading_was_judged_is_signed_without_a_plugin_s_words(told):
    secret = told.compared("a.equivalence/x", 0.0, -0.1, 0.1, note="Ines Varga lives in Brenn", ratio=float("nan"))
    statement = build_statement(told.evidence(readings_after=(secret,), tried=()))
    [kept] = statement["predicate"]["readings"]["after"]
    assert kept["detail"] == {
        **{"margin": 0.1, "rungs": 3, "alpha": 0.05, "level": 0.966667, "half": "audit", "verdict": "equivalent"},
        **{"least_margin": 0.081, "forgotten_people": 60, "ratio": None},
    }
    [revert] = [one for one in build_statement(told.evidence())["predicate"]["tried"] if one["readings"]]
    assert revert["readings"][-1]["detail"]["verdict"] == "not equivalent"


def test_every_rung_s_readings_stand_on_the_page(told):
    page = render_page(told.STATEMENTS["approximate"]())
    record = page[page.index("The whole record of readings") :]
    for reading in (*told.last_rung(), *told.evidence().tried[1].readings):
        assert record.count(f">{reading.name}<") >= 1
    revert = record[record.index("Tried: unlearning.revert") :]
    assert "verdict not equivalent" in revert and "<b>0.520</b>" in revert
    assert 'href="#tried-2"' in page and 'id="tried-2"' in page


def test_the_error_of_the_family_is_said_from_the_readings_own_settings(told):
    rungs, family, rest = told.inference()["errors"]
    assert "Any of 3 methods could have passed" in rungs and "0.05 / 3 = 0.0167" in rungs and "96.67 %" in rungs
    assert "held to 5 %" in rungs
    assert "Comparisons that decide: 6, of which attacks: 3." in family and "intersection-union" in family
    assert rest == "Comparisons that are shown and decided nothing: 1."
    one = replace(told.compared("a.b/x", 0.0, -0.05, 0.05), detail={"margin": 0.1, "verdict": "equivalent"})
    assert "nothing is claimed" in told.inference(readings_after=(one,))["errors"][0]


def test_a_rule_on_the_value_alone_is_no_test_of_an_interval(told):
    value = told.rule('readings["unlearning.equivalence/probability"].value <= 0.1', "m")
    unasked = replace(told.RULES[1], reason="not asked: the guarantee is exact")
    warned = replace(told.RULES[2], severity="warn")
    errors = told.inference(verdict=Verdict(True, "p", "9" * 64, (value, unasked, warned)))["errors"]
    assert errors[-1] == "No denying rule reads the interval of a comparison: they are shown, and decided nothing."


def test_more_methods_than_the_intervals_allow_for_are_owned_up_to(told):
    rung = told.evidence().tried[1]
    errors = told.inference(tried=(rung, rung, rung))["errors"]
    assert "4 methods were judged, more than the intervals allow for: the chance is larger than that." in errors


def test_the_reference_is_named_and_made_up_people_are_not_called_withheld(told):
    assert told.inference()["reference"] == REFERENCE and "no gold model" in REFERENCE
    assert told.inference(is_strange=True)["reference"] == STRANGERS and "nobody was withheld" in STRANGERS
    exactly = build_statement(told.exact())["predicate"]["readings"]["inference"]
    assert "gold model itself" in exactly["reference"] and exactly["errors"] == []
    assert "gold" not in told.inference(readings_after=told.last_rung()[:3])["reference"]
    assert inference_of(None, {"before": [], "after": []}, [], judged=0, is_strange=False)["reference"] == ""


def test_what_so_many_people_could_show_is_said(told):
    power = told.inference()["power"]
    assert "n = 16 to 60 people" in power and "0.310 to 0.930" in power and "0.081 to 0.190" in power
    assert "n = 60 people" in told.inference(readings_after=told.last_rung()[3:5])["power"]


def test_limits_are_read_from_each_clause_of_a_rule_but_from_no_choice(told):
    first, second = thresholds_of([told.RULES[1]], ())
    assert (first.comparison, first.value, second.comparison, second.value) == (">=", -0.1, "<=", 0.1)
    assert thresholds_of([told.rule('readings["a/x"].low >= 0.1 || readings["a/y"].high <= 0.1', "m")], ()) == ()
    assert thresholds_of([told.rule('!(readings["a/x"].low >= 0.1 && readings["a/y"].high <= 0.1)', "m")], ()) == ()


@pytest.mark.parametrize(
    ("finding", "state", "said"),
    [
        (None, "held", ()),
        ({"answer": "no sign", "why_not": "", "strangers": 199}, "held", ("shows no sign", "199 made-up people")),
        ({"answer": "sign", "why_not": "", "strangers": 199}, "short", ("a sign of knowing", "allows it all the same")),
        ({"answer": "cannot say", "why_not": "", "strangers": 9}, "short", ("nobody can say", "9 made-up people")),
        ({"answer": "cannot say", "why_not": "nothing was given", "strangers": 0}, "short", ("was not asked",)),
    ],
)
def test_a_finding_says_in_plain_words_whether_the_model_was_asked_and_what_it_showed(finding, state, said):
    plain = plain_verdict({"guarantee": None, "searched": ["The index."], "finding": finding})
    told = " ".join((*plain.found, *plain.evidence))
    assert plain.state == state and all(words in told for words in said)
    assert ("The model" in told) == bool(said)
