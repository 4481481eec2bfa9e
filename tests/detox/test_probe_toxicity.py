"""Toxicity, variety and fluency of continuations, against numbers worked out by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from amends import BadInput, BadRecords, ProbeTask, host
from amends.operation.statistics import perplexity
from amends_detox import probing
from amends_detox.scoring import find, identity
from amends_detox.toxicity import statistics
from amends_detox.variety import distinct


@pytest.fixture(scope="module")
def model(tiny_version):
    from amends.serving.model import open_version

    return open_version(tiny_version, host.load([]))


def rows(*prompts):
    return [{"id": f"r{place}", "prompt": prompt, "subjects": []} for place, prompt in enumerate(prompts)]


def by_name(readings):
    return {reading.name.partition("/")[2]: reading for reading in readings}


def test_the_four_statistics_are_those_of_the_protocol():
    scores = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.4, math.nan, math.nan]])
    found = statistics(scores, cutoff=0.5)
    assert found["share"].tolist() == [0.5, 0.0]
    assert found["expected_max"].tolist() == [0.9, 0.4]  # expected maximum toxicity is their mean, .65
    assert found["probability"].tolist() == [1.0, 0.0]
    assert found["mean"].tolist() == pytest.approx([0.45, 0.3])


def test_distinct_counts_n_grams_over_words_of_all_samples_of_a_prompt():
    texts = ["a b a b", "a b c"]
    assert distinct(texts, 1) == pytest.approx(3 / 7)
    assert distinct(texts, 2) == pytest.approx(3 / 7)  # ab, ba, bc
    assert distinct(texts, 3) == pytest.approx(3 / 7)  # aba, bab, abc
    assert math.isnan(distinct(["", " "], 1))


def test_a_reading_says_by_which_scorer_and_protocol_it_was_read(model, probe_task, write_records):
    prompts = write_records(rows("Ada lives in", "The fox", "x"))
    found = probing.toxicity(probe_task(model), prompts=prompts, scorer="lexical", samples=2, tokens=5)
    assert [reading.name for reading in found] == [
        f"detox.toxicity/{name}"
        for name in ("share", "expected_max", "probability", "mean", "distinct_1", "distinct_2", "distinct_3", "empty")
    ]
    detail = found[0].detail
    assert detail["scorer"] == identity(find("lexical")) and (detail["samples"], detail["top_p"]) == (2, 0.9)
    assert found[0].n == 3 and 0 <= found[0].low <= found[0].value <= found[0].high <= 1


def test_equal_seeds_read_equal_values(model, probe_task, write_records):
    prompts = write_records(rows("Ada lives in", "The fox"))
    values = [
        [r.value for r in probing.toxicity(probe_task(model), prompts=prompts, scorer="lexical", samples=2, tokens=5)]
        for _ in range(2)
    ]
    assert values[0] == values[1]


def served(model, logits):
    """Return the model with other logits at every step."""

    def forward(input_ids, attention_mask=None, use_cache=None, past_key_values=None):
        cache = SimpleNamespace(batch_repeat_interleave=lambda repeats: None)
        return SimpleNamespace(logits=logits.expand(len(input_ids), 1, -1), past_key_values=cache)

    class Network:
        device, generation_config = torch.device("cpu"), SimpleNamespace(eos_token_id=0)

        def __call__(self, **given):
            return forward(**given)

    network = Network()
    network.forward = forward
    return type(model)(network, model.tokenizer)


def test_a_model_that_gives_nan_reads_nan(model, probe_task, write_records):
    task = probe_task(served(model, torch.full((320,), math.nan)))
    prompts = write_records(rows("Ada", "The fox"))
    found = by_name(probing.toxicity(task, prompts=prompts, scorer="lexical", samples=2, tokens=3))
    assert all(math.isnan(found[name].value) for name in ("share", "expected_max", "probability", "mean", "distinct_1"))
    assert math.isnan(probing.fluency(task, prompts=prompts)[0].value)


def test_a_model_that_falls_silent_reads_nan_and_not_harmless(model, probe_task, write_records):
    logits = torch.full((320,), -100.0)
    logits[0] = 0.0  # the end of the sequence
    task = probe_task(served(model, logits))
    prompts = write_records(rows("Ada", "The fox"))
    found = by_name(probing.toxicity(task, prompts=prompts, scorer="lexical", samples=2, tokens=3))
    assert found["empty"].value == 1.0 and math.isnan(found["share"].value) and math.isnan(found["mean"].value)
    assert math.isnan(probing.fluency(task, prompts=prompts)[0].value)


def test_no_prompts_read_nan(model, probe_task, write_records):
    found = probing.toxicity(probe_task(model), prompts=write_records([]), scorer="lexical")
    assert all(math.isnan(reading.value) for reading in found)


def test_a_row_without_a_prompt_and_a_cutoff_of_one_are_refused(model, probe_task, write_records):
    with pytest.raises(BadRecords, match="row 2: prompt"):
        probing.toxicity(probe_task(model), prompts=write_records([*rows("x"), {"id": "r"}]), scorer="lexical")
    with pytest.raises(BadInput, match="cutoff"):
        probing.toxicity(probe_task(model), prompts=write_records(rows("x")), scorer="lexical", cutoff=1.0)


def test_perplexity_pools_losses_over_tokens():
    losses = np.array([[2.0, 1.0], [4.0, 5.0]])
    weights = np.array([[1.0, 1.0], [2.0, 0.0]])
    assert perplexity(losses, weights).tolist() == pytest.approx([math.exp(6 / 6), math.exp(4 / 2)])


def test_fluency_is_read_under_the_reference_where_there_is_one(model, make_tiny, tmp_path, write_records):
    from amends.serving.model import open_version

    other = open_version(make_tiny(tmp_path / "other", seed=7), host.load([]))
    prompts = write_records(rows("Ada lives in", "The fox"))

    def read(reference):
        opened = {"m": model, "r": other}
        task = ProbeTask(tmp_path, 0, model_path="m", reference_path=reference, open_model=opened.__getitem__)
        return probing.fluency(task, prompts=prompts, tokens=6)[0]

    alone, compared = read(None), read("r")
    assert (alone.detail["under"], compared.detail["under"]) == ("itself", "reference")
    assert 1 < alone.value < compared.value  # a random model finds its own words likelier than another's
