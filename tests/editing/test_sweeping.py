"""The sweep around the peak: it tries sets of layers, scores them, and leaves the model as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from amends_editing import sweeping
from amends_editing.covariance import read_moments
from amends_editing.knowing import mean_logps
from amends_editing.structure import inspect_model
from amends_editing.sweeping import Sweep, Trial, candidate_layers
from amends_editing.targets import Solver


@pytest.fixture
def swept(traced, passage):
    """Return a sweep of one layer over the facts that the tiny model knows."""
    facts = [one.fact for one in traced.known]
    moments = read_moments(traced.anatomy, traced.tokenizer, [passage], [0])
    return Sweep(traced.anatomy, traced.tokenizer, facts, moments, Solver(steps=3, contexts_per_step=1))


def test_weights_are_bit_equal_after_the_sweep(traced, swept):
    before = {name: weight.clone() for name, weight in traced.model.state_dict().items()}
    told = []
    trials = swept.run([(0,)], lambda *report: told.append(report))
    assert all(torch.equal(before[name], weight) for name, weight in traced.model.state_dict().items())
    assert [done for done, *_ in told] == sorted(done for done, *_ in told)
    assert {trial.weight for trial in trials} == set(sweeping.WEIGHTS) and told[-1] == (14, 14, "trying layers")
    assert [trial.score for trial in trials] == sorted((trial.score for trial in trials), reverse=True)


def test_a_trial_that_moves_too_much_scores_nothing_and_leaves_no_trace(traced, swept):
    before = traced.anatomy.projections[0].weight.clone()
    trial = replace(swept, max_drift=-1.0).trial((0,), 15.0)
    assert trial.score == 0 and torch.equal(before, traced.anatomy.projections[0].weight)


def test_unedited_facts_score_nothing_on_edits_and_all_on_neighbours(traced, swept):
    efficacy, paraphrase, neighbourhood = swept._scores()
    asked = [(n.prompt, n.answer, one.fact.target) for one in traced.known for n in one.fact.neighbours]
    logp = [mean_logps(traced.anatomy, traced.tokenizer, [(p, a), (p, t)]) for p, a, t in asked]
    other = [(text, one.fact) for one in traced.known for text in one.fact.rephrases]
    turned = [mean_logps(traced.anatomy, traced.tokenizer, [(p, f.target), (p, f.old)]) for p, f in other]
    assert efficacy == 0.0 and paraphrase == pytest.approx(sum(new > old for new, old in turned) / len(turned))
    assert neighbourhood == pytest.approx(sum(own > other for own, other in logp) / len(logp))


def test_a_trial_s_score_is_the_harmonic_mean_of_what_was_asked():
    assert Trial((1,), 15.0, 1.0, 0.5, None, 0.1).score == pytest.approx(2 / (1 / 1.0 + 1 / 0.5))
    assert Trial((1,), 15.0, 1.0, 0.0, 0.9, 0.1).score == 0


@pytest.mark.parametrize("peak", [0, 3, 28])
def test_candidates_lie_around_the_peak_and_have_the_default_among_them(peak):
    anatomy = inspect_model(deep(30))
    found = candidate_layers(anatomy, peak)
    assert found[0] == (4, 5, 6, 7, 8) and len(set(found)) == len(found) >= 2
    assert all(layers == tuple(range(layers[0], layers[-1] + 1)) for layers in found)
    assert all(peak in layers and layers[0] >= 0 and layers[-1] <= 28 for layers in found[1:])


def deep(layers):
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=1, n_embd=4, vocab_size=20, n_positions=16))
