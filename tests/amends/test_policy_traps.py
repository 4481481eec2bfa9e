"""Every way in which CEL, YAML or an absence could let a candidate pass, each closed."""

from __future__ import annotations

import math

import pytest

from amends.errors import BadPolicy
from amends.policy import CelEngine, judge, parse_policy
from amends.policy.engine import MAX_EXPRESSION
from amends.records import Reading

NAME = "some.probe/score"
SCORE = f'readings["{NAME}"].value'


def policy(expr, severity="deny", more=""):
    return parse_policy(
        f"""
name: small
description: One rule.
approvals: {{count: 0}}
probes: {{some.probe: {{}}}}
{more}
rules:
  - id: only
    severity: {severity}
    expr: >-
      {expr}
    message: It is not so.
  - id: other
    severity: deny
    expr: facts.objections == 0
    message: Somebody objects.
"""
    )


def answer(expr, *after, before=(), facts=(), approvals=(), severity="deny", more=""):
    verdict = judge(policy(expr, severity, more), before, after, dict(facts), approvals)
    return verdict.allowed, verdict.answers[0]


def score(value, **more):
    return Reading(NAME, value, **more)


def evaluate(expression, **inputs):
    engine = CelEngine()
    everything = {"readings": {}, "before": {}, "facts": {}, "approvals": [], **inputs}
    return engine.evaluate(engine.compile(expression), everything)


def test_a_threshold_that_holds_is_allowed():
    allowed, said = answer(f"{SCORE} <= 0.6", score(0.5))
    assert allowed and said.passed and said.reason == f"{NAME} value 0.5"


def test_a_runtime_error_does_not_pass_though_its_value_is_true_in_python():
    outcome = evaluate(f"{SCORE} <= 0.6")
    assert not outcome.passed
    assert outcome.error.startswith("NOT_FOUND") and bool(outcome.error)


@pytest.mark.parametrize("value", [1, "true", None, 1.0, [True]])
def test_only_a_true_boolean_passes_for_a_boolean_fact(value):
    assert not evaluate("facts.digests_equal", facts={"digests_equal": value}).passed
    allowed, said = answer("facts.digests_equal == true", facts={"digests_equal": value})
    assert not allowed and "was not recorded as bool" in said.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.1", True])
@pytest.mark.parametrize(
    "expr", [f"!({SCORE} < 0.05)", f"{SCORE} <= 0.6", f"{SCORE} >= -0.6", f"true || {SCORE} < 0.1"]
)
def test_a_value_that_is_no_finite_number_denies_before_anything_is_evaluated(expr, value):
    allowed, said = answer(expr, score(value))
    assert not allowed and not said.passed


def test_a_negated_comparison_with_nan_would_pass_in_cel_alone():
    assert evaluate(f"!({SCORE} < 0.05)", readings={NAME: {"value": math.nan}}).passed


@pytest.mark.parametrize("expr", [f"true || {SCORE} < 0.1", f"facts.objections == 0 || {SCORE} < 0.1"])
def test_a_missing_reading_denies_behind_an_or_that_is_already_true(expr):
    allowed, said = answer(expr)
    assert not allowed and said.reason == f"{NAME} was not read"


def test_a_missing_reading_denies_even_where_the_rule_only_warns():
    allowed, said = answer(f"{SCORE} <= 0.6", severity="warn")
    assert not allowed and said.severity == "deny"


def test_a_rule_that_only_warns_keeps_nothing_from_its_alias():
    allowed, said = answer(f"{SCORE} <= 0.6", score(0.9), severity="warn")
    assert allowed and not said.passed and said.severity == "warn"


def test_an_unread_number_of_the_same_reading_that_is_nan_denies_too():
    allowed, said = answer(f"{SCORE} <= 0.6", score(0.5, low=math.nan, high=0.6))
    assert not allowed and "low" in said.reason


def test_a_missing_end_of_an_interval_denies():
    allowed, said = answer(f'readings["{NAME}"].high <= 0.6', score(0.5))
    assert not allowed and said.reason == f"{NAME} has no high"


@pytest.mark.parametrize("more", [{"low": 0.7, "high": 0.1}, {"n": 0}, {"power": 1.5}])
def test_numbers_that_cannot_be_deny(more):
    assert not answer(f"{SCORE} <= 0.6", score(0.5, **more))[0]


