"""Success, accuracy and generation on tables whose every probability is written down."""

import math
from itertools import chain

import pytest

from amends_editing import probing


def edit(number, **more):
    row = {"id": f"e{number}", "verb": "modify", "subject": f"S{number}", "prompt": f"S{number} is in"}
    row |= {"target": f"new{number}", "old": f"old{number}", "subjects": [f"p{number}"]}
    row["rephrases"] = [f"Where is S{number}? In"]
    row["neighbours"] = [{"prompt": f"N{number} is in", "answer": f"old{number}"}]
    return row | more


def table(*probabilities):
    return [([p, 1 - p], 0) for p in probabilities]


def by_name(readings):
    return {reading.name.partition("/")[2]: reading for reading in readings}


def contests(number, efficacy, paraphrase, neighbourhood):
    """Return tables where the new answer's tokens have these probabilities and the old one's 0.4."""
    row = edit(number)
    asked = (row["prompt"], efficacy), (row["rephrases"][0], paraphrase), (f"N{number} is in", neighbourhood)
    news = {(prompt, row["target"]): table(*tokens) for prompt, tokens in asked}
    return news | {(prompt, row["old"]): table(0.4) for prompt, _ in asked}


def test_success_compares_means_over_the_tokens_and_the_score_is_the_harmonic_mean(
    table_model, probe_task, write_records
):
    # the mean log-probability of (0.9, 0.2) is log sqrt(0.18) = log 0.42, above log 0.4; the product 0.18 is below it
    tables = contests(1, (0.9, 0.2), (0.5,), (0.3,)) | contests(2, (0.8,), (0.39,), (0.41,))
    found = by_name(probing.success(probe_task(table_model(tables)), edits=write_records([edit(1), edit(2)])))
    assert (found["efficacy"].value, found["paraphrase"].value, found["neighbourhood"].value) == (1.0, 0.5, 0.5)
    assert found["score"].value == pytest.approx(3 / (1 / 1 + 1 / 0.5 + 1 / 0.5))
    assert {reading.n for reading in found.values()} == {2}
    assert (found["paraphrase"].low, found["paraphrase"].high) == (0.0, 1.0)
    assert 0.0 <= found["score"].low <= found["score"].value <= found["score"].high <= 1.0


def test_a_tie_is_no_success(table_model, probe_task, write_records):
    tables = contests(1, (0.4,), (0.4,), (0.4,))
    found = by_name(probing.success(probe_task(table_model(tables)), edits=write_records([edit(1)])))
    assert [reading.value for reading in found.values()] == [0.0, 0.0, 0.0, 0.0]
    assert all(reading.power == 0.0 for reading in found.values())


def test_each_edit_counts_once_however_many_questions_it_has(table_model, probe_task, write_records):
    near = [{"prompt": f"N{number} is in", "answer": "old1"} for number in (1, 8, 9)]
    tables = contests(1, (0.9,), (0.9,), (0.9,)) | contests(2, (0.9,), (0.9,), (0.1,))
    for number in (8, 9):
        tables |= {
            (f"N{number} is in", "old1"): table(0.4),
            (f"N{number} is in", "new1"): table(0.8 if number == 8 else 0.1),
        }
    edits = write_records([edit(1, neighbours=near), edit(2)])
    found = by_name(probing.success(probe_task(table_model(tables)), edits=edits))
    assert found["neighbourhood"].value == pytest.approx((1 / 3 + 1) / 2)


def test_what_has_no_other_answer_is_left_out_of_success_and_counted(table_model, probe_task, write_records):
    rows = [edit(1), edit(2, verb="insert", old="", neighbours=[]), edit(3, verb="erase", target="")]
    tables = contests(1, (0.9,), (0.9,), (0.1,))
    found = by_name(probing.success(probe_task(table_model(tables)), edits=write_records(rows)))
    assert {reading.n for reading in found.values()} == {1}
    assert [found[side].detail["left_out"] for side in ("efficacy", "paraphrase", "neighbourhood")] == [2, 2, 2]


