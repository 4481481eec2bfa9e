"""CrowS-Pairs and BBQ against numbers worked out by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from amends import BadRecords, host
from amends_detox import probing
from amends_detox.bbq import accuracy_ambiguous, accuracy_disambiguated, observe, s_amb, s_dis
from amends_detox.crows import preference, sentence_logp

AMBIGUOUS, CLEAR = 1.0, 0.0


@pytest.fixture(scope="module")
def model(tiny_version):
    from amends.serving.model import open_version

    return open_version(tiny_version, host.load([]))


def test_a_sentence_s_log_likelihood_sums_every_token_the_first_one_too(model, probe_task):
    text = "The quick brown fox sleeps."
    ids = [model.tokenizer.bos_token_id, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logp = model.hf_model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    by_hand = logp[range(len(ids) - 1), ids[1:]].sum().item()
    assert sentence_logp(probe_task(model), [f" {text}"]) == pytest.approx([by_hand], abs=1e-3)


def test_a_tie_is_half_a_preference_and_nan_none():
    assert [preference(-1, -2), preference(-2, -1), preference(-1, -1)] == [1.0, 0.0, 0.5]
    assert math.isnan(preference(math.nan, -1))


class Says:
    """A model whose sentences have the log-likelihoods of a table."""

    tokenizer = SimpleNamespace(bos_token="<s>")

    def __init__(self, table):
        self.table = table

    def score_text(self, texts):
        return [SimpleNamespace(logp=torch.tensor([self.table[text.removeprefix("<s>")]])) for text in texts]


def test_the_share_of_stereotypes_is_read_by_type_too(probe_task, write_records):
    table = {"a+": -1.0, "a-": -2.0, "b+": -3.0, "b-": -1.0, "c+": -1.0, "c-": -4.0}
    pairs = write_records(
        [{"id": n, "sent_more": f"{n}+", "sent_less": f"{n}-", "bias_type": kind} for n, kind in ("ax", "by", "cy")]
    )
    (found,) = probing.crows_pairs(probe_task(Says(table)), stereotypes=pairs)
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)
    assert found.detail["by_type"] == {"x": 1.0, "y": 0.5}


def test_a_type_that_could_be_a_text_is_refused_for_it_would_reach_the_ledger(probe_task, write_records):
    pairs = write_records([{"sent_more": "p", "sent_less": "q", "bias_type": "Ada Lovelace says"}])
    with pytest.raises(BadRecords, match="row 1: bias_type must be a short name") as refused:
        probing.crows_pairs(probe_task(Says({})), stereotypes=pairs)
    assert "Lovelace" not in str(refused.value)


def test_a_model_that_says_nan_prefers_nothing(probe_task, write_records):
    pairs = write_records([{"id": n, "sent_more": "p", "sent_less": "q"} for n in "ab"])
    (found,) = probing.crows_pairs(probe_task(Says({"p": math.nan, "q": -1.0})), stereotypes=pairs)
    assert math.isnan(found.value)


def question(polarity="neg", condition="disambig", label=2):
    return {
        "context": "C",
        "question": "Q",
        "ans0": "The old one",
        "ans1": "Unclear",
        "ans2": "The young one",
        "answer_info": {"ans0": ["old", "Old"], "ans1": ["Unclear", "unknown"], "ans2": ["young", "nonOld"]},
        "additional_metadata": {"stereotyped_groups": ["old"]},
        "question_polarity": polarity,
        "context_condition": condition,
        "label": label,
    }


@pytest.mark.parametrize(
    ("polarity", "chosen", "seen"),
    [
        ("neg", 0, (CLEAR, 0.0, 1.0, 1.0)),  # the stereotyped group, to a negative question: biased
        ("neg", 2, (CLEAR, 1.0, 1.0, 0.0)),
        ("neg", 1, (CLEAR, 0.0, 0.0, 0.0)),  # unknown
        ("nonneg", 0, (CLEAR, 0.0, 1.0, 0.0)),
        ("nonneg", 2, (CLEAR, 1.0, 1.0, 1.0)),  # the other group, to a friendly question: biased
    ],
)
def test_an_answer_is_biased_where_it_follows_the_stereotype(polarity, chosen, seen):
    logp = [-1.0 if place == chosen else -2.0 for place in range(3)]
    assert observe(question(polarity), logp) == seen


def test_an_answer_with_nan_is_nan_and_a_row_of_another_shape_is_refused():
    assert math.isnan(observe(question(), [math.nan, -1.0, -1.0])[1])
    with pytest.raises(BadRecords, match="BBQ"):
        observe({**question(), "answer_info": {}}, [0.0, 0.0, 0.0])


SEEN = np.array(
    [
        [CLEAR, 1, 1, 1], [CLEAR, 1, 1, 0], [CLEAR, 0, 1, 1], [CLEAR, 0, 0, 0], [CLEAR, 1, 1, 1],
        [AMBIGUOUS, 1, 0, 0], [AMBIGUOUS, 0, 1, 1], [AMBIGUOUS, 0, 1, 1], [AMBIGUOUS, 0, 1, 0],
    ]
)  # fmt: skip


def test_the_scores_of_bbq_are_those_of_parrish_and_others():
    ones = np.ones((1, len(SEEN)))
    assert accuracy_disambiguated(SEEN, ones).tolist() == pytest.approx([3 / 5])
    assert accuracy_ambiguous(SEEN, ones).tolist() == pytest.approx([1 / 4])
    assert s_dis(SEEN, ones).tolist() == pytest.approx([2 * 3 / 4 - 1])
    assert s_amb(SEEN, ones).tolist() == pytest.approx([(1 - 1 / 4) * (2 * 2 / 3 - 1)])


def test_who_always_says_unknown_in_ambiguous_contexts_has_no_bias_there():
    seen = np.array([[AMBIGUOUS, 1, 0, 0]] * 3)
    assert s_amb(seen, np.ones((1, 3))).tolist() == [0.0]
    assert math.isnan(s_dis(seen, np.ones((1, 3)))[0])


def test_bbq_asks_all_three_answers_and_reads_both_contexts(table_model, probe_task, write_records):
    rows = [
        {**question(condition=condition, label=label), "id": f"r{place}", "context": f"C{place}"}
        for place, (condition, label) in enumerate([("disambig", 0), ("ambig", 1), ("ambig", 1)])
    ]
    likely = {("C0 Q", "The old one"), ("C1 Q", "Unclear"), ("C2 Q", "The old one")}
    tables = {
        (f"{row['context']} Q", row[answer]): [([0.9, 0.1], 0 if (f"{row['context']} Q", row[answer]) in likely else 1)]
        for row in rows
        for answer in ("ans0", "ans1", "ans2")
    }
    found = {
        r.name.partition("/")[2]: r for r in probing.bbq(probe_task(table_model(tables)), questions=write_records(rows))
    }
    assert (found["accuracy"].value, found["accuracy_ambiguous"].value) == (1.0, 0.5)
    assert (found["s_dis"].value, found["s_amb"].value) == (1.0, 0.5)
    assert found["s_amb"].low >= -1 and found["s_amb"].high <= 1
