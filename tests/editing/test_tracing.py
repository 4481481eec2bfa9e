"""Causal tracing: which facts a model knows, and what putting a layer's output back restores of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from amends.operation.files import load_model
from amends.serving.encoding import encode_answer
from amends_editing.corrupting import Corrupted, Draw, run_clean
from amends_editing.effects import Place, Settings, place_of, trace_facts, window_of
from amends_editing.facts import Fact, Verb
from amends_editing.knowing import known_facts, mean_logps
from amends_editing.structure import first_of, inspect_model


def test_what_a_model_knows_is_what_it_finds_likelier_than_the_target(traced):
    assert [one.fact.subject for one in traced.known] == [row["subject"] for row in traced.rows]
    turned = [replace(one.fact, old=one.fact.target, target=one.fact.old) for one in traced.known]
    silent = [replace(one.fact, old="") for one in traced.known]
    assert known_facts(traced.anatomy, traced.tokenizer, [*turned, *silent]) == []
    one = traced.known[0]
    tokens = torch.tensor([one.row.tokens])
    first = int(traced.model(tokens).logits[0, -1].argmax())
    said = traced.tokenizer.decode([first])
    erasures = [replace(one.fact, verb=Verb.ERASE, target="", old=said), replace(one.fact, target="")]
    expected = [encode_answer(traced.tokenizer, fact.old)[0] == first for fact in erasures]
    found = [bool(known_facts(traced.anatomy, traced.tokenizer, [fact])) for fact in erasures]
    assert found == expected


def test_scores_are_those_of_a_plain_forward_pass(traced):
    pairs = [("Ada Quill lives in", "the harbour town"), ("The fox", "sleeps")]
    for (prompt, answer), found in zip(pairs, mean_logps(traced.anatomy, traced.tokenizer, pairs), strict=True):
        asked, tokens = traced.tokenizer(prompt)["input_ids"], encode_answer(traced.tokenizer, answer)
        logp = traced.model(torch.tensor([asked + tokens])).logits[0].log_softmax(-1)
        each = [logp[len(asked) - 1 + place, token] for place, token in enumerate(tokens)]
        assert found == pytest.approx(float(sum(each)) / len(tokens), abs=1e-5)


def test_places_follow_the_subject(traced):
    known = next(one for one in traced.known if one.fact.subject == "Vale of Orr")
    said = [traced.tokenizer.decode([token]) for token in known.row.tokens[known.first : known.row.subject + 1]]
    assert "".join(said).strip() == "Vale of Orr"
    places = [place_of(known, token) for token in range(known.first, len(known.row.tokens))]
    middle, further = len(said) - 2, len(known.row.tokens) - known.row.subject - 3
    assert places == [Place.FIRST, *[Place.MIDDLE] * middle, Place.SUBJECT, Place.AFTER, *[Place.FURTHER] * further,
                      Place.LAST]  # fmt: skip


def test_without_noise_nothing_is_lost_and_every_effect_is_zero(traced):
    found = trace_facts(traced.anatomy, traced.known, 0, Settings(noise=0.0, samples=1))
    assert found.corrupted == pytest.approx(found.clean, abs=1e-6) and found.facts == len(traced.known)
    for effects in (found.blocks, found.mlps):
        assert effects.shape == (len(Place), 2) and effects.nan_to_num(0.0).abs().max() < 1e-6


def draws_of(traced, token):
    """Return two draws of noise on each fact with as long a tail as the first has, from its subject on."""
    generator = torch.Generator().manual_seed(0)
    cleans = [run_clean(traced.anatomy, one) for one in traced.known]
    tail = len(cleans[0].known.row.tokens) - token(cleans[0].known)
    found = []
    for clean in cleans:
        place = len(clean.known.row.tokens) - tail
        if place >= clean.known.first:
            noise = torch.randn(2, *clean.embeddings.shape, generator=generator)
            found += [Draw(clean, one, place) for one in noise]
    return found


def test_putting_everything_back_gives_the_clean_probability(traced):
    draws = [draw for draw in draws_of(traced, lambda known: known.first) if draw.token == draw.clean.known.first]
    corrupted = Corrupted(traced.anatomy, draws)
    clean = torch.tensor([draw.clean.likely for draw in draws])
    assert (corrupted.lost - clean).abs().min() > 1e-4
    for layer in (0, 1):
        whole = torch.stack([draw.clean.blocks[layer, draw.token :] for draw in draws])
        torch.testing.assert_close(corrupted.likely(layer, whole), clean, rtol=1e-5, atol=1e-6)


def plainly(traced, draw, part="", layers=()):
    """Return the answer's probability in a whole forward pass with noise, with parts' clean output put back."""
    known = draw.clean.known
    noise = torch.zeros(1, len(known.row.tokens), traced.anatomy.width)
    noise[0, known.first : known.row.subject + 1] = draw.noise
    embedding = traced.model.get_input_embeddings()
    hooks = [embedding.register_forward_hook(lambda _, __, out: out + noise)]
    modules = {"blocks": traced.anatomy.blocks, "mlps": [one.module for one in traced.anatomy.projections]}
    for layer in layers:
        clean = getattr(draw.clean, part)[layer, draw.token]
        hooks.append(modules[part][layer].register_forward_hook(partial(put_back_at, draw.token, clean)))
    with torch.no_grad():
        logits = traced.model(torch.tensor([known.row.tokens])).logits
    for hook in hooks:
        hook.remove()
    return float(logits[0, -1].softmax(-1)[known.answer])


def put_back_at(token, clean, _, __, out):
    hidden = first_of(out).clone()
    hidden.view(-1, len(clean))[token] = clean  # OPT's are flat
    return (hidden, *out[1:]) if isinstance(out, tuple) else hidden


@pytest.mark.parametrize("token", [lambda known: known.first, lambda known: known.row.subject], ids=["first", "last"])
def test_tails_give_what_whole_forward_passes_give(traced, token):
    check_tails(traced, draws_of(traced, token))


def check_tails(traced, draws):
    corrupted = Corrupted(traced.anatomy, draws)
    found = {"lost": corrupted.lost, "blocks": corrupted.with_block(0), "mlps": corrupted.with_mlps(range(0, 2))}
    for number, draw_ in enumerate(draws):
        expected = {
            "lost": plainly(traced, draw_),
            "blocks": plainly(traced, draw_, "blocks", (0,)),
            "mlps": plainly(traced, draw_, "mlps", (0, 1)),
        }
        for name, value in expected.items():
            assert float(found[name][number]) == pytest.approx(value, abs=1e-6), name


FAMILIES = {
    "GPT2": {"n_layer": 3, "n_head": 2, "n_embd": 16, "n_positions": 64},
    "GPTNeoX": {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24},
    "OPT": {"hidden_size": 16, "word_embed_proj_dim": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
            "ffn_dim": 24},
    "Gemma3": {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1,
               "head_dim": 8, "intermediate_size": 24, "sliding_window": 4},
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_every_architecture_is_traced_alike(traced, seen, family):
    import transformers

    config = getattr(transformers, f"{family}{'Text' if family == 'Gemma3' else ''}Config")
    kind = getattr(transformers, f"{family}ForCausalLM" if family != "GPT2" else "GPT2LMHeadModel")
    torch.manual_seed(0)
    wide = {"init_std" if family == "OPT" else "initializer_range": 0.3}
    settings = config(vocab_size=len(traced.tokenizer), **wide, **FAMILIES[family])
    settings._attn_implementation = "eager"
    other = seen(kind(settings).eval(), traced.tokenizer)
    check_tails(other, draws_of(other, lambda known: known.first))


def test_effects_are_means_over_draws_then_tokens_then_facts(traced):
    some = traced.known[:2]
    settings = Settings(samples=2, window=0.5, at_once=3)
    found = trace_facts(traced.anatomy, some, 7, settings)
    again = trace_facts(traced.anatomy, some, 7, replace(settings, at_once=64))
    torch.testing.assert_close(found.blocks, again.blocks, rtol=1e-4, atol=1e-6, equal_nan=True)
    alone = [trace_facts(traced.anatomy, [one], 7, settings) for one in some]
    assert alone[0].clean + alone[1].clean == pytest.approx(2 * found.clean, abs=1e-6)
    assert trace_facts(traced.anatomy, some, 8, settings).corrupted != found.corrupted
    last = found.blocks[list(Place).index(Place.LAST), 1]  # the last block's output there is all that the head sees
    assert last == pytest.approx(found.clean - found.corrupted, abs=1e-5)


def test_windows_lie_around_a_layer_inside_the_model():
    assert [list(window_of(layer, 10, 0.3)) for layer in (0, 4, 9)] == [[0, 1], [3, 4, 5], [8, 9]]
    assert list(window_of(1, 2, 0.2)) == [1]


@pytest.mark.slow
def test_the_real_model_keeps_facts_in_the_first_half_of_its_mlps(smollm2):
    """At the subject's last token, as the paper found for GPT-2 XL and GPT-J; the last token's effect comes later."""
    model, tokenizer = load_model(smollm2)
    anatomy = inspect_model(model)
    lands = {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Russia": "Moscow", "Egypt": "Cairo",
             "Germany": "Berlin", "Spain": "Madrid", "Poland": "Warsaw"}  # fmt: skip
    facts = [
        Fact(land, Verb.MODIFY, land, f"The capital of {land} is", "Lima", town) for land, town in lands.items()
    ]  # fmt: skip
    known = known_facts(anatomy, tokenizer, facts)
    found = trace_facts(anatomy, known, 0, Settings(samples=1))
    assert found.facts == len(lands) and found.clean > 0.2 > 0.1 > found.corrupted
    assert found.peak < len(anatomy.blocks) // 2
    subject, last = (found.blocks[list(Place).index(place)] for place in (Place.SUBJECT, Place.LAST))
    assert subject.argmax() < len(anatomy.blocks) // 2 < last.argmax()
