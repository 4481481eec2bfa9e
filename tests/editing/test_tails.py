"""What runs only the tail, or only what leads up to it, gives what the whole model gives."""

import pytest
import torch

from amends_editing.structure import first_of, inspect_model, reading
from amends_editing.tails import Row, prepare

LAYER = 1


def rows(*shapes):
    """Return rows of random tokens from (length, subject, targets)."""
    draw = torch.Generator().manual_seed(3)
    return [Row(tuple(torch.randint(2, 320, (n,), generator=draw).tolist()), at, wanted) for n, at, wanted in shapes]


UNEVEN = rows((9, 4, 2), (7, 1, 3), (12, 8, 1), (5, 4, 0))  # padded on either side, or on both, or on none


def whole(model, row, block=None, push=None):
    """Return the logits at the tail's places by one plain pass; what the block puts out is pushed at the subject."""

    def move(_, __, out):
        moved = first_of(out).clone()
        moved[0, row.subject] += push
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    hook = None if block is None else block.register_forward_hook(move)
    try:
        shown = torch.tensor([row.tokens[: row.subject + row.tail]])
        return model(input_ids=shown, use_cache=False).logits[0, row.subject :]
    finally:
        if hook is not None:
            hook.remove()


def same(found, expected):
    torch.testing.assert_close(found, expected, atol=2e-5 * float(expected.abs().max()), rtol=0)


@torch.no_grad()
def test_tails_give_the_logits_of_a_whole_pass(build, family):
    model = build(family)
    anatomy = inspect_model(model)
    tails = prepare(anatomy, UNEVEN, LAYER)
    found = anatomy.logits(tails.run(tails.hidden))
    for number, row in enumerate(UNEVEN):
        assert int(tails.last[number]) == row.tail - 1
        same(found[number, : row.tail], whole(model, row))


@torch.no_grad()
def test_tails_follow_a_moved_hidden_state(build, family):
    model = build(family)
    anatomy = inspect_model(model)
    tails = prepare(anatomy, UNEVEN, LAYER)
    push = torch.linspace(-1, 1, 32)
    hidden = tails.hidden.clone()
    hidden[:, 0] += push
    found = anatomy.logits(tails.run(hidden))
    for number, row in enumerate(UNEVEN):
        same(found[number, : row.tail], whole(model, row, anatomy.blocks[LAYER], push))


@torch.no_grad()
def test_some_rows_run_as_they_do_among_all(build, family):
    anatomy = inspect_model(build(family))
    tails = prepare(anatomy, UNEVEN, LAYER)
    chosen = torch.tensor([2, 0, 2])
    same(tails.run(tails.hidden[chosen], chosen), tails.run(tails.hidden)[chosen])


def test_targets_stand_where_they_are_predicted(build):
    tails = prepare(inspect_model(build("llama")), UNEVEN, LAYER)
    for number, row in enumerate(UNEVEN):
        places = (tails.targets[number] >= 0).nonzero().flatten().tolist()
        assert places == list(range(row.tail - row.targets, row.tail))[: row.targets]
        assert tuple(tails.targets[number][places].tolist()) == row.tokens[len(row.tokens) - row.targets :]


@pytest.mark.parametrize("subject", [0, 3])
@torch.no_grad()
def test_a_subject_at_the_very_beginning_or_end_works(build, subject):
    model = build("llama")
    anatomy = inspect_model(model)
    (row,) = rows((4, subject, 0))
    tails = prepare(anatomy, [row], LAYER)
    same(anatomy.logits(tails.run(tails.hidden))[0], whole(model, row))


@torch.no_grad()
def full_read(anatomy, row, layers):
    """Return what enters each projection at the subject, and what the last layer's block puts out, by plain hooks."""
    keys, out = {layer: [] for layer in layers}, []
    hooks = [anatomy.blocks[layers[-1]].register_forward_hook(lambda _, __, found: out.append(first_of(found)))]
    with reading(anatomy.projections[layers[0]].module, keys[layers[0]]):
        for layer in layers[1:]:
            module = anatomy.projections[layer].module
            hooks.append(module.register_forward_pre_hook(lambda _, args, into=keys[layer]: into.append(args[0])))
        anatomy.model(input_ids=torch.tensor([row.tokens[: row.subject + 1]]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return {layer: found[-1].reshape(-1, found[-1].shape[-1])[-1] for layer, found in keys.items()}, out[-1][0, -1]


def compare(anatomy, leading, layers):
    inner, out = leading.onward(layers[-1])
    assert sorted(inner) == list(layers)
    for number, row in enumerate(UNEVEN):
        keys, put = full_read(anatomy, row, layers)
        same(out[number], put)
        for layer in layers:
            same(inner[layer][number], keys[layer])


def test_what_leads_up_gives_keys_and_outputs_of_a_whole_pass_also_after_earlier_blocks_were_edited(build, family):
    anatomy = inspect_model(build(family))
    leading = prepare(anatomy, UNEVEN, 2, 0).leading
    compare(anatomy, leading, [0, 1, 2])
    push = torch.randn(32, 48, generator=torch.Generator().manual_seed(1)) / 10
    anatomy.projections[0].add(push)
    compare(anatomy, leading, [0, 1, 2])
    leading.advance()
    anatomy.projections[1].add(push)
    compare(anatomy, leading, [1, 2])
    leading.advance()
    compare(anatomy, leading, [2])


def test_leading_may_begin_above_the_first_block(build):
    anatomy = inspect_model(build("llama"))
    compare(anatomy, prepare(anatomy, UNEVEN, 2, 1).leading, [1, 2])
    assert prepare(anatomy, UNEVEN, 2).leading is None