def test_a_reading_that_was_read_twice_denies():
    allowed, said = answer(f"{SCORE} <= 0.6", score(0.9), score(0.1))
    assert not allowed and "more than once" in said.reason


def test_the_parent_is_read_on_its_own_side():
    expr = f'{SCORE} >= 0.9 * before["{NAME}"].value'
    assert answer(expr, score(0.95), before=[score(1.0)])[0]
    assert not answer(expr, score(0.85), before=[score(1.0)])[0]
    allowed, said = answer(expr, score(0.95))
    assert not allowed and "of the parent was not read" in said.reason


def test_too_few_units_or_too_little_power_deny():
    more = f"minimum: {{{NAME}: {{n: 20, power: 0.8}}}}"
    assert answer(f"{SCORE} <= 0.6", score(0.5, n=20, power=0.8), more=more)[0]
    for short in ({"n": 19, "power": 0.8}, {"n": 20, "power": 0.79}, {"n": 20}):
        allowed, said = answer(f"{SCORE} <= 0.6", score(0.5, **short), more=more)
        assert not allowed and "needed" in said.reason


def test_a_required_reading_that_no_rule_reads_denies_when_it_is_missing():
    more = f"required: [{NAME}]"
    assert answer("facts.objections == 0", score(0.5), more=more)[0]
    assert not answer("facts.objections == 0", more=more)[0]
    assert not answer("facts.objections == 0", score(math.nan), more=more)[0]


def test_an_approval_without_a_requester_denies():
    expr = "approvals.all(a, a.user != a.requester)"
    assert answer(expr, approvals=[{"user": "a", "role": "dpo", "requester": "r"}])[0]
    assert not answer(expr, approvals=[{"user": "a", "role": "dpo"}])[0]


def test_more_approvals_than_anyone_gives_deny():
    given = [{"user": f"u{number}", "role": "dpo", "requester": "r"} for number in range(101)]
    assert answer("approvals.size() > 0", approvals=given[:100])[0]
    assert not answer("approvals.size() > 0", approvals=given)[0]


def test_a_loop_of_a_billion_steps_is_stopped_and_does_not_pass():
    numbers = "[" + ",".join("1" for _ in range(200)) + "]"
    loops = "".join(f"{numbers}.all({name}, " for name in "abcd")
    program = CelEngine()._environment.compile(f"{loops}a + b + c + d > 0))))")
    outcome = CelEngine().evaluate(program, {"readings": {}, "before": {}, "facts": {}, "approvals": []})
    assert not outcome.passed and "budget" in outcome.error.lower()


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        (f"{SCORE} <= 1", "1:36: found no matching overload"),
        (f"{SCORE} <=", "Syntax error"),
        (SCORE, "answers with a DOUBLE"),
        ("facts.digest_equal == true", "undeclared reference to 'facts.digest_equal'"),
        ("facts.guarantee == true", "no matching overload"),
        (f"{SCORE} <= 0.6 {'|| true ' * MAX_EXPRESSION}", "longer than"),
        ("(" * 200 + "facts.digests_equal" + ")" * 200, "recursion"),
        ("true", "reads neither"),
        (f'"{NAME}" in readings', "read readings only as"),
        ("readings.all(k, readings[k].value < 0.6)", "read readings only as"),
        (f'readings["{NAME}"]["value"] < 0.6', "read readings only as"),
        (f'readings["{NAME}"].valeu < 0.6', "no field 'valeu'"),
        (f'{SCORE} / before["{NAME}"].value >= 0.9', "division by zero"),
        (f"dyn({SCORE}) <= 1", "dyn"),
        ('approvals.exists(a, a.role == "dpo" || a.usr == "x")', "no field 'usr'"),
        ('approvals[0].usr == "x"', "no field 'usr'"),
        (f"'''a'b''' == 'a' || {SCORE} < 0.6", "triple quote"),
        (f'"\\\\" == "a" || {SCORE} < 0.6', "backslashes"),
    ],
)
def test_what_could_pass_by_accident_is_refused_when_the_policy_is_loaded(expr, said):
    with pytest.raises(BadPolicy, match=r"policy, rule 'only': .*") as refused:
        policy(expr)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_comment_or_a_text_that_names_readings_is_not_a_reading():
    found = policy('facts.guarantee == "readings" // readings').rules[0].references
    assert found.readings == () and found.facts == ("guarantee",)
