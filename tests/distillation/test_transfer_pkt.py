"""Parametric transfer: sensitivity by differences, a start that changes nothing, and what training then moves."""

import pytest
import torch

from amends import BadInput, BadRecords
from amends_distillation.transfer.grafts import Grafts, factors_of, random_factors
from amends_distillation.transfer.samples import Sample, mean_loss, samples_of
from amends_distillation.transfer.sensitivity import choose_layers, sensitivity_of

SHORT = {"rank": 4, "steps": 3, "lr": 1e-3, "batch": 2}
INITS = ("teacher", "random", "self", "seed-only")


@pytest.fixture(scope="module")
def teacher(write_llama):
    return write_llama(1, hidden_size=48, intermediate_size=64, num_hidden_layers=4)


@pytest.fixture(scope="module")
def student(write_llama):
    return write_llama(2)


def silent(done, total):
    pass


def test_sensitivity_is_what_the_loss_changes_by_when_a_weight_is_taken_away(write_llama, open_llama):
    anatomy, tokenizer = open_llama(write_llama(3))
    sample = Sample(tuple(tokenizer("a lamp in Brenn")["input_ids"]), 1)
    found = sensitivity_of(anatomy, [sample], silent)
    weight, step, losses = anatomy.weight(1, "up"), 0.02, []
    place = divmod(int(found[1, "up"].argmax()), weight.shape[1])
    kept = weight[place].item()
    for times in (1 - step, 1 + step):
        weight[place] = kept * times
        losses.append(mean_loss(anatomy.model, [sample]).item())
    assert found[1, "up"][place].item() == pytest.approx(abs(losses[1] - losses[0]) / (2 * step), rel=0.01)


def test_samples_do_not_cancel_each_other(write_llama, open_llama):
    anatomy, tokenizer = open_llama(write_llama(3))
    samples = [Sample(tuple(tokenizer(text)["input_ids"]), 1) for text in ("a lamp", "the kite")]
    both = sensitivity_of(anatomy, samples, silent)
    alone = [sensitivity_of(anatomy, [sample], silent) for sample in samples]
    torch.testing.assert_close(both[0, "q"], alone[0][0, "q"] + alone[1][0, "q"])


def test_the_most_sensitive_layers_are_taken_in_their_order():
    totals = {0: 2.0, 1: 9.0, 2: 1.0, 3: 9.0, 4: 5.0}
    sensitivity = {(layer, "up"): torch.full((1, 1), total) for layer, total in totals.items()}
    assert choose_layers(sensitivity, 3) == [1, 3, 4]
    assert choose_layers(sensitivity, 1) == [1]


@pytest.mark.parametrize("start", ["matrix", "random"])
def test_at_step_0_the_student_says_what_it_said_to_the_last_bit(write_llama, open_llama, start):
    anatomy, _ = open_llama(write_llama(4))
    generator = torch.Generator().manual_seed(0)
    starts = {}
    for layer, name, linear in anatomy.maps():
        shape = linear.weight.shape
        found = factors_of(torch.randn(shape, generator=generator), 8)
        starts[layer, name] = found if start == "matrix" else random_factors(*shape, 8, generator)
    ids = torch.arange(3, 19)[None]
    grafts = Grafts(anatomy, starts)
    with torch.no_grad():
        plain = anatomy.model(input_ids=ids).logits
        with grafts.armed():
            armed = anatomy.model(input_ids=ids).logits
        grafts.merge()
        merged = anatomy.model(input_ids=ids).logits
    assert torch.equal(plain, armed) and torch.equal(plain, merged)


def test_the_merged_change_says_what_the_armed_one_said(write_llama, open_llama):
    anatomy, _ = open_llama(write_llama(4))
    generator = torch.Generator().manual_seed(0)
    grafts = Grafts(anatomy, {(0, "down"): factors_of(torch.randn(32, 48, generator=generator), 4)})
    for matrix in grafts.parameters():
        matrix += 0.01 * torch.randn(matrix.shape, generator=generator)
    ids = torch.arange(3, 19)[None]
    with torch.no_grad():
        with grafts.armed():
            armed = anatomy.model(input_ids=ids).logits
        grafts.merge()
        torch.testing.assert_close(anatomy.model(input_ids=ids).logits, armed, atol=1e-5, rtol=1e-5)


def test_the_factors_of_a_matrix_of_that_rank_are_the_matrix():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(9, 3, generator=generator) @ torch.randn(3, 7, generator=generator)
    down, up = factors_of(matrix, 3)
    torch.testing.assert_close(up @ down, matrix, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(down @ down.T, torch.eye(3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("init", INITS)
def test_a_transfer_without_a_step_writes_the_student_as_it_is(
    run_transfer, questions, weights_of, teacher, student, init
):
    given = {"seeds": questions(0), "records": questions(4), "init": init, **SHORT, "steps": 0}
    made = weights_of(run_transfer("transfer.pkt", student, {"teacher": teacher}, **given).output)
    assert all(torch.equal(made[name], weight) for name, weight in weights_of(student).items())


@pytest.mark.parametrize("init", INITS)
def test_tuning_makes_what_it_is_tuned_on_likelier(run_transfer, questions, open_llama, teacher, student, init):
    given = {"seeds": questions(0), "records": questions(4), "init": init, **SHORT, "steps": 12, "lr": 3e-3}
    task = run_transfer("transfer.pkt", student, {"teacher": teacher}, **given)
    losses = []
    for version in (student, task.output):
        anatomy, tokenizer = open_llama(version)
        shown = samples_of(tokenizer, given["seeds" if init == "seed-only" else "records"])
        with torch.no_grad():
            losses.append(mean_loss(anatomy.model, shown).item())
    assert losses[1] < losses[0] - 0.05


def test_embeddings_and_norms_stay_as_they_are(run_transfer, questions, weights_of, teacher, student):
    given = {"seeds": questions(0), "records": questions(4), **SHORT}
    made = weights_of(run_transfer("transfer.pkt", student, {"teacher": teacher}, **given).output)
    same = {name for name, weight in weights_of(student).items() if torch.equal(made[name], weight)}
    assert same == {name for name in made if "norm" in name or "embed" in name}


def test_a_teacher_that_is_too_small_is_refused(run_transfer, questions, teacher, student):
    given = {"seeds": questions(0), "records": questions(4), **SHORT}
    with pytest.raises(BadInput, match="has 4 layers and the teacher 3"):
        run_transfer("transfer.pkt", teacher, {"teacher": student}, **given)


def test_records_without_anything_to_learn_are_refused(run_transfer, questions, write_records, teacher, student):
    empty = write_records([{"id": "a", "answer": "Because.", "subjects": []}])
    with pytest.raises(BadRecords, match="row 1 has no text"):
        run_transfer("transfer.pkt", student, {"teacher": teacher}, seeds=questions(0), records=empty, **SHORT)
