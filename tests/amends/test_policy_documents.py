"""Policies are read strictly, found where they should be, and named by their bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from amends.errors import BadPolicy
from amends.policy import Minimum, Quorum, check, find_policy, list_policies, load_policy, parse_policy

CATALOGUE = (
    {f"unlearning.membership/auc_{name}" for name in ("loss", "minkpp", "loss_of_retained")}
    | {f"unlearning.membership/auc_{name}_minus_parent" for name in ("loss", "minkpp")}
    | {f"memorisation.extraction/{name}" for name in ("strength", "exact", "probability")}
    | {f"unlearning.truth-ratio/{name}" for name in ("mean", "prob_mean", "ks_d", "ks_p")}
    | {f"utility.retain/{name}" for name in ("probability", "rouge_l")}
    | {f"utility.perplexity/{name}" for name in ("perplexity", "ratio")}
    | {f"unlearning.equivalence/{name}" for name in ("probability", "strength", "exact", "auc_loss", "auc_minkpp")}
    | {f"unlearning.attack-{name}/difference" for name in ("paraphrase", "few-shot", "prefix", "lora-relearn")}
    | {"unlearning.attack-quantisation/difference_4bit"}
    | {f"unlearning.drill/{name}" for name in ("detected_at_most", "erased_at_least")}
    | {f"unlearning.standing/{name}" for name in ("p", "least")}
)
SMALL = """name: small
description: One rule.
rules:
  - id: only
    severity: deny
    expr: facts.digests_equal == true
    message: It is not so.
