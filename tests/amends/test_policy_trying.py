"""A table of cases says what a policy must answer, and by which rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amends.errors import BadInput
from amends.policy import load_policy, parse_policy, try_policy

TABLE = """given:
  facts: {descends_from_erased: false, digests_verified: true, environment: champion, evidence_age_days: 3,
    evidence_allowed: true, incidents_relapsed: 0, licence_conflicts: 0, first: false, licence: apache-2.0,
    requested: true, signature_verified: true, suppression_checked: true, suppression_hits: 0}
  approvals:
    - {user: dora, role: dpo}
    - {user: max, role: ml-engineer}
cases:
  - {name: as it should be, expect: allow}
  - {name: too old, expect: deny, denied_by: [evidence-fresh], facts: {evidence_age_days: 91}}
  - {name: nobody knows how old, expect: deny, denied_by: [evidence-fresh], facts: {evidence_age_days: null}}
  - {name: one person, expect: deny, denied_by: ["built-in:quorum"], approvals: [{user: dora, role: dpo}]}
  - {name: one person is enough there, expect: allow, facts: {environment: candidate},
     approvals: [{user: dora, role: dpo}]}
  - {name: the requester, expect: deny, approvals: [{user: x, role: dpo, requester: x}, {user: max, role: ml-engineer}]}
  - {name: the first, expect: allow, approvals: [], facts: {first: true}}
  - {name: a reviewer, expect: deny, denied_by: [no-objections, reviewers], objections: ["No."]}
  - {name: erased, expect: deny, denied_by: [nobody-erased-inside], facts: {descends_from_erased: true}}
  - {name: no licence, expect: deny, denied_by: [licence-known], facts: {licence: unknown}}
  - {name: no licence asked, expect: allow, facts: {licence: unknown, requested: false}}
  - {name: exchanged, expect: deny, denied_by: [signed], facts: {signature_verified: false}}
"""
BETTER = """name: better
description: It must beat the champion.
probes: {some.probe: {}}
rules:
  - id: better
    severity: deny
    expr: readings["some.probe/score"].value > champion["some.probe/score"].value
    message: It is no better.
approvals: {count: 0}
"""


def test_the_promotion_policy_answers_as_the_table_says():
    for trial in try_policy(load_policy("promotion"), TABLE):
        assert trial.is_as_expected, (trial.name, trial.answer, sorted(trial.denying))


def test_the_table_on_the_page_comes_out_as_it_says():
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
    table = re.search(r"^`promotion-cases.yaml`:\n\n```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    trials = try_policy(load_policy("promotion"), table[1])
    assert len(trials) == 3 and all(trial.is_as_expected for trial in trials)


def test_a_case_that_comes_out_otherwise_says_what_denied():
    table = TABLE.replace("too old, expect: deny", "too old, expect: allow").replace("[signed]", "[evidence-fresh]")
    wrong = {trial.name: trial for trial in try_policy(load_policy("promotion"), table) if not trial.is_as_expected}
    assert set(wrong) == {"too old", "exchanged"}
    assert (wrong["too old"].answer, wrong["exchanged"].denying) == ("deny", {"signed"})


@pytest.mark.parametrize(
    ("mine", "theirs", "answer"),
    [("0.6", "0.5", "allow"), ("0.5", "0.5", "deny"), (".nan", "0.5", "deny"), ("{value: 0.6, n: 9}", ".inf", "deny")],
)
def test_readings_are_numbers_or_numbers_with_their_intervals(mine, theirs, answer):
    case = f"readings: {{some.probe/score: {mine}}}, champion: {{some.probe/score: {theirs}}}"
    (trial,) = try_policy(parse_policy(BETTER), f"cases: [{{name: a, expect: deny, {case}}}]")
    assert trial.answer == answer


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("cases: []", "lists no cases"),
        ("cases: [{name: a}]", "case 1 needs 'expect'"),
        ("cases: [{name: a, expect: maybe}]", "expect must be allow or deny"),
        ("cases: [{name: a, expect: deny, denied_by: [no-such]}]", "the policy has no rule 'no-such'; it has better"),
        ("cases: [{name: a, expect: deny, facts: {frist: true}}]", "there is no fact 'frist'"),
        ("cases: [{name: a, expect: deny, facts: {first: 1}}]", "the fact 'first' must be of type bool"),
        ("cases: [{name: a, expect: deny, readings: {x/y: much}}]", "'x/y' must be a number"),
        ("cases: [{name: a, expect: deny, readings: {x/y: {low: 1}}}]", "at least a value"),
        ("cases: [{name: a, expect: deny, readings: {x/y: {value: 1, n: .nan}}}]", "n must be a whole number"),
        ("cases: [{name: a, expect: deny}, {name: a, expect: deny}]", "two cases 'a'"),
        ("cases: [{name: a, expect: deny, approval: []}]", "unknown key 'approval'"),
        ("given: {fact: {}}\ncases: [{name: a, expect: deny}]", "unknown key 'fact'"),
    ],
)
def test_a_mistake_in_a_table_is_told_with_its_case(table, said):
    with pytest.raises(BadInput, match=said):
        try_policy(parse_policy(BETTER), table)
