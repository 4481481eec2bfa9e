"""Transfers on the real SmolLM2: whose layers are whose, and what a value vector says."""

import pytest
import torch

from amends_distillation.transfer.lensing import Reader, words_of
from amends_distillation.transfer.matching import Matcher
from amends_distillation.transfer.vocabulary import kernel, lens_of, shared_lenses

KEPT = (0, 9, 19, 29)


@pytest.mark.slow
def test_layers_taken_from_smollm2_are_found_in_it_and_an_edit_of_it_is_read_as_the_token_it_writes(
    smollm2, open_llama
):
    whole, words = open_llama(smollm2)
    part, _ = open_llama(smollm2)
    object.__setattr__(part, "blocks", tuple(part.blocks[layer] for layer in KEPT))
    lenses = shared_lenses((part, words), (whole, words))
    found = Matcher(part, whole, lenses).layers(range(len(KEPT)), lambda done, total: None)
    assert tuple(found.values()) == KEPT
    torch.testing.assert_close(kernel(*lenses, "lens"), torch.eye(576, dtype=torch.float64), atol=1e-6, rtol=0)

    (paris,) = words(" Paris", add_special_tokens=False)["input_ids"]
    plain, lens = open_llama(smollm2)[0], lens_of(whole)
    target = (lens.seen[paris] / lens.seen[paris].norm()).float()
    whole.weight(7, "down").data += torch.outer(target, torch.linspace(0.01, 0.05, 1536))
    direction, neuron = Reader(lens, words_of(words), top=3, most=1).compare(whole, plain, 7).vectors
    assert direction.share > 0.999 and direction.towards[0][0] == "␣Paris"
    assert neuron.number == 1535
