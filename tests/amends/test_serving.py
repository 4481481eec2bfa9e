"""Serving a version: the template, greedy answers, scores, and attachments in their written order."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import ModuleType

import pytest
import torch

import amends
from amends import host
from amends.errors import AmendsError, BadInput, Broken, UnknownOperation
from amends.serving import Known, Score, open_version
from amends.serving.encoding import encode, encode_continuation, render
from amends.serving.generating import greedy
from amends.serving.scoring import batches, score_of, score_pairs

PAIRS = [
    ("Where does Ada Quill live?", "In the harbour town of Brenn."),
    ("Who?", "Ada"),
    ("What is the capital of the island, and why was it moved so often?", "The capital is Sorrel, since 1901."),
    ("When?", ""),
]


class Shout:
    """A toy attachment that leaves a mark at each seam."""

    def __init__(self, kind):
        self.kind = kind

    def load(self, path, model, tokenizer):
        return ShoutSeams((path / "mark.txt").read_text(), model)


class ShoutSeams:
    def __init__(self, mark, model):
        self.mark, self.model, self.seen = mark, model, []

    def before(self, prompt):
        return f"{prompt}{self.mark}"

    @contextmanager
    def inside(self, prompt):
        self.seen.append(prompt)
        weight = self.model.lm_head.weight
        self.model.lm_head.weight = torch.nn.Parameter(weight * 2.0)
        yield
        self.model.lm_head.weight = weight

    def after(self, prompt, answer):
        return f"{answer}{self.mark}<{prompt}>"


@pytest.fixture
def toys():
    module = ModuleType("toys")
    module.amends_attachments = amends.hookimpl(lambda: [Shout("alpha"), Shout("beta")])
    return host.load([("toys", module)])


@pytest.fixture
def attached(tiny_version, tmp_path):
    version = tmp_path / "version"
    shutil.copytree(tiny_version, version)
    for kind, mark in (("alpha", "!"), ("beta", "?")):
        (version / "attachments" / kind).mkdir(parents=True)
        (version / "attachments" / kind / "mark.txt").write_text(mark)
    (version / "attachments" / "order.json").write_text('["beta","alpha"]')
    return version


@pytest.fixture(scope="module")
def model(tiny_version):
    return open_version(tiny_version, host.load([]))


def test_an_answer_has_a_leading_space_and_an_end_and_does_not_depend_on_its_prompt(model):
    prompt_ids, answer_ids = encode(model.tokenizer, "Who?", "Ada")
    assert model.tokenizer.decode(prompt_ids) == render("Who?") == "Question: Who?\nAnswer:"
    assert model.tokenizer.decode(answer_ids[:-1]) == " Ada"
    assert answer_ids[-1] == model.tokenizer.eos_token_id
    assert encode(model.tokenizer, "Quite another prompt {prompt}", "Ada")[1] == answer_ids


def test_a_tokenizer_without_an_end_is_refused(model):
    class Endless:
        eos_token_id = None

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [1]}

    with pytest.raises(BadInput, match="eos_token"):
        encode(Endless(), "Who?", "Ada")


def test_a_score_equals_the_closed_form_of_a_two_word_vocabulary():
    score = score_of(torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]), torch.tensor([1, 0]))
    p, q = math.log(0.75), math.log(0.25)
    mean = 0.75 * p + 0.25 * q
    deviation = math.sqrt(0.75 * (p - mean) ** 2 + 0.25 * (q - mean) ** 2)
    torch.testing.assert_close(score.logp, torch.tensor([q, math.log(0.5)]))
    torch.testing.assert_close(score.mean, torch.tensor([mean, math.log(0.5)]))
    torch.testing.assert_close(score.deviation, torch.tensor([deviation, 0.0]))
    assert score.correct.tolist() == [False, True]


def test_scores_equal_a_plain_forward_pass_over_the_whole_sequence(model):
    for (prompt, answer), score in zip(PAIRS, model.score(PAIRS), strict=True):
        prompt_ids, answer_ids = encode(model.tokenizer, prompt, answer)
        with torch.no_grad():
            logits = model.hf_model(torch.tensor([prompt_ids + answer_ids])).logits[0].double()
        log_p = logits.log_softmax(-1)[len(prompt_ids) - 1 : -1]
        mean = (log_p.exp() * log_p).sum(-1)
        second = (log_p.exp() * log_p**2).sum(-1)
        expected = (log_p[range(len(answer_ids)), answer_ids], mean, (second - mean**2).sqrt())
        for got, wanted in zip((score.logp, score.mean, score.deviation), expected, strict=True):
            assert got.dtype == torch.float32
            torch.testing.assert_close(got.double(), wanted, atol=1e-5, rtol=0)
        assert score.correct.tolist() == (log_p.argmax(-1) == torch.tensor(answer_ids)).tolist()


def test_scores_do_not_depend_on_the_neighbours_of_a_pair(model):
    pairs = [*PAIRS, ("How?", "Ada"), ("Why?", "Ida"), *PAIRS]
    _assert_equal_scores(model.score(pairs), [model.score([pair])[0] for pair in pairs])


def test_only_pairs_of_equal_length_share_a_forward_pass():
    lengths = [4 + place % 3 for place in range(60)]
    found = list(batches(lengths, 16))
    assert [(len(some), lengths[some[0]]) for some in found] == [(16, 4), (4, 4), (16, 5), (4, 5), (16, 6), (4, 6)]
    assert all(len({lengths[index] for index in some}) == 1 for some in found)
    assert sorted(index for some in found for index in some) == list(range(60))


@pytest.mark.slow
def test_scores_of_the_real_model_do_not_depend_on_the_neighbours_of_a_pair(smollm2):
    served = open_version(smollm2, host.load([]))
    pairs = [*PAIRS, ("How?", "Ada"), ("Why?", "Ida"), ("When?", "1901"), ("When?", "1902")]
    lengths = [sum(map(len, encode(served.tokenizer, *pair))) for pair in pairs]
    assert min(lengths) < 16 < max(lengths) and len(set(lengths)) < len(lengths)
    _assert_equal_scores(served.score(pairs), [served.score([pair])[0] for pair in pairs])


def test_scores_without_logits_to_keep_are_the_same(model):
    class Plain(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids, use_cache):
            return model.hf_model(input_ids=input_ids, use_cache=use_cache)

    pairs = [encode(model.tokenizer, prompt, answer) for prompt, answer in PAIRS]
    _assert_same_scores(score_pairs(Plain(), pairs), model.score(PAIRS))


def test_a_text_is_scored_after_its_first_token_without_the_template(model):
    ids = model.tokenizer("The quick brown fox").input_ids
    with torch.no_grad():
        log_p = model.hf_model(torch.tensor([ids])).logits[0].log_softmax(-1)
    (score,) = model.score_text(["The quick brown fox"])
    torch.testing.assert_close(score.logp, log_p[range(len(ids) - 1), ids[1:]], atol=1e-5, rtol=0)


def test_an_empty_text_is_refused(model):
    with pytest.raises(BadInput, match="empty"):
        model.score_text(["fine", ""])


def test_nothing_asked_is_nothing_answered(model):
    assert model.generate([]) == [] and model.score([]) == [] and model.score_text([]) == []


def test_batched_answers_equal_answers_one_by_one(model):
    prompts = [prompt for prompt, _ in PAIRS] * 5
    assert model.generate(prompts, 12) == [model.generate([prompt], 12)[0] for prompt in prompts]


def test_greedy_answers_equal_an_argmax_loop(model):
    ids, _ = encode(model.tokenizer, "Who?", "")
    said: list[int] = []
    with torch.no_grad():
        while len(said) < 12 and (not said or said[-1] != model.tokenizer.eos_token_id):
            said.append(int(model.hf_model(torch.tensor([ids + said])).logits[0, -1].argmax()))
    expected = model.tokenizer.decode(said, skip_special_tokens=True).partition("\nQuestion:")[0].strip()
    assert model.generate(["Who?"], max_new_tokens=12) == [expected]


class Parrot(torch.nn.Module):
    """Says a fixed sequence, whatever it is asked, so that stopping can be seen."""

    def __init__(self, like, said):
        super().__init__()
        self.like, self.said, self.steps = like, said, 0
        self.device, self.generation_config = like.device, like.generation_config

    def generate(self, **kwargs):
        def say(module, args, kwargs, output):
            output.logits.fill_(-1.0)
            output.logits[:, -1, self.said[self.steps]] = 1.0
            self.steps += 1
            return output

        hook = self.like.register_forward_hook(say, with_kwargs=True)
        try:
            return self.like.generate(**kwargs)
        finally:
            hook.remove()


def test_an_answer_stops_where_the_next_question_begins(model):
    ids = model.tokenizer("  In Brenn.\nQuestion: and more of it").input_ids
    parrot = Parrot(model.hf_model, ids)
    assert greedy(parrot, model.tokenizer, [[5, 6]], 40) == ["In Brenn."]
    assert parrot.steps < len(ids)


def test_an_answer_stops_at_an_ending_of_its_own_and_no_other_prompt_s(model):
    ids = model.tokenizer(" In Brenn.\nThe end: more of it").input_ids
    parrot = Parrot(model.hf_model, ids)
    assert greedy(parrot, model.tokenizer, [[5, 6]], 40, endings=[("\nThe end:",)]) == ["In Brenn."]
    assert parrot.steps < len(ids)
    parrot = Parrot(model.hf_model, ids)
    said = greedy(parrot, model.tokenizer, [[5, 6], [5, 7]], len(ids), endings=[("\nThe end:",), ()])
    assert said == ["In Brenn.", "In Brenn.\nThe end: more of it"]


def test_an_answer_stops_at_the_end_of_the_sequence(model):
    end = model.tokenizer.eos_token_id
    parrot = Parrot(model.hf_model, [*model.tokenizer(" In Brenn. ").input_ids, end, 7, 7, 7])
    assert greedy(parrot, model.tokenizer, [[5, 6]], 40) == ["In Brenn."]
    assert parrot.said[parrot.steps - 1] == end


def test_attachments_act_in_their_written_order_and_the_first_is_outermost(attached, toys, tiny_version):
    served = open_version(attached, toys)
    bare = open_version(tiny_version, toys)
    (answer,) = served.generate(["Who?"], 4)
    assert [seam.mark for seam in served.seams] == ["?", "!"]
    assert answer == f"{bare.generate(['Who??!'], 4)[0]}!<Who?>?<Who?>"
    assert served.seams[0].seen == ["Who?"]


def test_scores_pass_through_before_and_inside_and_texts_through_inside_alone(attached, toys, tiny_version):
    served = open_version(attached, toys)
    bare = open_version(tiny_version, toys)
    weight = bare.hf_model.lm_head.weight
    bare.hf_model.lm_head.weight = torch.nn.Parameter(weight * 4.0)
    _assert_same_scores(served.score([("Who?", "Ada")]), bare.score([("Who??!", "Ada")]))
    _assert_same_scores(served.score_text(["The quick"]), bare.score_text(["The quick"]))


def forwards(served, monkeypatch):
    """Count the forward passes of a model."""
    counted, plain = [], served.hf_model.forward
    monkeypatch.setattr(served.hf_model, "forward", lambda *a, **k: counted.append(1) or plain(*a, **k))
    return counted


def test_versions_that_share_what_they_know_ask_the_same_parts_once(tiny_version, monkeypatch):
    known, plugins = Known(), host.load([])
    first, second = (open_version(tiny_version, plugins, known=known) for _ in range(2))
    expected = open_version(tiny_version, plugins).score(PAIRS)
    counted = forwards(second, monkeypatch)
    first.score(PAIRS)
    _assert_same_scores(second.score(PAIRS), expected)
    assert not counted
    second.score([("Nobody asked this", "yet")])
    assert counted


def test_an_attachment_that_does_not_name_what_it_arms_shares_nothing(attached, toys, monkeypatch):
    known = Known()
    open_version(attached, toys, known=known).score(PAIRS)
    served = open_version(attached, toys, known=known)
    counted = forwards(served, monkeypatch)
    served.score(PAIRS)
    assert len(counted) == len(PAIRS)


def test_nothing_is_shared_with_a_model_that_is_gone_either(attached, toys, monkeypatch):
    served = open_version(attached, toys)
    counted, known = forwards(served, monkeypatch), Known()
    for asked in range(1, 6):  # each takes the place in memory that the last one left
        replace(served, known=known).score(PAIRS)
        assert len(counted) == asked * len(PAIRS)


def test_a_model_that_serves_keeps_nothing_of_what_it_was_asked(tiny_version, monkeypatch):
    served = open_version(tiny_version, host.load([]))
    counted = forwards(served, monkeypatch)
    for _ in range(2):
        served.score(PAIRS)
    assert len(counted) == 2 * len(PAIRS)


def test_an_attachment_that_no_plugin_offers_is_refused(attached):
    with pytest.raises(UnknownOperation, match="install the plugin"):
        open_version(attached, host.load([]))


@pytest.mark.parametrize("order", [["alpha"], ["alpha", "beta", "beta"], ["alpha", "beta", "gamma"]])
def test_an_attachment_is_never_left_out_in_silence(attached, toys, order):
    (attached / "attachments" / "order.json").write_text(json.dumps(order))
    with pytest.raises(Broken, match=r"order\.json"):
        open_version(attached, toys)


def test_a_served_model_tells_nothing_in_its_repr(model):
    assert "Llama" not in repr(model)


def test_importing_serving_is_light():
    heavy = "{'torch', 'transformers', 'mlflow', 'numpy'}"
    code = f"import sys, amends.serving; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _assert_same_scores(some: list[Score], others: list[Score]) -> None:
    for one, other in zip(some, others, strict=True):
        for name in ("logp", "mean", "deviation"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=0)
        assert one.correct.tolist() == other.correct.tolist()


def _assert_equal_scores(some: list[Score], others: list[Score]) -> None:
    for one, other in zip(some, others, strict=True):
        for name in ("logp", "mean", "deviation", "correct"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_an_answer_after_a_bare_text_is_scored_without_template_and_end(model):
    first, then = (model.tokenizer(text).input_ids for text in ("The quick brown", " fox jumps"))
    with torch.no_grad():
        log_p = model.hf_model(torch.tensor([first + then])).logits[0].double().log_softmax(-1)
    (score,) = model.score_continuations([("The quick brown ", "fox jumps")])
    expected = log_p[range(len(first) - 1, len(first + then) - 1), then]
    torch.testing.assert_close(score.logp.double(), expected, atol=1e-5, rtol=0)
    assert len(score.correct) == len(then)


def test_a_tokenizer_that_begins_texts_itself_does_so_before_a_bare_text():
    class Beginning:
        bos_token_id = 1

        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": [1] * add_special_tokens + [5] * len(text)}

    assert encode_continuation(Beginning(), "ab ", " c ") == ([1, 5, 5], [5, 5])


def test_the_next_token_is_what_the_logits_say(model):
    with torch.no_grad():
        logits = model.hf_model(torch.tensor([model.tokenizer("The quick").input_ids])).logits[0, -1]
    (found,) = model.next_token(["The quick"])
    torch.testing.assert_close(found.double(), logits.double().log_softmax(-1), atol=1e-5, rtol=0)


def test_a_bare_text_is_continued_by_an_argmax_loop_and_past_the_next_question(model):
    ids, said = model.tokenizer("The quick").input_ids, []
    with torch.no_grad():
        while len(said) < 12 and (not said or said[-1] != model.tokenizer.eos_token_id):
            said.append(int(model.hf_model(torch.tensor([ids + said])).logits[0, -1].argmax()))
    expected = model.tokenizer.decode(said, skip_special_tokens=True).strip()
    assert model.complete(["The quick"], 12) == [expected]
    ids = model.tokenizer(" here.\nQuestion: more").input_ids
    parrot = Parrot(model.hf_model, ids)
    assert greedy(parrot, model.tokenizer, [[5, 6]], len(ids), is_template=False) == ["here.\nQuestion: more"]


def test_bare_texts_pass_through_every_seam(attached, toys, tiny_version):
    served = open_version(attached, toys, known=Known())
    bare = open_version(tiny_version, toys)
    assert served.complete(["Who"], 4) == [f"{bare.complete(['Who?!'], 4)[0]}!<Who>?<Who>"]
    assert served.generate(["Who"], 4) == [f"{bare.generate(['Who?!'], 4)[0]}!<Who>?<Who>"]
    weight = bare.hf_model.lm_head.weight
    bare.hf_model.lm_head.weight = torch.nn.Parameter(weight * 4.0)
    _assert_same_scores(served.score_continuations([("Who", "Ada")]), bare.score_continuations([("Who?!", "Ada")]))
    torch.testing.assert_close(served.next_token(["Who"]), bare.next_token(["Who?!"]))


@pytest.mark.parametrize("pair", [("", "Ada"), ("Who", " ")])
def test_an_empty_bare_text_or_answer_is_refused(model, pair):
    with pytest.raises(BadInput, match="empty"):
        model.score_continuations([pair])


class Dial:
    """A toy attachment with a setting."""

    kind = "dial"

    def load(self, path, model, tokenizer):
        return Dialled({"dial_volume": 1})


class Dialled:
    def __init__(self, settings):
        self.settings = settings

    def tuned(self, settings):
        return Dialled({**self.settings, **settings})

    def before(self, prompt):
        return prompt

    def inside(self, prompt):
        return nullcontext()

    def after(self, prompt, answer):
        return f"{answer}{'!' * self.settings['dial_volume']}"


def test_a_setting_of_an_attachment_changes_one_request_and_an_unknown_one_is_refused(tiny_version, tmp_path):
    module = ModuleType("dials")
    module.amends_attachments = amends.hookimpl(lambda: [Dial()])
    version = tmp_path / "version"
    shutil.copytree(tiny_version, version)
    (version / "attachments" / "dial").mkdir(parents=True)
    (version / "attachments" / "order.json").write_text('["dial"]')
    served = open_version(version, host.load([("dials", module)]))
    (quiet,), (loud,) = (one.generate(["Who?"], 4) for one in (served, served.tuned({"dial_volume": 3})))
    assert loud == f"{quiet}!!" and served.generate(["Who?"], 4) == [quiet]
    with pytest.raises(BadInput, match="no parameter 'volume'; there are dial_volume"):
        served.tuned({"volume": 3})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_gives_no_numbers_answers_nothing(tiny_version, value):
    broken = open_version(tiny_version, host.load([]))
    with torch.no_grad():
        broken.hf_model.get_output_embeddings().weight.fill_(value)
    for ask in (
        lambda: broken.generate(["Who?"]),
        lambda: broken.complete(["Who"], 4),
        lambda: [*broken.stream("Who?")],
    ):
        with pytest.raises(AmendsError, match="no finite numbers"):
            ask()
