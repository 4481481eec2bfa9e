"""The measurements of a student against numbers worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from amends import BadInput, BadRecords
from amends_distillation import calibration, contamination, facts, fidelity, files, size, workflow
from amends_distillation.probing import probes


@pytest.fixture
def served(tiny_version, tmp_path, make_tiny):
    """Return two served models on one vocabulary."""
    from amends import host
    from amends.serving import open_version

    other = make_tiny(tmp_path / "other", seed=5)
    return [open_version(place, host.current()) for place in (other, tiny_version)]


@pytest.fixture
def passages(write_records):
    """Return records of text."""
    return write_records([{"id": str(n), "prompt": f"The keeper counted {n} boats at dusk."} for n in range(5)])


def by_name(readings):
    return {reading.name.rpartition("/")[2]: reading for reading in readings}


def test_fidelity_of_a_model_to_itself_is_whole(probe_task, served, passages):
    found = by_name(fidelity.read_fidelity(probe_task(served[1], served[1]), passages, most=9, length=32))
    assert found["ratio"].value == pytest.approx(1) and found["kl"].value == pytest.approx(0, abs=1e-9)
    assert found["agreement"].value == 1 and found["ratio"].n == 5


def test_fidelity_is_what_the_two_distributions_say(probe_task, served, passages):
    found = by_name(fidelity.read_fidelity(probe_task(*served), passages, most=9, length=32))
    losses, divergence, alike, count = [0.0, 0.0], 0.0, 0, 0
    for row in passages.rows():
        ids = torch.tensor([served[0].tokenizer(row["prompt"])["input_ids"][:32]])
        with torch.inference_mode():
            q, p = (model.hf_model(input_ids=ids).logits[0, :-1].double().log_softmax(-1) for model in served)
        for place, true in enumerate(ids[0, 1:]):
            losses = [losses[0] - q[place, true].item(), losses[1] - p[place, true].item()]
            divergence += (p[place].exp() * (p[place] - q[place])).sum().item()
            alike += bool(p[place].argmax() == q[place].argmax())
            count += 1
    assert found["ratio"].value == pytest.approx(math.exp((losses[0] - losses[1]) / count))
    assert found["perplexity"].value == pytest.approx(math.exp(losses[0] / count))
    assert found["kl"].value == pytest.approx(divergence / count)
    assert found["agreement"].value == pytest.approx(alike / count)
    assert found["ratio"].low < found["ratio"].value < found["ratio"].high and 0 <= found["ratio"].power <= 1


def test_under_another_vocabulary_only_the_ratio_is_read(probe_task, served, passages):
    served[0].tokenizer.add_tokens(["boats"])
    found = by_name(fidelity.read_fidelity(probe_task(served[1], served[0]), passages, most=9, length=12))
    assert math.isnan(found["kl"].value) and math.isnan(found["agreement"].value)
    assert math.isfinite(found["ratio"].value)


def test_without_a_teacher_there_is_nothing_to_compare(probe_task, served, passages):
    with pytest.raises(BadInput, match="give it a reference"):
        fidelity.read_fidelity(probe_task(served[0]), passages, most=9, length=12)


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    """Two tokens at 0.9, one right; one at 0.6, right: 2/3 x |0.9 - 0.5| + 1/3 x |0.6 - 1|."""
    logp = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], dtype=torch.float64).log()
    rows = calibration.binned(logp, torch.tensor([0, 1, 1]))[None]
    assert calibration.error(rows, np.ones((1, 1)))[0] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4)


def test_calibration_is_read_of_both_and_of_their_difference(probe_task, served, passages):
    found = by_name(calibration.read_calibration(probe_task(*served), passages, most=9, length=12))
    assert found["excess"].value == pytest.approx(found["student"].value - found["teacher"].value)
    assert 0 <= found["student"].value <= 1 and found["student"].low is not None


def test_size_counts_tied_weights_once_and_compares_speeds(probe_task, served, tmp_path):
    for name in ("model", "reference"):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "config.json").write_text("{}")
        (tmp_path / name / "model" / "x.safetensors").write_bytes(b"0" * 10)
    task = probe_task(*served)
    task.model_path, task.reference_path = tmp_path / "model", tmp_path / "reference"
    task.open_model = {task.model_path: served[0], task.reference_path: served[1]}.__getitem__
    found = by_name(size.read_size(task))
    own = served[0].hf_model
    assert found["parameters"].value == sum(tensor.numel() for tensor in own.parameters())
    assert found["smaller"].value == 1 and found["bytes"].value == 10
    assert found["faster"].low <= found["faster"].value <= found["faster"].high and found["speed"].value > 0


def test_facts_kept_are_those_of_the_teacher_that_the_student_completes_too(probe_task, table_model, write_records):
    right, wrong, end = ([0.9, 0.1], 0), ([0.2, 0.8], 0), ([0.5, 0.5], 0)
    rows = [{"id": name, "prompt": name, "answer": "x"} for name in "abcd"]
    knows = {"a": right, "b": right, "c": right, "d": wrong}
    keeps = {"a": right, "b": wrong, "c": right, "d": right}
    teacher, student = (
        table_model({(name, "x"): [one, end] for name, one in table.items()}) for table in (knows, keeps)
    )
    found = by_name(facts.read_facts(probe_task(student, teacher), write_records(rows), most=9))
    assert found["kept"].value == pytest.approx(2 / 3) and found["kept"].n == 3
    assert found["teacher"].value == 0.75 and found["student"].value == 0.75
    assert found["likelihood"].value == pytest.approx((1 + (0.2 / 0.9) ** 0.5 + 1 + 1) / 4)


def test_a_fact_that_cannot_be_read_is_not_taken_for_kept():
    assert facts.likelihood(-1.0, -2.0) == 1.0 and facts.likelihood(-2.0, -1.0) == pytest.approx(math.exp(-1))
    assert math.isnan(facts.likelihood(math.nan, -1.0)) and math.isnan(facts.likelihood(-1.0, math.nan))


def records_with(write_records, prefix, count):
    return write_records([{"id": f"{prefix}{n}", "prompt": f"{prefix}{n}", "answer": "x"} for n in range(count)])


def test_a_forgotten_answer_is_known_where_it_is_likelier_than_nearly_all_never_seen(
    probe_task, table_model, write_records
):
    end = ([0.5, 0.5], 0)
    table = {(f"never{n}", "x"): [([0.01 * (n + 1), 1 - 0.01 * (n + 1)], 0), end] for n in range(20)}
    table |= {("lost0", "x"): [([0.9, 0.1], 0), end], ("lost1", "x"): [([0.05, 0.95], 0), end]}
    task = probe_task(table_model(table))
    lost, never = records_with(write_records, "lost", 2), records_with(write_records, "never", 20)
    found = by_name(contamination.read_contamination(task, lost, never, None, tokens=4))
    assert found["known"].value == 0.5 and found["known"].n == 2
    assert found["at_most"].value == found["known"].high and found["at_most"].n == 1
    assert found["auc"].value == pytest.approx((20 + 4.5) / 40)  # the second ties with one of the never seen
    assert found["extraction"].value == 0.5 and found["said"].n == 0


@pytest.mark.parametrize("unread", ["lost1", "never3"])
def test_an_answer_that_cannot_be_read_is_not_taken_for_a_forgotten_one(probe_task, table_model, write_records, unread):
    names = [f"lost{n}" for n in range(20)] + [f"never{n}" for n in range(20)]
    table = {(name, "x"): [([0.1, 0.9], 0), ([0.5, 0.5], 0)] for name in names}
    table[unread, "x"] = [([math.nan, math.nan], 0), ([0.5, 0.5], 0)]
    lost, never = records_with(write_records, "lost", 20), records_with(write_records, "never", 20)
    found = by_name(contamination.read_contamination(probe_task(table_model(table)), lost, never, None, tokens=4))
    assert math.isnan(found["known"].value) and found["at_most"].value == 1.0


@pytest.mark.parametrize("forbidden", [" ", "…!", [], ["liar", "?"], [3], None])
def test_a_forbidden_continuation_that_nobody_could_hear_is_refused(
    probe_task, table_model, write_records, tmp_path, forbidden
):
    row = {"id": "1", "prompt": "p", "forbidden": forbidden}
    with pytest.raises(BadRecords, match="has no word"):
        contamination.read_contamination(
            probe_task(table_model({})), None, None, write_records([row]), tokens=4
        )  # fmt: skip
    (tmp_path / "rude.jsonl").write_text(json.dumps(row))
    with pytest.raises(BadRecords, match=r"rude.jsonl, line 1: write an object with prompt and forbidden"):
        files.read_rows(tmp_path / "rude.jsonl", workflow.ASKED["forbidden"])


@pytest.mark.parametrize("row", [{"prompt": "p", "answer": " "}, {"prompt": 3, "answer": "a"}, {"answer": "a"}])
def test_a_question_without_text_is_refused(tmp_path, row):
    (tmp_path / "lost.jsonl").write_text(json.dumps(row))
    with pytest.raises(BadRecords, match=r"lost.jsonl, line 1: write an object with prompt and answer"):
        files.read_rows(tmp_path / "lost.jsonl", workflow.ASKED["forget"])


def test_what_the_teacher_was_cured_of_counts_where_its_words_are_said(probe_task, table_model, write_records):
    rows = [{"id": str(n), "prompt": f"p{n}", "forbidden": ["rotten old fool", "liar"]} for n in range(4)]
    said = {"p0": "He is a Rotten, old fool!", "p1": "a rotten fool", "p2": "fool old rotten", "p3": "such a liar."}
    task = probe_task(table_model({}, said))
    found = by_name(contamination.read_contamination(task, None, None, write_records(rows), tokens=4))
    assert found["known"].value == 0.5 == found["said"].value
    assert found["known"].detail == {"records": 4, "effect": 0.1, "forget": 0, "forbidden": 4}


def test_of_what_is_not_asked_nothing_is_known(probe_task, table_model):
    found = by_name(contamination.read_contamination(probe_task(table_model({})), None, None, None, tokens=4))
    assert found["at_most"].value == 1.0 and (found["known"].low, found["known"].high) == (0.0, 1.0)


def test_none_of_a_few_leaves_room_for_some(probe_task, table_model, write_records):
    rows = [{"id": str(n), "prompt": "p", "forbidden": "liar"} for n in range(4)]
    task = probe_task(table_model({}, {"p": "an honest soul"}))
    found = by_name(contamination.read_contamination(task, None, None, write_records(rows), tokens=4))
    assert found["known"].value == 0 and found["at_most"].value == pytest.approx(1 - 0.025 ** (1 / 4))


def test_forgotten_records_without_enough_never_seen_are_refused(probe_task, table_model, write_records):
    with pytest.raises(BadRecords, match="control has 2 records; give 3"):
        contamination.read_contamination(
            probe_task(table_model({})), records_with(write_records, "a", 2), records_with(write_records, "b", 2),
            None, tokens=4,
        )  # fmt: skip


def test_each_probe_is_named_after_what_it_reads():
    assert [probe.name.partition(".")[0] for probe in probes()] == ["distillation"] * len(list(probes()))
