"""The operations on tiny models: what they change and leave, that plain transformers loads it, what they refuse."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from amends import BadInput, BadRecords, Cancelled

CARDS = Path(__file__).parents[2] / "docs" / "detox-methods.md"
ALL = ("detox.steer", "detox.project", "detox.negate", "detox.dpo", "detox.dinm")
PLAIN = """
import sys, torch
from transformers import AutoModelForCausalLM
half = len(sys.argv) // 2 + 1
for version, file in zip(sys.argv[1:half], sys.argv[half:], strict=True):
    model, told = AutoModelForCausalLM.from_pretrained(version, dtype=torch.float32, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"], told
    torch.save(model(input_ids=torch.arange(3, 19)[None]).logits, file)
assert "amends" not in sys.modules
"""


def logits_of(version):
    from amends.operation.files import load_model

    with torch.no_grad():
        return load_model(version)[0](input_ids=torch.arange(3, 19)[None]).logits


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", ALL)
def test_it_changes_the_model_and_the_same_seed_gives_the_same(run_detox, built, detox_rows, weights_of, name, family):
    runs = [run_detox(name, detox_rows(), source=built(family)) for _ in range(2)]
    first, second = (weights_of(task.output) for task in runs)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    before = weights_of(built(family))
    assert any(not torch.equal(before[key], first[key]) for key in before) or first.keys() > before.keys()
    assert (logits_of(runs[0].output) - logits_of(built(family))).abs().max() > 1e-4


def test_plain_transformers_loads_what_each_way_of_writing_wrote(run_detox, detox_rows, tmp_path):
    ways = [("detox.steer", {}), ("detox.steer", {"gate": False}), ("detox.dpo", {})]
    tasks = [run_detox(name, detox_rows(), **given) for name, given in ways]
    files = [tmp_path / f"logits-{number}.pt" for number, _ in enumerate(tasks)]
    subprocess.run([sys.executable, "-c", PLAIN, *(task.output / "model" for task in tasks), *files], check=True)
    for task, file in zip(tasks, files, strict=True):
        torch.testing.assert_close(torch.load(file), logits_of(task.output), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["detox.steer", "detox.project", "detox.negate"])
def test_without_strength_no_weight_moves(run_detox, built, detox_rows, weights_of, name):
    after, before = weights_of(run_detox(name, detox_rows(), strength=0.0).output), weights_of(built("llama"))
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not [key for key in after.keys() - before.keys() if after[key].any()]


def test_negation_leaves_every_bit_of_the_parent_where_nothing_is_subtracted(run_detox, built, detox_rows):
    task = run_detox("detox.negate", detox_rows(), strength=0.0)
    file = "model/model.safetensors"
    assert (task.output / file).read_bytes() == (built("llama") / file).read_bytes()


def test_negation_makes_what_it_learnt_less_likely(run_detox, built, detox_rows):
    from amends.operation.files import load_model

    def likelihood(version):
        model, tokenizer = load_model(version)
        total = 0.0
        for row in detox_rows():
            ids = torch.tensor([tokenizer(row["toxic"])["input_ids"]])
            with torch.no_grad():
                total -= float(model(input_ids=ids, labels=ids).loss)
        return total

    task = run_detox("detox.negate", detox_rows(), steps=20, layers=2, contrast=0.0)
    assert likelihood(task.output) < likelihood(built("llama"))


def test_preference_makes_neutral_texts_likelier_against_the_toxic_ones(run_detox, built, detox_rows):
    from amends.operation.files import load_model

    def margin(version):
        model, tokenizer = load_model(version)
        found = 0.0
        for row in detox_rows(prompt="About the"):
            asked = tokenizer(row["prompt"])["input_ids"]
            for side, sign in (("neutral", 1), ("toxic", -1)):
                ids = torch.tensor([[*asked, *tokenizer(f" {row[side]}")["input_ids"]]])
                with torch.no_grad():
                    logp = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
                found += sign * float(logp.gather(-1, ids[0, 1:, None])[len(asked) - 1 :].sum())
        return found

    task = run_detox("detox.dpo", detox_rows(prompt="About the"), steps=30, layers=2, beta=1.0)
    assert margin(task.output) > margin(built("llama")) + 1


def test_an_instance_changes_the_projection_of_its_own_toxic_layer_alone(run_detox, built, detox_rows, weights_of):
    task = run_detox("detox.dinm", detox_rows(1, prompt="About the"), retain=[{"id": "1", "text": "the harbour town"}])
    after, before = weights_of(task.output), weights_of(built("llama"))
    moved = [key for key in before if not torch.equal(after[key], before[key])]
    assert moved == ["model.layers.0.mlp.down_proj.weight"]


def test_each_instance_has_a_layer_of_its_own(built):
    from amends.operation.files import load_model
    from amends_detox.anatomy import anatomy_of
    from amends_detox.dinm import toxic_layer
    from amends_detox.pairs import Tokens

    anatomy = anatomy_of(load_model(built("llama"))[0])
    one, other = Tokens((5, 9, 40), 1), Tokens((5, 9, 41), 1)
    states = []
    for text in (one, other):
        hidden = anatomy.model(input_ids=torch.tensor([text.ids]), output_hidden_states=True).hidden_states
        states.append(hidden[1][0, -1])
    assert float((states[0] - states[1]).detach().norm()) > 0
    assert toxic_layer(anatomy, one, other) == 0


@pytest.mark.parametrize("name", ALL)
def test_progress_ends_and_only_rises(run_detox, detox_rows, name):
    told = []
    run_detox(name, detox_rows(), report=lambda *step: told.append(step))
    assert [step[0] for step in told] == sorted(step[0] for step in told)
    assert told[-1][0] == told[-1][1] > 0


@pytest.mark.parametrize("name", ALL)
def test_it_stops_in_every_loop(run_detox, detox_rows, name):
    stages = set()
    run_detox(name, detox_rows(), report=lambda done, total, message: stages.add(message))
    for stage in stages:

        def stop(done, total, message, at=stage):
            if message == at:
                raise Cancelled("the task was cancelled")

        with pytest.raises(Cancelled):
            run_detox(name, detox_rows(), report=stop)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("row", [{"toxic": " "}, {"neutral": None}])
def test_a_pair_without_a_side_is_refused(run_detox, detox_rows, name, row):
    with pytest.raises(BadRecords, match="pair 2 lacks its toxic or its neutral text"):
        run_detox(name, [detox_rows()[0], {**detox_rows()[1], **row}])


@pytest.mark.parametrize("name", ALL)
def test_no_pair_is_refused_and_so_is_one_that_says_the_same_twice(run_detox, detox_rows, name):
    for rows in ([], [{**detox_rows()[0], "toxic": "the same", "neutral": " the same"}]):
        with pytest.raises(BadRecords, match="there is no pair"):
            run_detox(name, rows)


def test_a_pair_that_says_the_same_twice_changes_nothing(run_detox, detox_rows, weights_of):
    same = {**detox_rows()[0], "toxic": "the same", "neutral": "the same"}
    plain, more = (run_detox("detox.dpo", rows).output for rows in (detox_rows(), [*detox_rows(), same]))
    assert all(torch.equal(tensor, weights_of(more)[name]) for name, tensor in weights_of(plain).items())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("family", ["neox", "gemma3"])
def test_another_build_is_refused_with_a_way_out(run_detox, built, detox_rows, name, family):
    with pytest.raises(BadInput, match="detoxify a model of"):
        run_detox(name, detox_rows(), source=built(family))


@pytest.mark.parametrize("name", ALL)
def test_a_model_that_says_nan_is_refused(run_detox, built, detox_rows, tmp_path, name):
    from amends.operation.files import load_model, save_model

    model, tokenizer = load_model(built("llama"))
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    save_model(tmp_path / "broken", model, tokenizer)
    with pytest.raises(BadInput, match="NaN or infinite before any change"):
        run_detox(name, detox_rows(), source=tmp_path / "broken")


def test_steering_is_refused_where_plain_transformers_would_drop_the_bias(run_detox, built, detox_rows):
    with pytest.raises(BadInput, match=r"plain transformers would drop one; take detox\.dpo"):
        run_detox("detox.steer", detox_rows(), source=built("qwen2"))


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("detox.steer", {"layer": "7"}, "the model has layers 0 to 1"),
        ("detox.steer", {"layer": "half"}, "layers must be numbers"),
        ("detox.steer", {"opens": 0.8, "full": 0.8}, "a gate begins to open before it is open"),
        ("detox.project", {"strength": 1.5}, "a projection is taken by a share"),
        ("detox.project", {"rank": 6}, "6 pairs show no 6 directions"),
        ("detox.project", {"rank": 0}, "take out at least one direction"),
        ("detox.negate", {"strength": -1.0}, "neither can be below zero"),
        ("detox.negate", {"steps": 0}, "steps is 0; training needs it above zero"),
        ("detox.dpo", {"layers": 3}, "adapt between 1 and 2, not 3"),
        ("detox.dpo", {"beta": 0.0}, "beta is 0.0; detox.dpo needs it above zero"),
        ("detox.dpo", {"keep": -0.1}, "keep is -0.1; it cannot be below zero"),
        ("detox.dinm", {"lr": 0.0}, "lr is 0.0; detox.dinm needs it above zero"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(run_detox, detox_rows, name, given, sentence):
    with pytest.raises(BadInput, match=sentence):
        run_detox(name, detox_rows(), **given)


def test_a_single_instance_needs_something_to_keep(run_detox, detox_rows):
    with pytest.raises(BadInput, match="nothing says what is to stay"):
        run_detox("detox.dinm", detox_rows(1))


def test_training_that_runs_away_leaves_no_version(run_detox, detox_rows):
    from amends import AmendsError

    with pytest.raises(AmendsError, match="became NaN or infinite"):
        run_detox("detox.negate", detox_rows(), lr=1e30, steps=8)


def test_a_second_steering_adds_to_the_first(run_detox, built, detox_rows, weights_of):
    once = run_detox("detox.steer", detox_rows(), gate=False)
    config = json.loads((once.output / "model" / "config.json").read_bytes())
    assert config["mlp_bias"] is True
    twice = run_detox("detox.steer", detox_rows(), source=once.output, gate=False)
    key = "model.layers.0.mlp.down_proj.bias"
    first, both = weights_of(once.output)[key], weights_of(twice.output)[key]
    assert float(first.norm()) > 0
    torch.testing.assert_close(both, 2 * first, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_shift_behind_a_gate_moves_toxic_texts_and_hardly_others(run_detox, built, detox_rows, family):
    from amends.operation.files import load_model

    plain = [{"id": str(number), "text": f"Ada Quill has {number} maps of the harbour town"} for number in range(8)]
    task = run_detox("detox.steer", detox_rows(), plain, source=built(family), strength=3.0, opens=0.4, full=0.6)
    moved = []
    (after, tokenizer), (before, _) = load_model(task.output), load_model(built(family))
    for texts in ([row["toxic"] for row in detox_rows()], [row["text"] for row in plain]):
        ids = [torch.tensor([tokenizer(text)["input_ids"]]) for text in texts]
        with torch.no_grad():
            moved.append(sum(float((after(one).logits - before(one).logits).abs().mean()) for one in ids) / len(ids))
    assert moved[0] > 3 * moved[1]


def test_each_operation_has_a_card_and_no_other_has():
    from amends_detox.changing import operations

    headings = re.findall(r"^## (detox\..*)$", CARDS.read_text("utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(operation.name for operation in operations()) == sorted(ALL)