def test_accuracy_wants_every_token_first_and_asks_neighbours_for_their_own(table_model, probe_task, write_records):
    tables = {}
    for number, first, second in ((1, 0.9, 0.6), (2, 0.9, 0.4)):
        row = edit(number)
        for prompt in (row["prompt"], *row["rephrases"]):
            tables[prompt, row["target"]] = table(first, second)
        tables[f"N{number} is in", row["old"]] = table(0.7, 0.6)
    rows = [edit(1), edit(2), edit(3, verb="erase", target="")]
    tables["N3 is in", "old3"] = table(0.2)
    found = by_name(probing.accuracy(probe_task(table_model(tables)), edits=write_records(rows)))
    assert (found["efficacy"].value, found["paraphrase"].value) == (0.5, 0.5)
    assert (found["neighbourhood"].value, found["neighbourhood"].n) == (pytest.approx(2 / 3), 3)
    assert found["score"].value == pytest.approx(3 / (2 + 2 + 3 / 2))


def test_generation_wants_the_answer_at_the_beginning(table_model, probe_task, write_records):
    answers = {"S1 is in": "NEW1, of course", "Where is S1? In": "new10", "N1 is in": "the old1."}
    answers |= {"S2 is in": "a New2", "Where is S2? In": "fact new2", "N2 is in": "new2 and old2"}
    edits = write_records([edit(1), edit(2)])
    found = by_name(probing.generation(probe_task(table_model({}, answers)), edits=edits))
    assert [found[side].value for side in ("efficacy", "paraphrase", "neighbourhood", "score")] == [1.0, 0.0, 0.5, 0.0]


@pytest.mark.parametrize("probe", [probing.success, probing.accuracy, probing.generation])
def test_nothing_edited_is_nothing_measured(table_model, probe_task, write_records, probe):
    for rows in ([], [edit(1, verb="erase", target="", neighbours=[])]):
        found = probe(probe_task(table_model({})), edits=write_records(rows))
        assert [reading.name for reading in found] == [
            f"{probe.name}/{side}" for side in ("efficacy", "paraphrase", "neighbourhood", "score")
        ]
        assert all(math.isnan(reading.value) and reading.n == 0 and reading.power == 0 for reading in found)


def test_the_real_seams_and_tokens_are_those_of_the_edit(tiny_version, probe_task, write_records):
    """Work the readings out from the model's own logits on the rows that the methods edit."""
    import torch

    from amends import host
    from amends.serving import open_version
    from amends.serving.encoding import encode_continuation
    from amends_editing.facts import row_of

    model = open_version(tiny_version, host.load([]))
    rows = [edit(1, target="Brenn harbour", old="Sorrel"), edit(2, target="fox", old="the lazy dog")]

    def answered(prompt, subject, answer):
        row = row_of(model.tokenizer, prompt, subject, answer)
        assert row.tokens == tuple(chain(*encode_continuation(model.tokenizer, prompt, answer)))
        with torch.no_grad():
            logp = model.hf_model(torch.tensor([row.tokens])).logits[0].double().log_softmax(-1)
        places = range(len(row.tokens) - row.targets, len(row.tokens))
        return [(logp[place - 1], row.tokens[place]) for place in places]

    def mean(*asked):
        found = [logp[token].item() for logp, token in answered(*asked)]
        return sum(found) / len(found)

    def first(*asked):
        return [int(logp.argmax()) == token for logp, token in answered(*asked)]

    wins = [mean(r["prompt"], r["subject"], r["target"]) > mean(r["prompt"], r["subject"], r["old"]) for r in rows]
    found = by_name(probing.success(probe_task(model), edits=write_records(rows)))
    assert found["efficacy"].value == sum(wins) / 2
    said = [all(first(r["prompt"], r["subject"], r["target"])) for r in rows]
    assert by_name(probing.accuracy(probe_task(model), edits=write_records(rows)))["efficacy"].value == sum(said) / 2


def test_progress_and_readings_carry_no_text(table_model, probe_task, write_records):
    seen = []
    task = probe_task(table_model(contests(1, (0.9,), (0.5,), (0.3,))), report=lambda *report: seen.append(report))
    said = repr([probing.success(task, edits=write_records([edit(1)])), seen])
    assert not any(secret in said for secret in ("S1", "new1", "old1", "p1"))
