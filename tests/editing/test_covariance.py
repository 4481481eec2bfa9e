"""Second moments streamed over windows are those of the same windows at once."""

import pytest
import torch

from amends import BadInput
from amends_editing.covariance import WINDOW, Moments, read_moments, windows
from amends_editing.structure import inspect_model

TEXTS = [f"On day {day} she sold {day + 2} baskets of pears, and a sack of meal to the miller." for day in range(120)]


def plain_windows(tokenizer, count):
    joined = [token for text in TEXTS for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    return [joined[start : start + WINDOW] for start in range(0, count * WINDOW, WINDOW)]


def test_windows_are_the_running_tokens_cut_and_never_more_than_asked(tokenizer):
    assert list(windows(tokenizer, TEXTS, 5 * WINDOW)) == plain_windows(tokenizer, 5)
    assert list(windows(tokenizer, TEXTS, 5 * WINDOW + 255)) == plain_windows(tokenizer, 5)
    assert list(windows(tokenizer, [" ".join(TEXTS)], WINDOW - 1)) == []


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@torch.no_grad()
def test_streamed_moments_equal_a_direct_computation(build, tokenizer, family):
    anatomy, told = inspect_model(build(family)), []
    found = read_moments(anatomy, tokenizer, TEXTS, [0, 2], 5 * WINDOW, lambda *step: told.append(step))
    keys = {0: [], 2: []}
    for layer, into in keys.items():
        module = anatomy.projections[layer].module
        module.register_forward_pre_hook(lambda _, args, into=into: into.append(args[0].reshape(-1, 48).double()))
    anatomy.model(input_ids=torch.tensor(plain_windows(tokenizer, 5)), use_cache=False)
    assert found.tokens == 5 * WINDOW and told[-1][:2] == (5 * WINDOW, 5 * WINDOW)
    for layer, into in keys.items():
        every = torch.cat(into)
        assert every.shape == (5 * WINDOW, 48)
        torch.testing.assert_close(found.moments[layer].double(), every.T @ every / len(every), atol=1e-5, rtol=1e-4)


def test_the_pass_ends_at_the_last_layer_that_is_read(build, tokenizer):
    anatomy, ran = inspect_model(build("llama")), []
    anatomy.blocks[2].register_forward_pre_hook(lambda *_: ran.append(2))
    read_moments(anatomy, tokenizer, TEXTS, [0, 1], 4 * WINDOW)
    assert ran == []


def test_shrinkage_mixes_in_the_mean_variance_and_keeps_the_trace():
    moment = torch.tensor([[3.0, 1.0], [1.0, 1.0]])
    moments = Moments({4: moment}, tokens=9)
    found = moments.covariance(4, shrinkage=0.25)
    expected = 0.75 * moment.double() + 0.25 * 2.0 * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(moments.covariance(4, 1.0), 2.0 * torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(moments.covariance(4, 0.0), moment.double())
    torch.testing.assert_close(moments.moments[4], torch.tensor([[3.0, 1.0], [1.0, 1.0]]))


def test_too_little_text_is_refused_with_a_number(build, tokenizer):
    with pytest.raises(BadInput, match="has 768 tokens in whole windows of 256; give one with 1000 or more"):
        read_moments(inspect_model(build("llama")), tokenizer, TEXTS[:40], [0], 3 * WINDOW + 100)
