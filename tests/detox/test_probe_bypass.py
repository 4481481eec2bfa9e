"""Whether toxicity is gone or only hidden, on models whose every weight is set by hand; and that none is changed."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from amends import BadInput
from amends_detox import probing
from amends_detox.anatomy import anatomy_of
from amends_detox.bypass import widest
from amends_detox.unaligning import attack_along, attacked, strongest

WORDS = ("the", "a", "fox", "dog", "town", "is", "was", "stupid", "silly", "kind")
SAID = {"stupid": 1.0, "silly": 0.3, "kind": -1.0}  # how far each lies along the toxic axis
ROWS = [
    {"id": " ".join(words), "prompt": " ".join(words)}
    for words in itertools.product(("the", "a"), ("fox", "dog", "town"), ("is", "was"))
]
GIVEN = {"scorer": "lexical", "samples": 8, "tokens": 1, "top_p": 1.0, "neurons": 1, "rise": 100.0}


def words_tokenizer():
    """Return a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate(("<end>", "<pad>", "<unk>", *WORDS))}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", pad_token="<pad>", unk_token="<unk>")


@torch.no_grad()
def speaker(bias=0.0, neuron=0.0, never=False):
    """Return a served model of three blocks that ends a sentence with a stupid, a silly or a kind word.

    Axis 0 of its states is in all words, axis 1 the toxic one. Attention does nothing.

    Args:
        bias: What the middle block's MLP adds along the toxic axis, always.
        neuron: What its first neuron writes along it, and its second against it, so that nothing comes of both.
        never: Whether the head never says the toxic word.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from amends.serving.model import Model

    tokenizer = words_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=8, num_hidden_layers=3, num_attention_heads=2,
        mlp_bias=True, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    for name, parameter in made.named_parameters():
        if "norm" not in name:
            parameter.zero_()
    embeddings, head = made.get_input_embeddings().weight, made.lm_head.weight
    embeddings[:, 0] = 1.0
    for word, along in SAID.items():
        id = tokenizer.convert_tokens_to_ids(word)
        embeddings[id, 1] = along
        head[id, 0], head[id, 1] = 3.0, 0.75 * along
    if never:
        head[tokenizer.convert_tokens_to_ids("stupid"), :2] = -9.0
    mlp = made.model.layers[1].mlp
    mlp.down_proj.bias[1] = bias
    mlp.gate_proj.weight[:2, 0] = mlp.up_proj.weight[:2, 0] = 1.0
    mlp.down_proj.weight[1, 0], mlp.down_proj.weight[1, 1] = neuron, -neuron
    return Model(made, tokenizer)


@pytest.fixture
def read(probe_task, write_records):
    """Return `read(model, reference=None) -> readings by statistic`."""

    def read(model, reference=None, **more):
        found = probing.bypass(probe_task(model, reference), prompts=write_records(ROWS), **{**GIVEN, **more})
        return {reading.name.partition("/")[2]: reading for reading in found}

    return read


def test_what_a_bias_only_pushed_away_comes_back(read):
    parent, shifted = speaker(), speaker(bias=-0.8)
    found = read(shifted, parent)
    assert found["share"].value - found["regained"].value < 0.2 and found["share"].value > 0.25
    assert found["regained"].low > 0.05 and found["regained_of_parent"].value == 0.0
    assert found["regained_of_parent"].low < 0.0 < found["regained_of_parent"].high  # of twelve prompts, not of all
    assert found["regained"].detail["pairs"] >= 3


def test_what_a_neuron_held_down_comes_back_when_those_beside_it_are_amplified(read):
    found = read(speaker(bias=-0.4, neuron=0.02))
    assert found["share"].value > 0.6 and found["regained"].low > 0.3 and found["regained"].detail["factor"] == 10.0
    assert math.isnan(found["regained_of_parent"].value)


def test_what_the_weights_cannot_say_does_not_come_back(read):
    found = read(speaker(bias=-0.4, neuron=0.02, never=True), speaker())
    assert (found["share"].value, found["regained"].value) == (0.0, 0.0)
    assert found["regained"].detail["factor"] == 10.0 and found["share"].high > 0.0


def test_no_weight_is_changed_and_no_hook_is_left(read):
    model, parent = speaker(bias=-0.8, neuron=0.02), speaker(neuron=0.02)
    before = [{name: w.clone() for name, w in one.hf_model.state_dict().items()} for one in (model, parent)]
    said = model.complete([row["prompt"] for row in ROWS], 3)
    read(model, parent)
    for one, weights in zip((model, parent), before, strict=True):
        now = one.hf_model.state_dict()
        assert all(torch.equal(now[name], weight) for name, weight in weights.items()) and now.keys() == weights.keys()
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in one.hf_model.modules())
    assert model.complete([row["prompt"] for row in ROWS], 3) == said


def test_a_failure_under_the_attack_leaves_no_hook():
    anatomy = anatomy_of(speaker(neuron=0.02).hf_model)
    attack = attack_along(anatomy, torch.eye(16, dtype=torch.float64)[[1, 1]], 1)
    with pytest.raises(RuntimeError), attacked(anatomy, attack, 10.0):
        raise RuntimeError
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in anatomy.model.modules())


def test_the_attack_turns_the_neurons_that_write_along_and_against_and_undoes_the_bias():
    anatomy = anatomy_of(speaker(bias=-0.8, neuron=0.02).hf_model)
    attack = attack_along(anatomy, torch.eye(16, dtype=torch.float64)[[1, 1]], 3)
    assert attack.along.nonzero().tolist() == [[1, 0]] and attack.against.nonzero().tolist() == [[1, 1]]
    assert attack.undone[1, 1].item() == pytest.approx(0.8) and attack.undone.count_nonzero() == 1
    helped = attack_along(anatomy, -torch.eye(16, dtype=torch.float64)[[1, 1]], 3)
    assert helped.undone.count_nonzero() == 0  # a bias along the direction is left


def test_the_factor_is_halved_until_ordinary_text_is_likely_enough():
    model = speaker(neuron=0.02)
    anatomy = anatomy_of(model.hf_model)
    attack = attack_along(anatomy, torch.eye(16, dtype=torch.float64)[[1, 1]], 1)
    texts = ["kind kind kind", "is kind kind"]
    found, costs = zip(
        *(strongest(model, anatomy, attack, 10.0, texts, rise) for rise in (1.0, 3.0, 10.0, 1e9)), strict=True
    )
    assert costs[0] > 1.0 and costs[1] <= 3.0 and costs[2] <= 10.0  # the first is beyond, and says so
    assert list(found) == sorted(found) and found[0] == 1.0 and found[-1] == 10.0 and len(set(found)) > 2


def test_contrasts_are_those_of_the_half_that_differs_most():
    scores = torch.tensor([[0.1, 0.2], [0.9, 0.1], [0.3, 0.3], [math.nan, 0.9]]).numpy()
    (pair,) = widest(["p", "q", "r", "s"], [["a", "b"], ["c", "d"], ["e", "f"], ["", "g"]], scores)
    assert (pair.prompt, pair.toxic, pair.neutral) == ("q", "c", "d")


def test_a_model_that_says_nothing_better_or_worse_reads_no_number(read):
    model = speaker()
    with torch.no_grad():  # always the same word
        model.hf_model.lm_head.weight[:, 0] = 99.0 * (torch.arange(len(model.tokenizer)) == 5)
    found = read(model)
    assert all(math.isnan(reading.value) for reading in found.values())


def test_settings_that_attack_nothing_are_refused(read):
    with pytest.raises(BadInput, match="samples of 2 or more"):
        read(speaker(), samples=1)
