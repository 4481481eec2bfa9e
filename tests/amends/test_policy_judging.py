"""The policies that come with Amends decide as their comments say, and a recorded verdict can be repeated."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from amends.errors import BadInput
from amends.policy import explain, inputs_to_json, judge, load_policy, replay, verdict_from_json, verdict_to_json
from amends.records import Guarantee, Reading, canonical_json

GOOD = {
    "unlearning.membership/auc_loss": 0.52,
    "unlearning.membership/auc_minkpp": 0.49,
    "unlearning.membership/auc_loss_minus_parent": 0.02,
    "unlearning.membership/auc_minkpp_minus_parent": -0.03,
    "unlearning.membership/auc_loss_of_retained": 0.97,
    "memorisation.extraction/strength": 0.03,
    "memorisation.extraction/exact": 0.4,
    "memorisation.extraction/probability": 0.1,
    "unlearning.truth-ratio/prob_mean": 0.5,
    "utility.retain/probability": 0.95,
    "utility.retain/rouge_l": 0.9,
    "utility.perplexity/perplexity": 22.2,
    "unlearning.drill/detected_at_most": 1.0,
    "unlearning.drill/erased_at_least": 0.0,
}
EQUIVALENT = ("probability", "strength", "exact", "auc_loss", "auc_minkpp")
ATTACKED = ("paraphrase/difference", "few-shot/difference", "prefix/difference", "quantisation/difference_4bit")
APART = {f"unlearning.equivalence/{name}": (-0.05, 0.05) for name in EQUIVALENT}
APART |= {f"unlearning.attack-{name}": (-0.2, 0.05) for name in (*ATTACKED, "lora-relearn/difference")}
BEFORE = {"utility.retain/probability": 0.99, "utility.retain/rouge_l": 0.94, "utility.perplexity/perplexity": 22.0}
APPROVALS = [
    {"user": "anna", "role": "dpo", "requester": "rita"},
    {"user": "ben", "role": "ml-engineer", "requester": "rita"},
]
FACTS = {"guarantee": "exact", "digests_equal": True, "received_late": False}
READY = {
    "digests_verified": True,
    "evidence_allowed": True,
    "suppression_checked": True,
    "suppression_hits": 0,
    "incidents_relapsed": 0,
    "first": False,
    "descends_from_erased": False,
    "environment": "champion",
    "evidence_age_days": 0,
    "licence": "apache-2.0",
    "licence_conflicts": 0,
    "requested": False,
    "signature_verified": True,
}


def readings(values, n=20, power=0.9):
    return [Reading(name, value, n=n, power=power) for name, value in values.items()]


def judged(
    guarantee="exact", *, changed=None, facts=None, approvals=APPROVALS, objections=(), apart=None, powers=None, **more
):
    after = {name: value for name, value in {**GOOD, **(changed or {})}.items() if value is not None}
    known = {**FACTS, "guarantee": guarantee, **(facts or {})}
    found = readings(after, **more)
    if guarantee == "approximate":
        ends = {**APART, **(apart or {})}
        power = {**dict.fromkeys(ends, 0.9), **(powers or {})}
        found += [Reading(name, 0.0, *both, n=20, power=power[name]) for name, both in ends.items() if both is not None]
    return judge(load_policy("erasure"), readings(BEFORE), found, known, approvals, objections)


def failed(verdict):
    return {answer.rule for answer in verdict.answers if not answer.passed}


def promoted(*, facts=None, approvals=APPROVALS, objections=()):
    return judge(load_policy("promotion"), (), (), {**READY, **(facts or {})}, approvals, objections)


@pytest.mark.parametrize(
    ("guarantee", "facts"),
    [("exact", {}), (Guarantee.EXACT_BY_DATA_FLOW, {"recomputed": True}), (Guarantee.APPROXIMATE, {})],
)
def test_good_evidence_is_allowed_whatever_the_guarantee(guarantee, facts):
    verdict = judged(guarantee, facts=facts)
    assert verdict.allowed and failed(verdict) == set() and verdict.reasons() == ()


def test_on_the_exact_path_the_digest_decides():
    verdict = judged(facts={"digests_equal": False})
    assert not verdict.allowed and failed(verdict) == {"digests-equal"}
    assert verdict.reasons() == ("The candidate is not the model that never had the records. (digests_equal false)",)


def test_exact_by_data_flow_needs_everything_recomputed_and_no_equal_digest():
    assert not judged("exact by data flow", facts={"digests_equal": True}).allowed
    assert judged("exact by data flow", facts={"recomputed": True, "digests_equal": False}).allowed


def test_on_the_exact_path_a_bad_or_underpowered_reading_is_an_alarm_only():
    verdict = judged(changed={"unlearning.membership/auc_loss": 0.95}, n=1, power=None)
    assert verdict.allowed
    assert failed(verdict) >= {"alarm-membership-loss-above"}
    assert any(line.startswith("Warning from alarm-membership-loss-above") for line in explain(verdict))


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize("name", ["unlearning.membership/auc_loss", "memorisation.extraction/exact"])
def test_on_the_exact_path_a_reading_that_is_missing_still_denies(name, value):
    assert not judged(changed={name: value}).allowed


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("unlearning.membership/auc_loss", 0.61, "membership-loss-above"),
        ("unlearning.membership/auc_loss", 0.08, "membership-loss-below"),
        ("unlearning.membership/auc_minkpp", 0.61, "membership-minkpp-above"),
        ("unlearning.membership/auc_minkpp", 0.39, "membership-minkpp-below"),
        ("unlearning.membership/auc_loss_minus_parent", 0.11, "membership-loss-against-parent-above"),
        ("unlearning.membership/auc_loss_minus_parent", -0.11, "membership-loss-against-parent-below"),
        ("unlearning.membership/auc_minkpp_minus_parent", 0.11, "membership-minkpp-against-parent-above"),
        ("unlearning.membership/auc_minkpp_minus_parent", -0.11, "membership-minkpp-against-parent-below"),
        ("unlearning.membership/auc_loss_of_retained", 0.5, "membership-sees-the-retained"),
        ("memorisation.extraction/strength", 0.13, "extraction-strength"),
        ("memorisation.extraction/exact", 0.9, "exact-memorisation"),
        ("memorisation.extraction/probability", 0.26, "answer-probability"),
        ("unlearning.truth-ratio/prob_mean", 0.9, "truth-ratio"),
        ("utility.retain/probability", 0.82, "retained-probability"),
        ("utility.retain/rouge_l", 0.8, "retained-answers"),
        ("utility.perplexity/perplexity", 24.3, "perplexity"),
    ],
)
def test_on_the_approximate_path_each_reading_alone_denies(name, value, rule):
    for bad in (value, None, math.nan):
        verdict = judged("approximate", changed={name: bad})
        assert not verdict.allowed and rule in failed(verdict)


@pytest.mark.parametrize("bad", [0.755, None, math.nan])
def test_an_audit_that_misses_canaries_denies_where_readings_decide_and_warns_where_digests_do(bad):
    changed = {"unlearning.drill/detected_at_most": bad}
    verdict = judged("approximate", changed=changed)
    assert not verdict.allowed and "drill-sees-canaries" in failed(verdict)
    exact = judged(changed=changed)
    assert failed(exact) == {"alarm-drill"} and exact.allowed is (bad == 0.755)


def test_canaries_that_were_erased_along_and_are_still_noticed_are_an_alarm():
    verdict = judged("approximate", changed={"unlearning.drill/erased_at_least": 0.194})
    assert verdict.allowed and failed(verdict) == {"drill-erased-canaries"}
    assert not judged("approximate", changed={"unlearning.drill/erased_at_least": None}).allowed


@pytest.mark.parametrize("name", sorted(APART))
def test_on_the_approximate_path_a_difference_that_may_be_more_than_the_margin_denies(name):
    wide = (-0.05, 0.25)
    for ends in (wide, None, (None, None), (math.nan, math.nan)):
        assert not judged("approximate", apart={name: ends}).allowed


@pytest.mark.parametrize("name", sorted(APART))
def test_a_comparison_that_is_inconclusive_denies_even_where_its_interval_lies_within_the_margin(name):
    for power in (0.79, 0.0, None, math.nan):
        assert not judged("approximate", powers={name: power}).allowed


@pytest.mark.parametrize("name", sorted(name for name in APART if "equivalence" in name))
def test_conspicuously_unknown_is_not_equivalent_either(name):
    assert not judged("approximate", apart={name: (-0.25, 0.05)}).allowed


@pytest.mark.parametrize("more", [{"n": 9}, {"power": 0.79}, {"power": None}])
def test_on_the_approximate_path_an_underpowered_test_denies(more):
    assert not judged("approximate", **more).allowed


@pytest.mark.parametrize(
    ("name", "value"), [("utility.retain/probability", 0.5), ("utility.perplexity/perplexity", 24.3)]
)
def test_on_the_exact_path_too_what_shall_stay_must_stay(name, value):
    assert not judged(changed={name: value}).allowed


@pytest.mark.parametrize("guarantee", ["", "Exact", "certified", None, 1])
def test_a_guarantee_that_is_none_of_the_three_denies(guarantee):
    assert not judged(guarantee).allowed


def test_a_late_answer_is_recorded_and_still_carried_out():
    verdict = judged(facts={"received_late": True})
    assert verdict.allowed and failed(verdict) == {"in-time"}


def test_one_objection_denies_and_is_a_reason():
    verdict = judged(objections=["The shard is too small."])
    assert not verdict.allowed and verdict.reasons() == ("The shard is too small.",)


def someone(user, role="ml-engineer", requester="rita"):
    return {"user": user, "role": role, "requester": requester}


@pytest.mark.parametrize(
    "approvals",
    [
        [],
        [someone("anna", "dpo")],
        [someone("anna", "dpo"), someone("anna")],
        [someone("anna", "dpo"), someone("rita")],
        [someone("anna", "dpo"), someone("ben", requester="")],
        [someone("anna", "dpo"), {"user": "ben", "role": "ml-engineer"}],
    ],
)
def test_fewer_than_two_different_people_other_than_the_requester_deny(approvals):
    assert not judged(approvals=approvals).allowed
    assert not promoted(approvals=approvals).allowed


def test_an_approval_in_another_role_counts_for_no_erasure():
    assert not judged(approvals=[someone("anna", "dpo"), someone("ben", "auditor")]).allowed


def test_a_first_version_needs_no_approval_and_everything_else_that_guards_an_alias():
    assert promoted(facts={"first": True}, approvals=[]).allowed
    for name in READY.keys() - {"first"}:
        assert not promoted(facts={"first": True, name: None}, approvals=[]).allowed
    assert not promoted(facts={"first": True}, approvals=[], objections=["No."]).allowed


@pytest.mark.parametrize("first", [False, None, "true", 1])
def test_a_version_that_is_not_known_to_be_the_first_needs_two_approvals(first):
    assert failed(promoted(facts={"first": first}, approvals=[someone("anna", "dpo")])) == {"built-in:quorum"}


def test_an_erasure_needs_the_officer_among_the_two():
    assert failed(judged(approvals=[someone("ben"), someone("carl")])) == {"officer-approved"}


def test_who_the_case_names_as_requester_does_not_count_whatever_the_approvals_say():
    assert not judged(facts={"requester": "anna"}).allowed


def test_a_ready_candidate_may_take_its_alias():
    assert promoted().allowed


@pytest.mark.parametrize(
    "facts",
    [
        {"digests_verified": False},
        {"evidence_allowed": False},
        {"suppression_checked": False},
        {"suppression_hits": 1},
        {"incidents_relapsed": 1},
        *({name: None} for name in READY),  # of `first` too: not to know it is not to be it
        {"suppression_hits": False},
    ],
)
def test_each_fact_alone_guards_the_alias(facts):
    assert not promoted(facts=facts).allowed


def test_objections_are_counted_and_not_claimed():
    verdict = promoted(facts={"objections": 0}, objections=["No."])
    assert not verdict.allowed and failed(verdict) == {"no-objections"}


def test_a_policy_none_of_whose_denying_rules_is_asked_denies():
    erasure = load_policy("erasure")
    only = dataclasses.replace(erasure, rules=tuple(r for r in erasure.rules if r.id == "digests-equal"), required=())
    verdict = judge(only, (), (), {"guarantee": "approximate"}, APPROVALS)
    assert not verdict.allowed and failed(verdict) == {"built-in:asked"}


@pytest.mark.parametrize(
    "changed", [{}, {"unlearning.membership/auc_loss": math.nan}, {"utility.perplexity/perplexity": None}]
)
@pytest.mark.parametrize("guarantee", ["exact", "approximate", 7])
def test_a_verdict_is_the_same_again_from_its_record(guarantee, changed):
    policy = load_policy("erasure")
    after = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    given = (readings(BEFORE), readings(after), {**FACTS, "guarantee": guarantee, "odd": object()}, APPROVALS, ["No."])
    verdict = judge(policy, *given)
    recorded = json.loads(canonical_json({"inputs": inputs_to_json(*given), "verdict": verdict_to_json(verdict)}))
    assert replay(policy.text, recorded["inputs"]) == verdict == verdict_from_json(recorded["verdict"])


def test_a_record_that_was_changed_gives_another_verdict():
    inputs = inputs_to_json(readings(BEFORE), readings(GOOD), FACTS, APPROVALS)
    inputs["facts"]["digests_equal"] = False
    assert not replay(load_policy("erasure").text, inputs).allowed


def test_what_a_probe_says_beside_its_numbers_is_not_recorded():
    reading = Reading("utility.retain/rouge_l", 0.9, detail={"worst": "a sentence"})
    assert "sentence" not in json.dumps(inputs_to_json([reading], [], {}, []))


@pytest.mark.parametrize("damage", [{}, {"answers": 1}, {"allowed": "yes"}, {"extra": 1}])
def test_a_damaged_verdict_is_refused(damage):
    value = {**verdict_to_json(promoted()), **damage}
    with pytest.raises(BadInput, match="damaged"):
        verdict_from_json(value if damage else {})


def test_damaged_inputs_are_refused():
    with pytest.raises(BadInput, match="damaged"):
        replay(load_policy("erasure").text, {"facts": {}})


def test_an_explanation_says_the_outcome_first_and_every_rule_once():
    verdict = judged("approximate", changed={"memorisation.extraction/strength": 0.8})
    lines = explain(verdict)
    assert lines[0].startswith("Policy 'erasure' (sha256 ") and lines[0].endswith("denies this candidate.")
    assert lines[1].startswith("Denied by extraction-strength: A piece of the erased answers")
    assert len(lines) == 1 + len(verdict.answers)


def test_an_auditor_s_approval_moves_no_alias():
    given = [{"user": user, "role": role, "requester": "olga"} for user, role in (("dora", "dpo"), ("ann", "auditor"))]
    assert not promoted(approvals=given).allowed
    assert promoted(approvals=[given[0], {**given[1], "role": "ml-engineer"}]).allowed
