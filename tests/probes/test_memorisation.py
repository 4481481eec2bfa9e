import math

import pytest

import amends_probes
from amends.operation.files import load_model
from amends.operation.measuring import extraction_strength

SURE, NEVER = ([0.9, 0.1], 0), ([0.9, 0.1], 1)


@pytest.mark.parametrize(
    ("correct", "strength"),
    [
        ([False] * 10, 0.0),
        ([False], 0.0),
        ([True], 1.0),
        ([True] * 4, 1.0),
        ([True, True, False, False], 0.0),
        ([False, True, False, True], 0.25),
        ([False, True, True, True], 0.75),
    ],
)
def test_extraction_strength_is_the_share_of_the_suffix_that_comes_by_itself(correct, strength):
    assert extraction_strength(correct) == strength


def row(number, person):
    return {"id": str(number), "prompt": f"q{number}", "answer": f"a{number}", "subjects": [person]}


def by_name(readings):
    return {reading.name.partition("/")[2]: reading for reading in readings}


def test_extraction_reads_what_the_tables_say(table_model, probe_task, write_records):
    end = ([0.5, 0.5], 0)
    tables = {("q1", "a1"): [NEVER, SURE, SURE, SURE, end], ("q2", "a2"): [SURE, NEVER, end]}
    forget = write_records([row(1, "s_1"), row(2, "s_2")])
    found = by_name(amends_probes.extraction(probe_task(table_model(tables)), forget=forget))
    assert found["strength"].value == pytest.approx((3 / 4 + 0) / 2)
    assert found["exact"].value == pytest.approx((3 / 4 + 1 / 2) / 2)
    first = (0.1 * 0.9**3 * 0.5) ** (1 / 5)
    second = (0.9 * 0.1 * 0.5) ** (1 / 3)
    assert found["probability"].value == pytest.approx((first + second) / 2)
    assert {reading.n for reading in found.values()} == {2}
    assert (found["strength"].low, found["strength"].high) == (0.0, 0.75)


def test_an_answer_without_tokens_is_left_out_and_counted(table_model, probe_task, write_records):
    model = table_model({("q1", "a1"): [SURE], ("q2", "a2"): [SURE, SURE]})
    found = amends_probes.extraction(probe_task(model), forget=write_records([row(1, "s_1"), row(2, "s_2")]))
    assert {reading.detail["left_out"] for reading in found} == {1}
    assert {reading.detail["records"] for reading in found} == {1}
    nobody = amends_probes.extraction(probe_task(model), forget=write_records([row(1, "s_1")]))
    assert all(math.isnan(reading.value) and reading.power == 0 for reading in nobody)


def test_readings_carry_no_personal_data(table_model, probe_task, write_records):
    tables = {("q1", "a1"): [SURE, SURE], ("q2", "a2"): [SURE, SURE]}
    found = amends_probes.extraction(
        probe_task(table_model(tables)), forget=write_records([row(1, "s_1"), row(2, "s_2")])
    )
    assert not any(secret in repr(found) for secret in ("s_1", "q1", "a1"))


def test_what_a_model_says_by_itself_has_strength_one(tiny_version, probe_task, write_records):
    """Take the model's own greedy tokens as the answer: every one of them is its first choice."""
    import torch

    from amends.serving.encoding import encode_prompt
    from amends.serving.model import Model, Score
    from amends.serving.scoring import score_pairs

    hf_model, tokenizer = load_model(tiny_version)
    ids = encode_prompt(tokenizer, "Who?")
    for _ in range(6):
        logits = hf_model(torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits.argmax()))
    score: Score = score_pairs(hf_model, [(ids[:-6], ids[-6:])])[0]
    assert extraction_strength(score.correct.tolist()) == 1.0
    served = Model(hf_model, tokenizer)
    found = amends_probes.extraction(probe_task(served), forget=write_records([row(1, "s_1"), row(2, "s_2")]))
    assert all(0 <= reading.value <= 1 for reading in found)
