"""Weight projection: identities, permutations of everything that has no order, and the lens that judges it."""

from pathlib import Path

import pytest
import torch

from amends import BadInput, ModelVersion
from amends.operation.files import load_model, save_model
from amends_distillation.transfer.carrying import Carrier
from amends_distillation.transfer.comparing import read_lens
from amends_distillation.transfer.deltas import Change, deltas
from amends_distillation.transfer.matching import Matcher
from amends_distillation.transfer.vocabulary import Lens, kernel, lens_of, shared_lenses, shared_tokens

MAPS = ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")


def silent(done, total):
    pass


def edit(version, directory, change):
    """Write a version of the same model after `change(model)`."""
    model, tokenizer = load_model(version)
    with torch.no_grad():
        change(model)
    save_model(directory, model, tokenizer)
    return directory


def push(name, layer, rank=1, seed=0):
    """Return a change of one map by some rank."""

    def change(model):
        weight = model.model.layers[layer].get_submodule(name).weight
        generator = torch.Generator().manual_seed(seed)
        left, right = (torch.randn(size, rank, generator=generator) for size in weight.shape)
        weight += 0.05 * left @ right.T

    return change


def permuted(order, heads=False):
    """Return a change that puts neurons, or the two value heads, into another order and alters nothing."""

    def change(model):
        for layer in model.model.layers:
            mlp, attention = layer.mlp, layer.self_attn
            for module in (mlp.gate_proj, mlp.up_proj):
                module.weight.copy_(module.weight[order])
            mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order])
            if heads:
                size = attention.head_dim
                inside = torch.arange(size).roll(3)
                values = torch.cat([head * size + inside for head in range(2)])
                readers = torch.cat([head * size + inside for head in range(4)])
                attention.v_proj.weight.copy_(attention.v_proj.weight[values])
                attention.o_proj.weight.copy_(attention.o_proj.weight[:, readers])

    return change


@pytest.mark.parametrize("by", ["lens", "embedding"])
def test_the_map_of_a_model_onto_itself_is_the_identity(write_llama, open_llama, by):
    lens = lens_of(open_llama(write_llama(1))[0])
    torch.testing.assert_close(kernel(lens, lens, by), torch.eye(32, dtype=torch.float64), atol=1e-8, rtol=0)


def test_the_embedding_map_is_the_published_one():
    """K = E2 pinv(E1), a token a column (Dar et al., 2023, section 4.3)."""
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(50, width, generator=generator, dtype=torch.float64) for width in (6, 9))
    lenses = [Lens(rows, torch.ones(rows.shape[1], dtype=torch.float64)) for rows in (one, two)]
    torch.testing.assert_close(kernel(*lenses, "embedding"), two.T @ torch.linalg.pinv(one.T))


def test_no_other_vector_says_more_nearly_the_same_than_the_lens_map_gives():
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(50, width, generator=generator, dtype=torch.float64) for width in (6, 9))
    gains = [torch.rand(width, generator=generator, dtype=torch.float64) + 0.5 for width in (6, 9)]
    first, second = Lens(one, gains[0]), Lens(two, gains[1])
    written = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    found = kernel(first, second, "lens") @ written
    best = torch.linalg.lstsq(two * gains[1], (one * gains[0]) @ written).solution
    torch.testing.assert_close(found, best)


def test_shared_tokens_are_paired_by_their_spelling():
    assert shared_tokens({"a": 0, "b": 1, "c": 2}, {"c": 0, "x": 1, "a": 5}) == ([0, 2], [5, 0])


def test_models_that_share_too_few_tokens_are_refused(write_llama, open_llama):
    anatomy, tokenizer = open_llama(write_llama(1))

    class Other:
        def get_vocab(self):
            return {"one": 1, "two": 2}

    with pytest.raises(BadInput, match="share 0 tokens"):
        shared_lenses((anatomy, tokenizer), (anatomy, Other()))


