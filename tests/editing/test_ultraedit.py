"""UltraEdit's update against a computation of its own: one fact at a time, gradients of a push that is zero."""

import pytest
import torch

from amends import BadInput
from amends_editing import ultraedit
from amends_editing.desk import Desk
from amends_editing.facts import Fact, row_of
from amends_editing.structure import inspect_model
from amends_editing.targets import Wish

LAYERS, RATE = (0, 2), 0.02


@pytest.fixture
def batches(row_about):
    """Return facts in two batches, with answers of one token and of several."""
    known = [("Ada Quill", "Brenn"), ("Pell Ostrin", "capital"), ("Ruvo Tanniker", "Sorrel"), ("Ada Quill", "Hollin")]
    facts = [Fact.from_row(row_about(subject=name, target=town, prompt=f"{name} lives in")) for name, town in known]
    return [facts[:3], facts[3:]]


def keys_and_gradients(anatomy, tokenizer, fact, layer):
    """Return what enters a projection where the answer is predicted, and the loss' gradient in what it puts out."""
    row, module = row_of(tokenizer, fact.prompt, fact.subject, fact.target), anatomy.projections[layer].module
    push, keys = torch.zeros(1, len(row.tokens), 32, requires_grad=True), []
    hooks = [module.register_forward_hook(lambda _, __, out: out + push)]
    hooks.append(module.register_forward_pre_hook(lambda _, args: keys.append(args[0][0].detach())))
    logp = anatomy.model(input_ids=torch.tensor([row.tokens]), use_cache=False).logits[0].log_softmax(-1)
    for hook in hooks:
        hook.remove()
    first = len(row.tokens) - row.targets
    places = torch.arange(first - 1, len(row.tokens) - 1)
    loss = -logp[places, list(row.tokens[first:])].sum()
    (gradient,) = torch.autograd.grad(loss, push)
    return keys[0][places].double(), gradient[0, places].double()


def expected_update(keys, gradients, seen_keys, seen_gradients):
    """Return Δ of (HᵀH + I) Δᵀ = HᵀV with v = −η (h·ĥ) ĝ, by the direct inverse."""

    def normalised(rows, seen):
        return (rows - seen.mean(0)) / (seen.std(0) + ultraedit.FLOOR)

    coefficients = -RATE * (keys * normalised(keys, seen_keys)).sum(1)
    values = coefficients[:, None] * normalised(gradients, seen_gradients)
    eye = torch.eye(keys.shape[1], dtype=torch.float64)
    return (torch.linalg.inv(keys.T @ keys + eye) @ keys.T @ values).T


def test_each_batch_is_the_papers_with_statistics_over_all_batches_so_far(build, tokenizer, batches):
    anatomy = inspect_model(build("llama"))
    desk = Desk(anatomy, tokenizer, LAYERS)
    write, seen = ultraedit.prepare(RATE), {layer: ([], []) for layer in LAYERS}
    for facts in batches:
        expected = {}
        for layer in LAYERS:
            pairs = [keys_and_gradients(anatomy, tokenizer, fact, layer) for fact in facts]
            now = [torch.cat(column) for column in zip(*pairs, strict=True)]
            for into, rows in zip(seen[layer], now, strict=True):
                into.append(rows)
            expected[layer] = expected_update(*now, *(torch.cat(rows) for rows in seen[layer]))
        before = {layer: anatomy.projections[layer].weight.clone() for layer in LAYERS}
        for factors in write(desk, [Wish(fact) for fact in facts]):
            found, wanted = factors.left.double() @ factors.right.double().T, expected[factors.layer]
            assert float((found - wanted).norm()) < 1e-3 * float(wanted.norm())
            torch.testing.assert_close(
                anatomy.projections[factors.layer].weight, before[factors.layer] + found.float(), atol=1e-6, rtol=1e-5
            )


def test_a_batch_is_one_pass_forward_and_one_back(build, tokenizer, batches):
    anatomy = inspect_model(build("llama"))
    passes = {"forward": 0, "back": 0}

    def count(way):
        def note(*_):
            passes[way] += 1

        return note

    anatomy.blocks[1].register_forward_hook(count("forward"))  # it lies between the edited ones
    anatomy.blocks[1].register_full_backward_hook(count("back"))
    ultraedit.prepare(RATE)(Desk(anatomy, tokenizer, LAYERS), [Wish(fact) for facts in batches for fact in facts])
    assert passes == {"forward": 1, "back": 1}


def test_one_token_that_nothing_can_be_normalised_over_is_refused(build, tokenizer, batches):
    anatomy = inspect_model(build("llama"))
    before = anatomy.projections[0].weight.clone()
    (alone,) = [fact for fact in batches[0] if fact.target == "capital"]  # one token
    with pytest.raises(BadInput, match="normalises over the tokens of its answers, and there is one"):
        ultraedit.prepare(RATE)(Desk(anatomy, tokenizer, LAYERS), [Wish(alone)])
    assert torch.equal(anatomy.projections[0].weight, before)
