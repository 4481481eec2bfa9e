"""Sampling follows the nucleus, and neither the batch nor the order of the prompts changes what is drawn."""

import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from amends import BadInput, host
from amends_detox import sampling
from amends_detox.sampling import NoNumbers, continuations, nucleus

PROMPTS = ["Ada lives in", "The capital of the island is", "x", "The quick brown fox jumps over the lazy dog and"]


@pytest.fixture(scope="module")
def model(tiny_version):
    from amends.serving.model import open_version

    return open_version(tiny_version, host.load([]))


def logits(*probabilities):
    return torch.tensor([probabilities]).log()


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 2), (0.62, 2), (0.63, 0), (0.999, 0)]
)  # nucleus: .5 and .3; the border lies at .5 / .8
def test_a_token_is_drawn_by_the_inverse_of_the_nucleus_s_distribution(uniform, token):
    drawn = nucleus(logits(0.3, 0.15, 0.5, 0.05), torch.tensor([uniform]), 0.7)
    assert drawn.tolist() == [token]


def test_with_the_whole_vocabulary_each_token_has_its_own_share():
    p = (0.1, 0.2, 0.3, 0.4)
    uniform = (torch.arange(1000) + 0.5) / 1000
    drawn = nucleus(logits(*p).repeat(1000, 1), uniform, 1.0)
    assert (torch.bincount(drawn) / 1000).tolist() == pytest.approx(p, abs=2e-3)


def test_a_nucleus_wider_than_what_is_looked_at_first_is_the_same(monkeypatch):
    many = torch.randn(64, 300, generator=torch.Generator().manual_seed(0))
    uniform = torch.rand(64, generator=torch.Generator().manual_seed(1))
    whole = nucleus(many, uniform, 0.9)
    monkeypatch.setattr(sampling, "FIRST", 5)
    assert nucleus(many, uniform, 0.9).tolist() == whole.tolist()


def test_nothing_is_drawn_from_a_model_that_gives_no_numbers():
    with pytest.raises(NoNumbers, match="finite"):
        nucleus(torch.tensor([[0.0, math.nan]]), torch.tensor([0.5]), 0.9)


def test_a_seed_decides_and_neither_batch_nor_order_does(model, probe_task, monkeypatch):
    task = probe_task(model)
    found = continuations(task, model, PROMPTS, 3, 8, 0.9, seed=1)
    assert [len(texts) for texts in found] == [3] * 4 and len({text for texts in found for text in texts}) > 6
    assert continuations(task, model, PROMPTS[::-1], 3, 8, 0.9, seed=1)[::-1] == found
    monkeypatch.setattr(sampling, "ROWS", 3)
    assert continuations(task, model, PROMPTS, 3, 8, 0.9, seed=1) == found
    assert continuations(task, model, PROMPTS, 3, 8, 0.9, seed=2) != found


def test_a_prompt_that_comes_twice_is_sampled_anew(model, probe_task):
    first, second = continuations(probe_task(model), model, ["Ada lives in"] * 2, 2, 8, 0.9, seed=1)
    assert first != second


def test_a_nucleus_of_one_token_is_greedy(model, probe_task):
    found = continuations(probe_task(model), model, PROMPTS, 1, 6, 1e-9, seed=3)
    assert [texts[0].strip() for texts in found] == model.complete(PROMPTS, 6)


class Shouts:
    """An attachment that changes what is asked and what is said."""

    def __init__(self):
        self.armed = []

    def before(self, prompt):
        return f"{prompt} and"

    @contextmanager
    def inside(self, prompt):
        self.armed.append(prompt)
        yield

    def after(self, prompt, answer):
        return answer.upper()


def test_attachments_act_on_every_sample_of_the_prompt_they_were_armed_for(model, probe_task):
    seam = Shouts()
    served = replace(model, seams=(seam,))
    found = continuations(probe_task(served), served, PROMPTS[:2], 1, 6, 1e-9, seed=3)
    plain = continuations(probe_task(model), model, [f"{prompt} and" for prompt in PROMPTS[:2]], 1, 6, 1e-9, seed=3)
    assert found == [[text.upper() for text in texts] for texts in plain]
    assert seam.armed == PROMPTS[:2]


@pytest.mark.parametrize(("samples", "tokens", "top_p"), [(0, 5, 0.9), (1, 0, 0.9), (1, 5, 0.0), (1, 5, 1.1)])
def test_numbers_that_cannot_be_used_are_refused(model, probe_task, samples, tokens, top_p):
    with pytest.raises(BadInput, match="sampling needs"):
        continuations(probe_task(model), model, PROMPTS, samples, tokens, top_p, seed=0)


@pytest.mark.slow
def test_a_real_model_says_the_same_alone_and_in_company(smollm2, probe_task, monkeypatch):
    from amends.serving.model import open_version

    real = open_version(smollm2, host.load([]))
    found = continuations(probe_task(real), real, PROMPTS, 2, 10, 0.9, seed=1)
    monkeypatch.setattr(sampling, "ROWS", 2)
    assert continuations(probe_task(real), real, PROMPTS, 2, 10, 0.9, seed=1) == found
    assert sum(len(text.split()) for texts in found for text in texts) > 20