@pytest.mark.parametrize("by", ["lens", "embedding"])
@pytest.mark.parametrize(
    "name", ["self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"]
)
def test_a_model_onto_itself_gets_the_change_itself(run_transfer, write_llama, tmp_path, by, name):
    original = write_llama(1)
    edited = edit(original, tmp_path / "edited", push(name, 1, rank=2))
    task = run_transfer("transfer.project", original, {"edited": edited, "original": original}, by=by)
    wanted, found = deltas(edited, original), deltas(task.output, original)
    assert found.keys() == wanted.keys()
    for place, delta in wanted.items():
        torch.testing.assert_close(found[place], delta, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["mlp.down_proj", "mlp.gate_proj", "self_attn.o_proj", "self_attn.v_proj"])
def test_neurons_and_values_in_another_order_get_their_own(run_transfer, write_llama, tmp_path, name):
    original = write_llama(1)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(4))
    shuffle = permuted(order, heads=True)
    edited = edit(original, tmp_path / "edited", push(name, 2))
    other = edit(original, tmp_path / "other", shuffle)
    wanted = edit(edited, tmp_path / "wanted", shuffle)
    task = run_transfer("transfer.project", other, {"edited": edited, "original": original})
    ids = torch.arange(3, 19)[None]
    with torch.no_grad():
        said = [load_model(version)[0](input_ids=ids).logits for version in (task.output, wanted)]
    torch.testing.assert_close(*said, atol=1e-4, rtol=1e-4)


def test_tokens_in_another_order_make_the_same_map(write_llama, open_llama):
    anatomy, tokenizer = open_llama(write_llama(1))
    shuffled, _ = open_llama(write_llama(1))
    order = torch.randperm(len(tokenizer), generator=torch.Generator().manual_seed(2))
    shuffled.head()[order] = anatomy.head().clone()

    class Shuffled:
        def get_vocab(self):
            return {token: int(order[row]) for token, row in tokenizer.get_vocab().items()}

    lenses = shared_lenses((anatomy, tokenizer), (shuffled, Shuffled()))
    torch.testing.assert_close(kernel(*lenses, "embedding"), torch.eye(32, dtype=torch.float64), atol=1e-8, rtol=0)


def test_layers_in_another_order_are_found_again(write_llama, open_llama):
    one, _ = open_llama(write_llama(6, num_hidden_layers=5))
    two, _ = open_llama(write_llama(6, num_hidden_layers=5))
    order = [3, 0, 4, 1, 2]
    object.__setattr__(two, "blocks", tuple(two.blocks[place] for place in order))
    matcher = Matcher(one, two, (lens_of(one), lens_of(two)))
    assert matcher.layers(range(5), silent) == {layer: order.index(layer) for layer in range(5)}
    best = matcher.similarity(silent).max(dim=1).values
    torch.testing.assert_close(best, torch.ones(5, dtype=torch.float64), atol=1e-9, rtol=0)


def test_layers_correlate_as_what_they_can_say_does(write_llama, open_llama):
    one, two = (open_llama(write_llama(seed))[0] for seed in (1, 2))
    lenses = lens_of(one), lens_of(two)
    moments = []
    for model, lens in zip((one, two), lenses, strict=True):
        said = [lens.logits(model.weight(layer, "down")) for layer in range(3)]
        outer = torch.stack([logits @ logits.T for logits in said])
        outer = outer / outer.flatten(1).norm(dim=1)[:, None, None]
        moments.append(outer - outer.mean(0))
    for i in range(3):
        for j in range(3):
            wanted = torch.nn.functional.cosine_similarity(moments[0][i].flatten(), moments[1][j].flatten(), dim=0)
            found = Matcher(one, two, lenses).similarity(silent)[i, j]
            torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-6)


def test_a_change_into_a_wider_and_deeper_model_says_the_same(run_transfer, write_llama, tmp_path, probe_lens):
    original, other = write_llama(1), write_llama(9, hidden_size=48, intermediate_size=64, num_hidden_layers=5)
    edited = edit(original, tmp_path / "edited", push("mlp.down_proj", 1, rank=2))
    task = run_transfer("transfer.project", other, {"edited": edited, "original": original})
    read = probe_lens(task.output, other, edited, original)
    # 319 free directions of tokens, of which the other model can say 48: chance alone gives sqrt(48 / 319) = 0.39.
    assert 0.25 < read["transfer.lens/least"] <= read["transfer.lens/cosine"] < 0.6
    assert read["transfer.lens/beside"] == 0


