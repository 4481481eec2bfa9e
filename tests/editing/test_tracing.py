"""Causal tracing, the sweep around its peak, and the proposal that comes of it."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import amends_editing
import amends_probes
from amends import BadInput, host
from amends.cli.root import Root
from amends.governor.workspace import Workspace
from amends.operation.files import load_model
from amends.records import canonical_json
from amends.serving.encoding import encode_answer
from amends_editing import holding, proposals, sweeping
from amends_editing.corrupting import Corrupted, Draw, run_clean
from amends_editing.covariance import read_moments
from amends_editing.effects import Effects, Place, Settings, place_of, trace_facts, window_of
from amends_editing.facts import Fact, Verb
from amends_editing.heatmap import draw, text_maps
from amends_editing.knowing import known_facts, mean_logps
from amends_editing.structure import first_of, inspect_model
from amends_editing.sweeping import Sweep, Trial, candidate_layers
from amends_editing.targets import Solver

PROMPTS = (
    "The harbour town of Brenn lies in", "Ada Quill lives in", "The capital of Sorrel is", "Tam Orrel works as a",
    "The Vale of Orr is ruled by", "The river Tarn flows to", "Mount Harrow stands in",
)  # fmt: skip
SUBJECTS = ("Brenn", "Ada Quill", "Sorrel", "Tam Orrel", "Vale of Orr", "river Tarn", "Mount Harrow")
WORDS = ("dog", "lives", "capital", "island", "town", "fox", "over")  # they begin with different tokens
PASSAGE = "The quick brown fox jumps over the lazy dog, and then it sleeps in the harbour town of Brenn. " * 60


@pytest.fixture(scope="module")
def traced(tiny_version):
    """Return the tiny model with the facts that it happens to find likelier than another answer."""
    return seen(*load_model(tiny_version))


def seen(model, tokenizer):
    anatomy = inspect_model(model)
    known = known_facts(anatomy, tokenizer, [Fact.from_row(row) for row in known_rows(anatomy, tokenizer)])
    return SimpleNamespace(model=model, tokenizer=tokenizer, anatomy=anatomy, known=known)


def known_rows(anatomy, tokenizer):
    """Return a row for each prompt whose old answer is the likeliest of some words, and its target the next."""
    rows = []
    for number, (prompt, subject) in enumerate(zip(PROMPTS, SUBJECTS, strict=True)):
        logp = mean_logps(anatomy, tokenizer, [(prompt, word) for word in WORDS])
        *_, new, old = (WORDS[index] for index in sorted(range(len(WORDS)), key=logp.__getitem__))
        rows.append({"id": f"e{number}", "verb": "modify", "subject": subject, "prompt": prompt, "old": old,
                     "target": new, "rephrases": [f"So: {prompt}"],
                     "neighbours": [{"prompt": "The lazy cat is a", "answer": old}]})  # fmt: skip
    return rows


def test_what_a_model_knows_is_what_it_finds_likelier_than_the_target(traced):
    assert [one.fact.subject for one in traced.known] == list(SUBJECTS)
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
def test_every_architecture_is_traced_alike(traced, family):
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


def swept(traced):
    facts = [one.fact for one in traced.known]
    moments = read_moments(traced.anatomy, traced.tokenizer, [PASSAGE], [0])
    return Sweep(traced.anatomy, traced.tokenizer, facts, moments, Solver(steps=3, contexts_per_step=1))


def test_weights_are_bit_equal_after_the_sweep(traced):
    before = {name: weight.clone() for name, weight in traced.model.state_dict().items()}
    told = []
    trials = swept(traced).run([(0,)], lambda *report: told.append(report))
    assert all(torch.equal(before[name], weight) for name, weight in traced.model.state_dict().items())
    assert [done for done, *_ in told] == sorted(done for done, *_ in told)
    assert {trial.weight for trial in trials} == set(sweeping.WEIGHTS) and told[-1] == (14, 14, "trying layers")
    assert [trial.score for trial in trials] == sorted((trial.score for trial in trials), reverse=True)


def test_a_trial_that_moves_too_much_scores_nothing_and_leaves_no_trace(traced):
    before = traced.anatomy.projections[0].weight.clone()
    trial = replace(swept(traced), max_drift=-1.0).trial((0,), 15.0)
    assert trial.score == 0 and torch.equal(before, traced.anatomy.projections[0].weight)


def test_unedited_facts_score_nothing_on_edits_and_all_on_neighbours(traced):
    efficacy, paraphrase, neighbourhood = swept(traced)._scores()
    asked = [(n.prompt, n.answer, one.fact.target) for one in traced.known for n in one.fact.neighbours]
    logp = [mean_logps(traced.anatomy, traced.tokenizer, [(p, a), (p, t)]) for p, a, t in asked]
    other = [(text, one.fact) for one in traced.known for text in one.fact.rephrases]
    turned = [mean_logps(traced.anatomy, traced.tokenizer, [(p, f.target), (p, f.old)]) for p, f in other]
    assert efficacy == 0.0 and paraphrase == pytest.approx(sum(new > old for new, old in turned) / len(turned))
    assert neighbourhood == pytest.approx(sum(own > other for own, other in logp) / len(logp))


def test_a_trial_s_score_is_the_harmonic_mean_of_what_was_asked():
    assert Trial((1,), 15.0, 1.0, 0.5, None, 0.1).score == pytest.approx(2 / (1 / 1.0 + 1 / 0.5))
    assert Trial((1,), 15.0, 1.0, 0.0, 0.9, 0.1).score == 0


@pytest.mark.parametrize("peak", [0, 3, 28])
def test_candidates_lie_around_the_peak_and_have_the_default_among_them(peak):
    anatomy = inspect_model(deep(30))
    found = candidate_layers(anatomy, peak)
    assert found[0] == (4, 5, 6, 7, 8) and len(set(found)) == len(found) >= 2
    assert all(layers == tuple(range(layers[0], layers[-1] + 1)) for layers in found)
    assert all(peak in layers and layers[0] >= 0 and layers[-1] <= 28 for layers in found[1:])


def deep(layers):
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=1, n_embd=4, vocab_size=20, n_positions=16))


def effects(peak, layers=8):
    values = torch.full((len(Place), layers), 0.01)
    values[0] = float("nan")
    values[2, peak] = 0.5
    return Effects(values, values.clone(), 0.9, 0.1, 5)


def test_the_peak_is_never_the_last_block():
    found = effects(7)
    assert found.peak != 7 and effects(3).peak == 3


def test_maps_are_drawn_as_text_and_as_a_picture(tmp_path):
    lines = list(text_maps(effects(3)))
    assert sum("last subject token" in line and line.endswith("|   @    |") for line in lines) == 2
    assert not any(Place.FIRST in line for line in lines)
    assert draw(effects(3), "bot", tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match="--picture"):
        draw(effects(3), "bot", tmp_path / "missing" / "map.png")


@pytest.fixture(scope="module")
def shell(tmp_path_factory, tiny_version):
    """Return `shell(*words, as_=person)` on a workspace with a model in two versions of the same weights' line."""
    home, tokens = tmp_path_factory.mktemp("tracing") / "home", {}
    home.mkdir()
    (home / "amends.toml").write_text('scheduler = "inline"\ncpus = 1\n')

    def invoke(*words, as_="Ada"):
        environment = {"AMENDS_HOME": str(home), "AMENDS_TOKEN": tokens.get(as_, "")}
        return CliRunner().invoke(Root(), [str(word) for word in words], env=environment)

    found = [("editing", amends_editing), ("probes", amends_probes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "_HOST", [host.load(found)])
        tokens["Ada"] = json.loads(invoke("init", "--admin", "Ada", "--json").stdout)["token"]
        for name, role in (("Mina", "ml-engineer"), ("Axel", "auditor")):
            tokens[name] = json.loads(invoke("people", "add", name, "--role", role, "--json").stdout)["token"]
        add_versions(home, tiny_version, tmp_path_factory)
        invoke.home = home
        yield invoke


def add_versions(home, tiny_version, folders):
    from amends.ledger import aliases, lineage
    from amends.store.trees import put_tree

    workspace = Workspace(home)
    parent = None
    for number in (1, 2):
        tree = folders.mktemp("version")
        shutil.copytree(tiny_version / "model", tree / "model")
        if number == 2:  # edited since: other weights
            (tree / "model" / "more.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        recipe = {"steps": [], "made": number}
        (tree / "recipe.json").write_bytes(canonical_json(recipe))
        version = lineage.Version("bot", number, put_tree(workspace.blobs, tree), recipe)
        edges = [lineage.Edge(version.digest, parent, "step")] if parent else []
        with workspace.database.transaction() as connection:
            lineage.add_version(connection, version, edges)
        parent = version.digest
    with workspace.database.transaction() as connection:
        aliases.move(connection, model="bot", alias="champion", expected=None, new=2, actor="p-1")
    workspace.close()


@pytest.fixture
def files(traced, tmp_path, monkeypatch):
    """Return the paths of a file of facts and one of text, in the working directory."""
    monkeypatch.chdir(tmp_path)
    rows = known_rows(traced.anatomy, traced.tokenizer)
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text(PASSAGE)
    return SimpleNamespace(facts=tmp_path / "facts.jsonl", text=tmp_path / "text.txt", folder=tmp_path, rows=rows)


def test_without_text_the_trace_is_shown_and_nothing_proposed(shell, files):
    shown = shell("edit", "trace", "--model", "bot@1", "--facts", files.facts, as_="Mina")
    assert shown.exit_code == 0, shown.stderr
    assert "last subject token" in shown.stdout and "--text" in shown.stdout
    assert (files.folder / "bot-1-trace.png").is_file() and not (shell.home / "editing").exists()
    assert not any(subject in shown.stdout + shown.stderr for subject in SUBJECTS)
    denied = shell("edit", "trace", "--model", "bot@1", "--facts", files.facts, as_="Axel")
    assert denied.exit_code == 1 and "ml-engineer" in denied.stderr


def test_too_few_known_facts_are_refused_with_a_sentence(shell, files):
    files.facts.write_text("".join(json.dumps({**row, "old": row["target"], "target": row["old"]}) + "\n"
                                   for row in files.rows))  # fmt: skip
    done = shell("edit", "trace", "--model", "bot@1", "--facts", files.facts, as_="Mina")
    assert done.exit_code == 2 and "knows 0 of these 7 facts" in done.stderr


def test_a_proposal_is_stored_without_any_fact_and_found_again_further_down_the_line(shell, files):
    words = ("edit", "trace", "--model", "bot@1", "--facts", files.facts, "--picture", files.folder / "map.png")
    done = shell(*words, "--text", files.text, "--json", as_="Mina")
    assert done.exit_code == 0, done.stderr
    (kept,) = (shell.home / "editing" / "layers").glob("*.json")
    assert kept.read_bytes() == canonical_json(json.loads(kept.read_bytes()))
    assert json.loads(done.stdout)["proposal"] == json.loads(kept.read_bytes())
    assert not any(word in kept.read_text() for word in (*SUBJECTS, *WORDS))
    assert (files.folder / "map.png").is_file()
    with opened(shell.home) as workspace:
        first, second = (holding.resolve(workspace, f"bot@{number}") for number in (1, 2))
        assert proposals.find(workspace, first) == proposals.find(workspace, second)
        assert proposals.weights_digest(workspace, first.digest) != proposals.weights_digest(workspace, second.digest)
    kept.unlink()


@contextmanager
def opened(home):
    workspace = Workspace(home)
    yield workspace
    workspace.close()


@pytest.fixture
def proposed(shell):
    """Return a proposal for the first version's weights."""
    with opened(shell.home) as workspace:
        weights = proposals.weights_digest(workspace, holding.resolve(workspace, "bot@1").digest)
        proposal = proposals.Proposal(weights, (0,), 0, 7.0, 0.9, 7, 0)
        path = proposals.store(workspace, proposal)
    yield proposal
    path.unlink()


def test_a_plan_records_what_was_measured_where_nobody_says(shell, files, proposed):
    words = ("edit", "--model", "bot", "--edits", files.facts, "--text", files.text, "--json", "--method")
    for method, expected in (("editing.memit", ("0", 7.0)), ("editing.alphaedit", ("0", 10.0))):
        plan = json.loads(shell(*words, method, as_="Mina").stdout)["plan"]
        assert (plan["parameters"]["layers"], plan["parameters"]["weight"]) == expected  # its weight is another
    own = json.loads(shell(*words, "editing.memit", "-p", "layers=0", as_="Mina").stdout)["plan"]
    assert own["parameters"]["weight"] == 15.0  # the measured one belongs to the measured layers
    assert json.loads(shell(*words[:-1], as_="Mina").stdout)["plan"]["parameters"]["weight"] == 7.0


def test_the_screen_says_where_the_layers_come_from(shell, files, proposed):
    words = ("edit", "--model", "bot", "--edits", files.facts, "--text", files.text, "--try", "--method")
    more = ("-p", "steps=1", "-p", "tokens=1024", "-p", "max_drift=50")
    done = shell(*words, "editing.memit", *more, as_="Mina")
    assert done.exit_code == 0 and "measured for bot: layers=0, weight=7\n" in done.stderr
    own = shell(*words, "editing.rome", *more, "-p", "layers=0", as_="Mina")
    assert own.exit_code == 0 and "measured" not in own.stderr


def test_without_a_proposal_the_screen_says_how_to_trace(shell):
    with opened(shell.home) as workspace:
        values, said = proposals.filled(workspace, "bot@2", "editing.memit", {}, {"layers"})
        assert values == {} and "amends edit trace --model bot@2" in said
        assert proposals.filled(workspace, "bot@2", "editing.grace", {}, {"layer"}) == ({}, "")


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
