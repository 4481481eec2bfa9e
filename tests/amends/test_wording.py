import json
from statistics import fmean

import pytest

from amends.operation.wording import longest_common_subsequence, rouge_l, words_of


def test_words_are_lower_case_and_of_any_script():
    assert words_of("Zoë's café, Žižkov_3!") == ["zoë", "s", "café", "žižkov", "3"]


def test_a_subsequence_may_have_gaps_but_keeps_its_order():
    assert longest_common_subsequence("abcde", "ace") == 3
    assert longest_common_subsequence("abc", "cba") == 1
    assert longest_common_subsequence("aab", "aba") == 2
    assert longest_common_subsequence("", "abc") == 0


def test_rouge_l_of_a_hand_example():
    found = rouge_l("police killed the gunman", "Police kill the gunman now!")  # police the gunman
    assert found.recall == 3 / 4
    assert found.precision == 3 / 5
    assert found.f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(("truth", "said", "expected"), [("a b", "a b", 1.0), ("a b", "", 0.0), ("…", "a", 0.0)])
def test_rouge_l_at_its_ends(truth, said, expected):
    assert rouge_l(truth, said).recall == rouge_l(truth, said).f1 == expected


def test_recall_agrees_with_published_evaluation_logs(data):
    """The published values stem words; without stemming all but a few in a hundred must be the same."""
    logs = json.loads((data / "unlearning/tofu/ref_llama2-7b_retain99_eval_log_aggregated.json").read_text())
    ours, theirs = [], []
    for log in logs.values():
        for item, (_, said, truth) in log["generated_text"].items():
            ours.append(rouge_l(truth, said).recall)
            theirs.append(log["rougeL_recall"][item])
    same = sum(abs(a - b) < 1e-9 for a, b in zip(ours, theirs, strict=True))
    assert same / len(ours) > 0.97
    assert fmean(ours) == pytest.approx(fmean(theirs), abs=0.005)