@pytest.fixture
def probe_lens(probe_task):
    """Return `probe_lens(candidate, parent, edited, original) -> values by name`."""

    def read(candidate, parent, edited, original):
        task = probe_task(None, models={"edited": edited, "original": original})
        task.model_path, task.reference_path = Path(candidate), Path(parent)
        versions = (ModelVersion(name, 0, "0" * 64) for name in ("edited", "original"))
        return {reading.name: reading.value for reading in read_lens(task, *versions, 0)}

    return read


def test_the_lens_of_a_change_carried_onto_itself_is_one(write_llama, tmp_path, probe_lens):
    original = write_llama(1)
    for number, name in enumerate(("mlp.down_proj", "mlp.up_proj", "self_attn.k_proj")):
        edited = edit(original, tmp_path / str(number), push(name, 1, rank=2))
        read = probe_lens(edited, original, edited, original)
        assert read["transfer.lens/least"] == pytest.approx(1, abs=1e-6)
        assert read["transfer.lens/top_tokens"] == pytest.approx(1)
        assert read["transfer.lens/beside"] == 0


def test_the_lens_of_the_opposite_change_is_minus_one(write_llama, tmp_path, probe_lens):
    original = write_llama(1)
    edited = edit(original, tmp_path / "edited", push("mlp.down_proj", 1))

    def undo(model):
        weight = model.model.layers[1].mlp.down_proj.weight
        weight -= deltas(edited, original)[1, "down"].float()

    opposite = edit(original, tmp_path / "opposite", undo)
    assert probe_lens(opposite, original, edited, original)["transfer.lens/cosine"] == pytest.approx(-1, abs=1e-4)


def test_a_candidate_that_got_nothing_reads_zero_and_one_that_got_more_says_how_much(write_llama, tmp_path, probe_lens):
    original = write_llama(1)
    edited = edit(original, tmp_path / "edited", push("mlp.down_proj", 1))
    assert probe_lens(original, original, edited, original)["transfer.lens/cosine"] == 0
    more = edit(edited, tmp_path / "more", push("mlp.up_proj", 0))
    sizes = {place: float(delta.square().sum()) for place, delta in deltas(more, original).items()}
    read = probe_lens(more, original, edited, original)
    assert read["transfer.lens/beside"] == pytest.approx(sizes[0, "up"] / sum(sizes.values()))


def test_without_a_change_to_compare_with_every_reading_is_nan(probe_task):
    readings = read_lens(probe_task(None), None, None, 0)
    assert len(readings) == 4 and all(reading.value != reading.value for reading in readings)


def test_a_change_of_some_rank_is_found_with_that_rank_and_a_fixed_sign():
    generator = torch.Generator().manual_seed(1)
    delta = torch.randn(9, 2, generator=generator) @ torch.randn(2, 7, generator=generator)
    change = Change.of(delta, 0)
    assert len(change.sizes) == 2 and len(Change.of(delta, 1).sizes) == 1
    torch.testing.assert_close(change.whole, delta.double(), atol=1e-5, rtol=1e-5)
    assert (change.right.gather(1, change.right.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_versions_without_a_difference_or_with_one_elsewhere_are_refused(run_transfer, write_llama, tmp_path):
    original = write_llama(1)
    with pytest.raises(BadInput, match="nothing to carry"):
        run_transfer("transfer.project", original, {"edited": original, "original": original})
    normed = edit(original, tmp_path / "normed", lambda model: model.model.norm.weight.mul_(2))
    with pytest.raises(BadInput, match=r"differ in model\.norm\.weight"):
        run_transfer("transfer.project", original, {"edited": normed, "original": original})
    with pytest.raises(BadInput, match="not of one build"):
        deltas(write_llama(1, num_hidden_layers=4), original)


def test_attention_whose_heads_share_values_otherwise_is_refused(write_llama, open_llama):
    one, words = open_llama(write_llama(1))
    two, _ = open_llama(write_llama(2, num_key_value_heads=4))
    carrier = Carrier.between(one, two, shared_lenses((one, words), (two, words)), "lens")
    with pytest.raises(BadInput, match="2 heads share a value in one model and 1"):
        carrier.inner("o", 0, 0)
