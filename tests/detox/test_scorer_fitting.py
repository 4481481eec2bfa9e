"""A head is found again from its own scores, keeps to half A of the data, and says where it came from."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from amends import BadInput, BadRecords
from amends_detox.scoring.fitting import Fit, fit, soft_logistic_loss
from amends_detox.scoring.head import Head, read_head, write_head
from amends_detox.scoring.minilm import shipped
from amends_detox.scoring.rtp import ATTRIBUTES, fitted_on, read_scored


def known_head():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    return Head({"weight": weight, "bias": torch.tensor([0.5, -1.0], dtype=torch.float64)})


def test_the_loss_is_log_two_an_attribute_at_even_odds():
    logits, targets = torch.zeros(3, 2), torch.rand(3, 2)
    torch.testing.assert_close(soft_logistic_loss(logits, targets), torch.tensor(2 * 0.6931471805599453))


def test_a_linear_head_is_recovered_from_its_own_soft_labels():
    head = known_head()
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = fit(x, head.logits(x).sigmoid(), Fit(ridge=1e-9))
    for name, tensor in head.tensors.items():
        torch.testing.assert_close(found.tensors[name].double(), tensor, atol=1e-3, rtol=1e-3)


def test_a_ridge_shortens_the_weights_and_leaves_the_bias_free():
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    targets = torch.full((200, 2), 0.2, dtype=torch.float64)
    found = fit(x, targets, Fit(ridge=10.0))
    assert found.tensors["weight"].abs().max() < 1e-3
    torch.testing.assert_close(found.tensors["bias"].sigmoid(), torch.full((2,), 0.2), atol=1e-3, rtol=0)


def test_a_hidden_layer_learns_what_no_linear_head_can_and_follows_its_seed():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64).repeat(10, 1)
    targets = (x[:, :1] != x[:, 1:]).double()
    how = Fit(hidden=8, ridge=1e-4, seed=5)
    found, again = fit(x, targets, how), fit(x, targets, how)
    assert ((found.logits(x) > 0) == targets.bool()).all()
    assert found.digest == again.digest != fit(x, targets, replace(how, seed=6)).digest


def test_nothing_to_fit_on_is_refused():
    with pytest.raises(BadInput, match="ridge"):
        fit(torch.empty(0, 6), torch.empty(0, 2), Fit())


def test_a_head_comes_back_from_its_files_and_only_on_its_encoder(tmp_path):
    head = replace(known_head(), facts={"attributes": ["toxicity", "insult"], "encoder": "e1"})
    write_head(tmp_path, head)
    found = read_head(tmp_path, "e1")
    assert found.digest == head.digest and found.facts == head.facts
    with pytest.raises(BadInput, match="another encoder"):
        read_head(tmp_path, "e2")


@pytest.mark.parametrize("name", ["head.safetensors", "head.json"])
def test_half_a_head_is_refused(tmp_path, name):
    write_head(tmp_path, replace(known_head(), facts={"attributes": ["toxicity", "insult"], "encoder": "e1"}))
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(BadInput, match="no whole head"):
        read_head(tmp_path, "e1")


@pytest.mark.parametrize("name", ["minilm", "judge"])
def test_the_shipped_heads_say_what_they_were_fitted_on_and_how(name):
    facts = shipped(name).facts
    assert facts["attributes"] == list(ATTRIBUTES) and facts["held_out"]["auc"]["toxicity"] > 0.85
    assert "fit-scorer" in facts["command"] and len(facts["trained_on"]["sha256"]) == 64
    assert "below 0x80" in facts["split"] and "Apache-2.0" in facts["licence"]


def test_the_two_shipped_heads_are_built_differently():
    assert ("hidden.weight" in shipped("minilm").tensors, "hidden.weight" in shipped("judge").tensors) == (False, True)


def part(text, value=0.5, **changes):
    return {"text": text, **dict.fromkeys(ATTRIBUTES, value), **changes}


def test_half_a_is_told_by_the_first_byte_of_the_prompt_s_hash():
    for prompt in ("a", "b", "c", "The ferry", "Grüße"):
        assert fitted_on(prompt) == (hashlib.sha256(prompt.encode()).hexdigest()[0] in "01234567")
    assert {fitted_on(str(number)) for number in range(20)} == {True, False}


def test_prompts_and_continuations_are_texts_apart_and_unscored_ones_are_left_out(tmp_path):
    file = tmp_path / "rtp.jsonl"
    rows = [
        {"prompt": part("one"), "continuation": part(" two", 0.25)},
        {"prompt": part("three", threat=None), "continuation": part(" four")},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_scored(file))
    assert [(one.prompt, one.text) for one in found] == [("one", "one"), ("one", " two"), ("three", " four")]
    assert found[1].scores == (0.25,) * len(ATTRIBUTES)


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", json.dumps({"prompt": part("")}), json.dumps({"prompt": part("x", 1.5)})]
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line):
    file = tmp_path / "rtp.jsonl"
    file.write_text(json.dumps({"prompt": part("fine")}) + "\n" + line + "\n")
    with pytest.raises(BadRecords, match="line 2"):
        list(read_scored(file))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadRecords, match=r"gone\.jsonl cannot be read"):
        list(read_scored(tmp_path / "gone.jsonl"))


@pytest.mark.slow
def test_the_command_fits_a_head_that_is_then_a_scorer(tmp_path, make_shell):
    rude, kind = "You are a stupid idiot number {}", "The ferry leaves the harbour at {}"
    file = tmp_path / "rtp.jsonl"
    rows = [{"prompt": part(text.format(n), value)} for n in range(40) for text, value in ((rude, 0.9), (kind, 0.05))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shell = make_shell(tmp_path / "home", "ada")
    said = shell.json("detox", "fit-scorer", "--data", file, "--output", tmp_path / "head", "--ridge", "1e-3")
    assert said["texts"] + said["held_out"]["texts"] == 80 and said["held_out"]["auc"]["toxicity"] == 1.0
    from amends_detox.scoring import find

    scorer = find(f"minilm:{tmp_path / 'head'}")
    assert scorer.version != find("minilm").version
    worse, better = scorer.score([rude.format(99), kind.format(99)])[:, 0]
    assert worse > 0.5 > better
