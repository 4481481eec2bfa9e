"""What a student begins as."""

from __future__ import annotations

import pytest
import torch

from amends.operation.files import load_model
from amends_distillation.students import chosen_layers, make_student
from amends_distillation.vocabularies import digest_of_tokenizer


@pytest.fixture
def teacher(tiny_version):
    """Return the tiny model."""
    return load_model(tiny_version)[0]


def test_layers_are_spread_with_both_ends_or_taken_from_below():
    assert chosen_layers(30, 10, "spread") == [0, 3, 6, 10, 13, 16, 19, 23, 26, 29]
    assert chosen_layers(30, 4, "first") == [0, 1, 2, 3]
    assert chosen_layers(7, 7, "spread") == list(range(7))


def test_a_cut_student_is_its_teacher_without_some_layers(teacher):
    student = make_student(teacher, 1, 0, "spread", 0)
    ids = torch.arange(10)[None]
    whole = list(teacher.model.layers)
    teacher.model.layers = teacher.model.layers[:1]
    with torch.inference_mode():
        torch.testing.assert_close(student(input_ids=ids).logits, teacher(input_ids=ids, use_cache=False).logits)
    teacher.model.layers = torch.nn.ModuleList(whole)


def test_a_student_of_all_layers_is_its_teacher(teacher):
    student, ids = make_student(teacher, 2, 0, "spread", 0), torch.arange(10)[None]
    with torch.inference_mode():
        assert torch.equal(student(input_ids=ids).logits, teacher(input_ids=ids).logits)


def test_a_narrower_student_has_heads_as_large_and_draws_from_its_seed(teacher):
    one, same, other = (make_student(teacher, 2, 16, "random", seed) for seed in (1, 1, 2))
    assert one.config.hidden_size == 16 and one.config.num_attention_heads == 2 and one.config.intermediate_size == 32
    first, second, third = (model.state_dict() for model in (one, same, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)
    with torch.inference_mode():
        assert one(input_ids=torch.arange(10)[None]).logits.shape == (1, 10, teacher.config.vocab_size)


def test_a_tokenizer_is_told_by_what_it_does_and_not_by_how_it_pads(tiny_version):
    tokenizer = load_model(tiny_version)[1]
    before = digest_of_tokenizer(tokenizer)
    tokenizer(["a", "longer text"], padding=True, truncation=True, max_length=4)
    assert digest_of_tokenizer(tokenizer) == before
    tokenizer.add_tokens(["harbourmaster"])
    assert digest_of_tokenizer(tokenizer) != before