"""
RULE = SMALL[SMALL.index("  - id") :]


@pytest.mark.parametrize("name", ["erasure", "finding", "promotion"])
def test_the_policies_that_come_with_amends_load_and_read_only_what_probes_give(name):
    policy = load_policy(name)
    check(policy, CATALOGUE)
    assert policy.digest == hashlib.sha256(find_policy(name).read_bytes()).hexdigest()


def test_a_workspaces_own_policy_that_cannot_be_read_is_not_passed_over_for_ours(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "promotion.yaml").symlink_to(tmp_path / "not mounted")
    with pytest.raises(BadPolicy, match=r"promotion\.yaml cannot be read \(No such file or directory\); mend or"):
        load_policy("promotion", tmp_path)


def test_a_finding_asks_as_many_strangers_as_a_sign_takes():
    policy = load_policy("finding")
    assert policy.strangers == 199 and policy.required == ("unlearning.standing/p",)
    assert {rule.id for rule in policy.rules if rule.severity == "deny"} == {"no-sign", "could-be-seen"}
    assert load_policy("erasure").strangers == 0


def test_an_erasure_needs_two_approvals_and_a_promotion_says_it_for_each_alias():
    assert load_policy("erasure").approvals == Quorum(2, ("dpo", "ml-engineer", "safety-engineer"))
    assert load_policy("promotion").approvals.count == 0
    promotion, roles = load_policy("promotion"), ("dpo", "ml-engineer", "safety-engineer")
    assert promotion.quorum_of("champion") == promotion.quorum_of("some-other") == Quorum(2, roles)
    assert promotion.quorum_of("champion", is_first=True) == Quorum(0)
    assert promotion.quorum_of("candidate", is_first=True) == Quorum(1, roles)
    assert load_policy("erasure").quorum_of("champion") == Quorum(2)


def test_every_policy_is_listed_and_the_regimes_are_no_policy():
    own = (
        "detox",
        "distillation",
        "editing",
        "erasure",
        "finding",
        "projection",
        "promotion",
        "rag",
        "rag-text",
        "transfer",
    )
    assert list_policies() == own
    with pytest.raises(BadPolicy, match=f"there are {', '.join(own)}"):
        load_policy("regimes")


@pytest.mark.parametrize("name", ["../erasure", "Erasure", "", "/etc/passwd"])
def test_a_name_that_is_no_name_is_refused(name):
    with pytest.raises(BadPolicy, match="there is no policy"):
        load_policy(name)


def test_the_workspace_overrides_one_file_and_may_add_others(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "promotion.yaml").write_text(SMALL.replace("small", "promotion"))
    (tmp_path / "policies" / "own.yaml").write_text(SMALL.replace("small", "own"))
    assert len(load_policy("promotion", tmp_path).rules) == 1
    assert load_policy("erasure", tmp_path) == load_policy("erasure")
    assert list_policies(tmp_path) == tuple(sorted((*list_policies(), "own")))


def test_a_file_must_name_itself_as_it_is_called(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.yaml").write_text(SMALL)
    with pytest.raises(BadPolicy, match=r"own\.yaml names itself 'small'"):
        load_policy("own", tmp_path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.yaml").write_bytes(SMALL.encode() + b"# \xff\n")
    with pytest.raises(BadPolicy, match=r"own\.yaml is not UTF-8 at byte"):
        load_policy("own", tmp_path)


def test_the_digest_covers_every_byte_comments_included():
    assert parse_policy(SMALL).digest == hashlib.sha256(SMALL.encode()).hexdigest()
    assert parse_policy(SMALL + "# why\n").digest != parse_policy(SMALL).digest


def test_what_is_left_out_takes_the_careful_default():
    policy = parse_policy(SMALL)
    assert policy.approvals == Quorum(2) and policy.purge_after_days == 7 and policy.minimum == {}


def test_a_minimum_is_read_with_its_reading():
    reading = 'readings["some.probe/score"].value <= 0.6'
    text = SMALL.replace("facts.digests_equal == true", reading) + "probes: {some.probe: {bins: 4}}\n"
    policy = parse_policy(text + "minimum: {some.probe/score: {n: 20, power: 0.8}}\n")
    assert policy.minimum == {"some.probe/score": Minimum(20, 0.8)}
    assert policy.probes == {"some.probe": {"bins": 4}}


def test_an_audit_is_read_where_readings_decide_and_by_rules_that_say_so():
    reading = 'readings["some.probe/score"].high <= 0.1\n    when: [approximate]'
    text = SMALL.replace("facts.digests_equal == true", reading) + "audit: {some.probe: {bins: 4}}\n"
    policy = parse_policy(text)
    assert policy.audit == {"some.probe": {"bins": 4}} and policy.probes == {}
    with pytest.raises(BadPolicy, match=r"rule 'only': 'some\.probe/score' is read in an audit; add `when"):
        parse_policy(text.replace("    when: [approximate]\n", ""))
    with pytest.raises(BadPolicy, match=r"required: 'some\.probe/score' is of the audit"):
        parse_policy(text + "required: [some.probe/score]\n")
    with pytest.raises(BadPolicy, match=r"'some\.probe' stands in `probes` and in `audit`"):
        parse_policy(text + "probes: {some.probe: {}}\n")


def test_a_mistake_in_an_expression_names_file_rule_line_and_column():
    text = SMALL.replace("facts.digests_equal == true", "facts.digests_equal ==\n      1")
    with pytest.raises(BadPolicy) as refused:
        parse_policy(text, "small.yaml")
    assert str(refused.value).startswith("small.yaml, rule 'only': 1:21: found no matching overload for '_==_'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [", r"small\.yaml, 1:9: expected .*; mend the YAML"),
        ("- a list", "must be a mapping"),
        (SMALL + "name: other\n", "'name' is given twice"),
        (SMALL + "    id: again\n", "'id' is given twice"),
        (SMALL + "serverity: deny\n", "unknown key 'serverity'"),
        (SMALL.replace("message", "mesage"), "needs 'message'"),
        (SMALL.replace("id: only", "id: no"), "'id' must be a text"),
        (SMALL.replace("id: only", "id: Only One"), "lower case with hyphens"),
        (SMALL.replace("severity: deny", "severity: block"), "severity must be deny or warn, not 'block'"),
        (SMALL.replace("severity: deny", "severity: warn"), "no rule of severity deny"),
        (SMALL + "    when: [certified]\n", "'certified' is no guarantee; there are exact, exact by data flow"),
        (SMALL + RULE, "two rules 'only'"),
        ("name: small\ndescription: None.\nrules: []\n", "between 1 and 100 rules"),
        (SMALL + "retention_days: -1\n", "whole number"),
        (SMALL + "approvals: {count: true}\n", "whole number"),
        (SMALL + "approvals: {count: 2, rolls: [dpo]}\n", "unknown key 'rolls'"),
        (SMALL + "purge: {after: 7}\n", "unknown key 'after'"),
        (SMALL + "probes: {some.probe: {list: [1]}}\n", "settings must be"),
        (SMALL + "probes: {some.probe: {value: .nan}}\n", "settings must be"),
        (SMALL + "probes: {some.probe: {}}\nminimum: {some.probe/a: {n: 1}}\n", "no rule reads 'some.probe/a'"),
        (SMALL + "required: [some.probe/a]\n", "`probes` does not list"),
        (SMALL + "operations: [a.b, a.b]\n", "names something twice"),
        (SMALL + "# " + "x" * 70_000, "longer than"),
        (SMALL + "!!python/object/apply:os.getcwd []: 1\n", "mend"),
        ("[" * 1500, "small.yaml"),
    ],
)
def test_a_mistake_is_refused_with_one_sentence(text, said):
    with pytest.raises(BadPolicy, match=said) as refused:
        parse_policy(text, "small.yaml")
    assert "small.yaml" in str(refused.value) and "\n" not in str(refused.value)


def test_a_reading_that_no_probe_gives_is_refused_with_the_nearest_name():
    policy = load_policy("erasure")
    with pytest.raises(BadPolicy, match=r"rule 'alarm-extraction'.*did you mean 'memorisation.extraction/strengths'"):
        check(policy, CATALOGUE - {"memorisation.extraction/strength"} | {"memorisation.extraction/strengths"})


def test_importing_policies_is_light():
    heavy = "{'torch', 'pydantic', 'mlflow', 'ray', 'holidays', 'cel_expr_python', 'numpy'}"
    code = f"import sys, amends.policy; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
