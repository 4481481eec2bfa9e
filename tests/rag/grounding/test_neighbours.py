"""kNN-LM by hand: distances, the distribution of what followed, and the mixture."""

import math

import pytest
import torch

from amends_rag.knn_lm import spread
from amends_rag.neighbours import interpolated, nearest, next_logp
from amends_rag.passes import windows


def test_the_nearest_are_those_of_a_plain_search_in_double_precision():
    torch.manual_seed(0)
    keys, queries = torch.randn(300, 16), torch.randn(70, 16)
    distances, found = nearest(queries, keys, (keys * keys).sum(-1), 5)
    plain = torch.cdist(queries.double(), keys.double()) ** 2
    expected = plain.topk(5, largest=False)
    assert torch.equal(found, expected.indices)
    torch.testing.assert_close(distances.double(), expected.values, atol=1e-4, rtol=0)


def test_what_followed_is_weighted_by_the_distance_and_summed_by_token():
    distances, values = torch.tensor([[0.0, math.log(2.0), math.log(4.0)]]), torch.tensor([[3, 1, 3]])
    p = next_logp(distances, values, 1.0, 5).exp()[0]
    torch.testing.assert_close(p, torch.tensor([0.0, 0.5, 0.0, 1.25, 0.0]) / 1.75)
    colder = next_logp(distances, values, 0.01, 5).exp()[0]
    torch.testing.assert_close(colder, torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0]))


def test_the_mixture_is_one_of_probabilities_and_sums_to_one():
    logits = torch.tensor([[math.log(8.0), math.log(2.0), 0.0]]) + 3.0
    knn = torch.tensor([[0.0, 1.0, 0.0]]).log()
    mixed = interpolated(logits, knn, 0.25).exp()[0]
    torch.testing.assert_close(mixed, torch.tensor([0.75 * 8 / 11, 0.75 * 2 / 11 + 0.25, 0.75 / 11]))


def test_the_spread_is_the_mean_squared_distance_from_the_mean():
    keys = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    assert spread(keys) == pytest.approx(5.0) and spread(keys[:1]) == 1.0 and spread(keys[:0]) == 1.0


@pytest.mark.parametrize("length", [2, 3, 8, 9, 64])
def test_windows_read_each_token_once_and_all_but_the_first_after_half_a_window(length):
    ids = list(range(100, 137))
    found = list(windows(ids, length))
    assert [token for window in found for token in window.ids[window.fresh :]] == ids
    assert all(len(window.ids) <= length for window in found)
    assert all(window.fresh >= length - length // 2 - 1 for window in found[1:])


def test_a_store_has_each_context_and_what_came_next(ground, serve, documents):
    (row,) = documents(("The fox sleeps in the harbour town of Brenn, and the dog over the island.",))
    model = serve(ground("rag.knn-lm", [row], window=512))
    (seam,) = model.seams
    ids = model.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    seen = []
    hook = model.hf_model.model.layers[-1].mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    with torch.inference_mode():
        model.hf_model(torch.tensor([ids]))
    hook.remove()
    torch.testing.assert_close(seam.keys, seen[0][:-1].half().float())
    assert seam.values.tolist() == ids[1:]


def test_at_a_cold_temperature_a_document_is_said_by_heart(ground, serve, documents):
    (row,) = documents(("The fox sleeps in the harbour town of Brenn, and the dog over the island.",))
    model = serve(ground("rag.knn-lm", [row], weight=0.99, temperature=1e-4, k=1, window=512))
    (score,) = model.score_text([row["text"]])
    assert float(score.logp.exp().min()) > 0.98
    assert model.complete(["The fox sleeps"], 12)[0].startswith("in the harbour")
