"""Every membership score against its formula in float64, on a real forward pass of a tiny model."""

import math
import zlib

import numpy as np
import pytest
import torch

from amends import host
from amends.serving import open_version
from amends.serving.encoding import encode
from amends_unlearning.gradients import gradient_norm
from amends_unlearning.membership import SCORES, membership_scores, privleak, read_membership, rel_diff

ASKED = [("Where does Ada live?", "Ada lives in Brenn."), ("What?", "An island"), ("Who sleeps?", "The lazy dog 0123")]


@pytest.fixture
def model(tiny_version):
    return open_version(tiny_version, host.load([]))


def log_softmax(model, prompt, answer):
    """Return the log-probabilities, shape (tokens, vocabulary), that predict each answer token, and their ids."""
    first, then = encode(model.tokenizer, prompt, answer)
    with torch.no_grad():
        logits = model.hf_model(torch.tensor([first + then])).logits[0].double().numpy()
    logits = logits[len(first) - 1 : -1]
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), then


@pytest.mark.parametrize(("prompt", "answer"), ASKED)
def test_scores_equal_their_formulas(model, prompt, answer):
    log_p, then = log_softmax(model, prompt, answer)
    logp = log_p[np.arange(len(then)), then]
    mean = (np.exp(log_p) * log_p).sum(axis=1)
    deviation = np.sqrt((np.exp(log_p) * log_p**2).sum(axis=1) - mean**2)
    lowest = max(1, int(0.4 * (len(then) - 1)))
    expected = {
        "loss": logp.mean(),
        "minkpp": np.sort(((logp - mean) / deviation)[:-1])[:lowest].mean(),
        "zlib": logp.mean() / len(zlib.compress(answer.encode())),
        "mink": np.sort(logp[:-1])[:lowest].mean(),
    }
    found = membership_scores(model.score([(prompt, answer)])[0], answer)
    assert dict(zip(SCORES, found, strict=True)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_gradients_norm_is_what_finite_differences_find(model):
    """The norm over one parameter is the slope along its own gradient's direction."""
    prompt, answer = ASKED[0]
    hf_model = model.hf_model.double()

    def loss():
        log_p, then = log_softmax(model, prompt, answer)
        return -log_p[np.arange(len(then)), then].mean()

    norms = []
    for weight in hf_model.parameters():
        weight.requires_grad_(True)
        first, then = encode(model.tokenizer, prompt, answer)
        logits = hf_model(torch.tensor([first + then])).logits[0, len(first) - 1 : -1]
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.tensor(then)), weight)
        step = 1e-5 * gradient / gradient.norm()
        with torch.no_grad():
            kept = weight.clone()
            weight.add_(step)
            above = loss()
            weight.copy_(kept - step)
            below = loss()
            weight.copy_(kept)
        norms.append((above - below) / 2e-5)
        weight.requires_grad_(False)
    assert gradient_norm(model, prompt, answer) == pytest.approx(
        np.mean(norms), rel=3e-3
    )  # norms of layers are in float32


def test_the_gradients_norm_neither_enables_dropout_nor_leaves_a_trace(model):
    seen = []
    model.hf_model.requires_grad_(False)
    model.hf_model.get_decoder().register_forward_pre_hook(lambda module, _: seen.append(module.training))
    before = {name: weight.clone() for name, weight in model.hf_model.state_dict().items()}
    first = gradient_norm(model, *ASKED[0])
    assert first == gradient_norm(model, *ASKED[0])
    assert set(seen) == {False}
    assert all(torch.equal(before[name], weight) for name, weight in model.hf_model.state_dict().items())
    assert not any(weight.requires_grad or weight.grad is not None for weight in model.hf_model.parameters())
    model.hf_model.train()
    gradient_norm(model, *ASKED[0])
    assert set(seen) == {False}
    assert model.hf_model.training


def test_privleak_has_muses_signs():
    found = privleak(np.array([1.0, 0.75, 0.5, 0.25, 0.0]))
    assert found.tolist() == [-100, -50, 0, 50, 100]
    assert privleak(np.array([0.5]), 0.6).item() == pytest.approx(25.0)
    assert math.isnan(privleak(np.array([0.5]), 1.0).item())
    assert rel_diff(np.array([3.0, 1.0]), 2.0).tolist() == [50, -50]


def rows(kind, people):
    return [
        {"id": f"{kind}{n}", "prompt": f"Where is {n}?", "answer": f"At {n * 37 % 91}", "subjects": [f"s_{kind}{n}"]}
        for n in range(people)
    ]


def by_name(readings):
    return {reading.name.removeprefix("unlearning.membership/"): reading for reading in readings}


def test_all_six_scores_are_read_with_their_shift_from_the_parent(tiny_version, make_tiny, tmp_path, probe_task,
                                                                 write_records):  # fmt: skip
    loaded = host.load([])
    model = open_version(tiny_version, loaded)
    parent = open_version(make_tiny(tmp_path / "other", 1), loaded)
    forget, control = rows("f", 4), rows("c", 4)
    found = by_name(
        read_membership(probe_task(model, parent), write_records(forget), write_records(control), None, gradients=3)
    )
    for name in (*SCORES, "reference", "gradnorm"):
        assert 0 <= found[f"auc_{name}"].value <= 1
        assert -1 <= found[f"auc_{name}_minus_parent"].value <= 1
    assert (found["auc_gradnorm"].n, found["auc_loss"].n) == (3, 4)
    assert found["auc_reference_minus_parent"].value == found["auc_reference"].value - 0.5
    gains = [
        [a.logp.mean() - b.logp.mean() for a, b in zip(model.score(pairs), parent.score(pairs), strict=True)]
        for pairs in ([(row["prompt"], row["answer"]) for row in group] for group in (forget, control))
    ]
    wins = [(f > c) + 0.5 * (f == c) for f in gains[0] for c in gains[1]]
    assert found["auc_reference"].value == pytest.approx(float(np.mean(wins)))


def test_a_score_that_cannot_be_given_is_left_out_and_said_so(table_model, probe_task, write_records):
    records = rows("f", 2), rows("c", 2)
    table = {(row["prompt"], row["answer"]): [([0.5, 0.5], 0)] * 3 for side in records for row in side}
    found = by_name(read_membership(probe_task(table_model(table)), *map(write_records, records), None, gradients=4))
    assert not any("gradnorm" in name or "reference" in name for name in found)
    assert found["auc_loss"].detail["left_out"] == {
        "gradnorm": "what is served gives no gradients",
        "reference": "there is no reference",
    }
