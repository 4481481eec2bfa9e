"""What a step descends, against its paper's equation worked out on a plain forward pass of the whole model."""

import math

import pytest
import torch

from amends import Task
from amends.operation.files import load_model
from amends.serving.encoding import encode
from amends_unlearning.methods import OPERATIONS, ascent, loop, rmu, subnetwork
from amends_unlearning.methods.adapting import change_of, copied
from amends_unlearning.methods.material import Settings, gather

BY_NAME = {operation.name: operation for operation in OPERATIONS}
SETTINGS = Settings(epochs=1, lr=1e-3, layers=2, rank=2, batch=8, retain_weight=0.0)


@pytest.fixture
def sides(rows):
    """Return the records of the first person, and those of the others."""
    gone = rows[0]["subjects"]
    return [row for row in rows if row["subjects"] == gone], [row for row in rows if row["subjects"] != gone]


@pytest.fixture
def material(sides, tiny_version, write_records, tmp_path):
    task = Task(tmp_path, 7, source=tiny_version, output=tmp_path / "out")
    return gather(task, *map(write_records, sides), SETTINGS)[0]


@torch.no_grad()
def passed(model, tokenizer, row):
    """Return a plain pass over a record, and where the tokens of its answer are predicted, with these tokens."""
    prompt, answer = encode(tokenizer, row["prompt"], row["answer"])
    out = model(torch.tensor([[*prompt, *answer]]), output_hidden_states=True)
    return out, slice(len(prompt) - 1, len(prompt) + len(answer) - 1), torch.tensor(answer)


def loss_a_token(model, tokenizer, rows):
    """Return the mean over records of their answer's mean negative log-likelihood, in nats."""
    found = []
    for row in rows:
        out, places, answer = passed(model, tokenizer, row)
        found.append(float(-out.logits[0, places].log_softmax(-1).gather(1, answer[:, None]).mean()))
    return sum(found) / len(found)


def test_ascent_descends_the_negated_loss_of_the_forgotten(material):
    rows = material.rows[0]
    found = ascent.objective(material)([0, 2])
    expected = -loss_a_token(material.model, material.tokenizer, [rows[0], rows[2]])
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "weight"), [("graddiff", 3.0), ("graddiff", 0.5), ("ascent", 0.0)])
def test_a_step_descends_the_methods_loss_and_so_many_times_that_of_the_rehearsed(
    name, weight, sides, run_task, write_records, tiny_version, unreachable, monkeypatch
):
    """L = -NLL(forget) + w NLL(retain) (Liu et al., 2022); before the first step the adapter changes nothing."""
    losses, down, orders, steps_of = [], loop.step_down, [], loop.steps_of

    def noting(optimiser, weights, loss):
        losses.append(float(loss.detach()))
        down(optimiser, weights, loss)

    def ordered(lost, kept, settings, seed):
        orders.append((list(steps_of(lost, kept, settings, seed)), settings.retain_weight))
        return iter(orders[-1][0])

    monkeypatch.setattr(loop, "step_down", noting)
    monkeypatch.setattr(loop, "steps_of", ordered)
    given = dict(zip(("forget", "retain"), map(write_records, sides), strict=True))
    given |= {"epochs": 1, "batch": 3, "layers": 1, "rank": 2} | ({"retain_weight": weight} if weight else {})
    run_task(BY_NAME[f"unlearning.{name}"], **given)
    (lost, kept), used = orders[-1][0][0], orders[-1][1]
    forgotten, retained = (sorted(some, key=lambda row: row["id"]) for some in sides)
    model = load_model(tiny_version)
    pushed = loss_a_token(*model, [forgotten[place] for place in lost])
    rehearsed = loss_a_token(*model, [retained[place] for place in kept])
    assert used == weight and losses[0] == pytest.approx(weight * rehearsed - pushed, rel=1e-4)


@pytest.mark.parametrize("weights", ["adapter", "full"])
@pytest.mark.parametrize("times", [0.5, 2.0])
def test_task_arithmetic_subtracts_so_many_times_what_learning_changed(weights, times, tiny_version):
    """theta' = theta - s (theta_learnt - theta) (Ilharco et al., 2023, section 2)."""
    before, learnt, subtracted = (load_model(tiny_version)[0] for _ in range(3))
    change = change_of(learnt, 1, 2, weights, "seed")
    start = copied(change)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in change.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    numbers = copied(change)
    change.settle(learnt)
    other = change_of(subtracted, 1, 2, weights, "seed")
    other.scale(numbers, start, -times)
    other.settle(subtracted)
    moved = 0
    for old, new, less in zip(before.parameters(), learnt.parameters(), subtracted.parameters(), strict=True):
        torch.testing.assert_close(less, old - times * (new - old), atol=1e-6, rtol=1e-5)
        moved += not torch.equal(old, new)
    assert moved == 7


def inner_by_hand(material, rows, layer):
    """Return what a layer hands on where answers' tokens are predicted, shape (places, width)."""
    found = []
    for row in rows:
        out, places, _ = passed(material.model, material.tokenizer, row)
        found.append(out.hidden_states[layer][0, places])
    return torch.cat(found)


def test_rmu_steers_the_forgotten_and_holds_the_kept(material):
    """L = |h_f - c u|^2 + alpha |h_r - h_r before|^2, both as means over activations (Li et al., 2024)."""
    strength, hold = 2.0, 10.0
    lost, kept = material.rows[0], material.rows[1][: len(material.rows[0])]
    loss = rmu.objective(material, 1, strength, hold)
    inner, before = inner_by_hand(material, lost, 1), inner_by_hand(material, kept, 1)
    target = strength * inner.norm(dim=-1).mean() * rmu._direction(material, inner)
    assert float(target.norm() / inner.norm(dim=-1).mean()) == pytest.approx(strength, rel=1e-5)
    places = range(len(lost))
    assert float(loss(places)) == pytest.approx(float((inner - target).pow(2).mean()), rel=1e-4)
    with torch.no_grad():
        material.model.get_decoder().layers[0].mlp.down_proj.weight.mul_(1.5)
    inner, after = inner_by_hand(material, lost, 1), inner_by_hand(material, kept, 1)
    held = float((after - before).pow(2).mean())
    assert held > 0
    assert float(loss(places)) == pytest.approx(float((inner - target).pow(2).mean()) + hold * held, rel=1e-4)


def test_a_subnetwork_is_pruned_for_suppression_and_by_as_little_as_possible(material):
    """L = KL(uniform || model) at the forgotten answers + lambda mean(1 - sigmoid(l)) (Bayazit et al., 2023)."""
    masks = subnetwork.masks_of(material.model, 2, "neuron")
    uniform = []
    for row in material.rows[0]:
        out, places, _ = passed(material.model, material.tokenizer, row)
        logp = out.logits[0, places].log_softmax(-1)
        uniform.append(-logp.mean(-1) - math.log(logp.shape[-1]))
    expected = float(torch.cat(uniform).mean()) + 0.7 * (1 - 1 / (1 + math.exp(-subnetwork.KEEPING)))
    found = subnetwork.objective(material, masks, 0.7)(range(len(material.rows[0])))
    assert float(found) == pytest.approx(expected, rel=1e-4)
