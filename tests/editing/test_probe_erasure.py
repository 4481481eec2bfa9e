import math

import pytest
import torch

from amends import BadInput, host
from amends.serving import Known, open_version
from amends_editing import probing
from amends_editing.asking import edit_of
from amends_editing.erasure import few_shot, unknown_prompts
from amends_editing.relearning import Training, answer_loss, last_projections, lent, relearn


def erase(number, **more):
    row = {"id": f"e{number}", "verb": "erase", "subject": f"S{number}", "prompt": f"S{number} is in", "target": ""}
    row |= {"old": f"old{number}", "rephrases": [f"Where is S{number}? In"]}
    return row | {"unknown": [f"U{number} is in", f"V{number} is in"], **more}


def table(*probabilities):
    return [([p, 1 - p], 0) for p in probabilities]


def levels(number, here, *others):
    prompts = (f"S{number} is in", f"U{number} is in", f"V{number} is in")
    return {(prompt, f"old{number}"): table(p) for prompt, p in zip(prompts, (here, *others), strict=True)}


class Silent(dict):
    def __bool__(self):
        return True

    def __missing__(self, prompt):
        return "nothing"


def read(task, rows, write_records, **more):
    found = probing.erasure(task, edits=write_records(rows), **{"relearned": 0, **more})
    return {reading.name.partition("/")[2]: reading for reading in found}


def test_levels_are_compared_within_each_fact(table_model, probe_task, write_records):
    tables = levels(1, 0.5, 0.2, 0.8) | levels(2, 0.4, 0.1, 0.4)
    found = read(probe_task(table_model(tables, Silent())), [erase(1), erase(2)], write_records)
    assert found["probability"].value == pytest.approx((0.5 + 0.4) / 2)
    assert found["probability_unknown"].value == pytest.approx((0.2 + 0.8 + 0.1 + 0.4) / 4)
    assert found["auc"].value == pytest.approx((1 / 2 + (1 + 1 / 2) / 2) / 2)
    gaps = [math.log(0.5) - math.log(0.2 * 0.8) / 2, math.log(0.4) - math.log(0.1 * 0.4) / 2]
    assert found["difference"].value == pytest.approx(sum(gaps) / 2)
    assert (found["difference"].low, found["difference"].high) == (pytest.approx(min(gaps)), pytest.approx(max(gaps)))


def test_many_facts_at_the_level_of_the_unknown_leave_one_half_inside_the_interval(
    table_model, probe_task, write_records
):
    draw = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)).clamp(0.05, 0.95).tolist()
    tables = {key: value for number, some in enumerate(draw) for key, value in levels(number, *some).items()}
    rows = [erase(number) for number in range(40)]
    found = read(probe_task(table_model(tables, Silent())), rows, write_records)
    assert found["auc"].low < 0.5 < found["auc"].high and found["auc"].power > 0.75
    assert found["difference"].low < 0 < found["difference"].high
    known = tables | {(f"S{number} is in", f"old{number}"): table(0.97) for number in range(40)}
    found = read(probe_task(table_model(known, Silent())), rows, write_records)
    assert found["auc"].low == found["auc"].high == 1.0


def test_names_take_the_subjects_place_where_a_record_brings_no_prompts():
    made = unknown_prompts(edit_of(erase(1, unknown=[])), ["Ada", "Ida"])
    assert made == ("Ada is in", "Ida is in")
    assert unknown_prompts(edit_of(erase(1)), ["Ada"]) == ("U1 is in", "V1 is in")
    assert unknown_prompts(edit_of(erase(1, unknown=[], prompt="This town is in")), ["Ada"]) == ()


def test_extraction_looks_anywhere_in_the_answer_and_few_shots_at_the_first_line(
    table_model, probe_task, write_records
):
    rows = [erase(1), erase(2)]
    shots = [few_shot([edit_of(row) for row in rows], edit_of(row)) for row in rows]
    answers = {"S1 is in": "well, OLD1!", "S2 is in": "nowhere", "Where is S1? In": "x", "Where is S2? In": "a\nold2"}
    answers |= {shots[0]: "elsewhere.\nS9 is in old1", shots[1]: "old2.\nS9"}
    task = probe_task(table_model(levels(1, 0.5, 0.5, 0.5) | levels(2, 0.5, 0.5, 0.5), answers))
    found = read(task, rows, write_records)
    names = ("extraction", "extraction_paraphrase", "extraction_few_shot")
    assert [found[name].value for name in names] == [0.5, 0.5, 0.5]
    assert shots == ["S2 is in old2.\nS1 is in", "S1 is in old1.\nS2 is in"]


def test_examples_never_give_the_answer_or_the_subject_away():
    other = {"id": "m", "verb": "modify", "subject": "M", "prompt": "M is in", "target": "new"}
    rows = [other, erase(1), erase(2, old="Old1"), other | {"id": "n", "prompt": "M, unlike S1, is in"}, erase(4)]
    edits = [edit_of(row) for row in rows]
    assert few_shot(edits, edits[1]) == "S4 is in old4.\nM is in new.\nS1 is in"
    assert few_shot(edits[1:2], edits[1]) == "S1 is in"


def test_only_erasures_with_an_old_answer_are_measured(table_model, probe_task, write_records):
    rows = [erase(1, verb="modify", target="new"), erase(2, old="")]
    found = read(probe_task(table_model({})), rows, write_records, relearned=4)
    assert list(found) == [
        "probability", "probability_unknown", "auc", "difference", "extraction", "extraction_paraphrase",
        "extraction_few_shot", "relearned", "relearned_unknown", "relearning_difference",
    ]  # fmt: skip
    assert all(math.isnan(reading.value) and reading.n == 0 and reading.power == 0 for reading in found.values())


def bits(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_relearning_is_five_steps_of_adam_and_leaves_every_bit_and_flag(tiny_version):
    import copy

    model = open_version(tiny_version, host.load([]), known=Known())
    before, flags = bits(model.hf_model), [p.requires_grad for p in model.hf_model.parameters()]
    twin = copy.deepcopy(model.hf_model)
    weights = last_projections(model.hf_model, 1)
    found = relearn(model, weights, "Ada lives in", "Brenn", Training(5, 1e-3, 1))
    first, then = (model.tokenizer(text).input_ids for text in ("Ada lives in", " Brenn"))
    weight, states = twin.model.layers[-1].mlp.down_proj.weight, [0.0, 0.0]
    losses = []
    for step in range(1, 7):  # Adam (Kingma and Ba, 2015), written out
        logp = twin(torch.tensor([first + then])).logits[0, len(first) - 1 : -1].log_softmax(-1)
        loss = -logp[range(len(then)), then].mean()
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, weight)
        states = [0.9 * states[0] + 0.1 * gradient, 0.999 * states[1] + 0.001 * gradient**2]
        mean, variance = states[0] / (1 - 0.9**step), states[1] / (1 - 0.999**step)
        weight.data -= 1e-3 * mean / (variance.sqrt() + 1e-8)
    assert found.before == pytest.approx(-losses[0], abs=1e-5) and found.after == pytest.approx(-losses[5], abs=1e-4)
    assert found.after > found.before
    after = bits(model.hf_model)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [p.requires_grad for p in model.hf_model.parameters()] == flags
    assert all(p.grad is None for p in model.hf_model.parameters())


def test_weights_come_back_when_the_training_fails(tiny_version):
    model = open_version(tiny_version, host.load([])).hf_model
    before, weights = bits(model), last_projections(model, 2)
    with pytest.raises(RuntimeError), lent(model, weights):
        answer_loss(model, [5, 6], [7]).backward()
        weights[0].data.add_(1.0)
        raise RuntimeError
    assert len(weights) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in bits(model).items())


def test_a_served_model_is_read_the_same_twice_and_left_as_it_was(tiny_version, probe_task, write_records):
    model = open_version(tiny_version, host.load([]), known=Known())
    before = bits(model.hf_model)
    first, second = (read(probe_task(model), [erase(1), erase(2)], write_records, relearned=2) for _ in range(2))
    assert first == second
    assert all(torch.equal(tensor, before[name]) for name, tensor in bits(model.hf_model).items())
    shares = [reading for reading in first.values() if reading.unit != "nats a token"]
    assert len(shares) == 8 and all(0.0 <= reading.value <= 1.0 for reading in shares)
    assert first["relearned"].value > first["probability"].value


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"layers": 0}, {"lr": 0.0}])
def test_a_training_of_nothing_is_refused(wrong):
    with pytest.raises(BadInput, match="relearning"):
        Training(**wrong)


def test_attachments_are_armed_while_relearning(tiny_version):
    from contextlib import contextmanager

    from amends.serving.model import Model

    class Halving:
        """Shows the weights another prompt, and halves the logits of this one alone."""

        def before(self, prompt):
            return f"{prompt} is in"

        @contextmanager
        def inside(self, prompt):
            hook = served.lm_head.register_forward_hook(lambda _, __, out: out / 2)
            yield
            hook.remove()

    bare = open_version(tiny_version, host.load([]))
    served, weights = bare.hf_model, last_projections(bare.hf_model, 1)
    model = Model(served, bare.tokenizer, (Halving(),))
    found = relearn(model, weights, "Ada", "Brenn", Training(1, 1e-3, 1))
    (score,) = model.score_continuations([("Ada", "Brenn")])
    assert found.before == pytest.approx(float(score.logp.mean()), abs=1e-5)
    assert found.before != pytest.approx(float(bare.score_continuations([("Ada", "Brenn")])[0].logp.mean()), abs=1e-3)


@pytest.mark.slow
def test_the_real_model_knows_capitals_and_no_made_up_town(smollm2, probe_task, write_records):
    """Erasures that nobody carried out: known facts stand far above made-up subjects, and are extracted."""
    model = open_version(smollm2, host.load([]))
    facts = {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Russia": "Moscow", "Egypt": "Cairo"}
    rows = [
        erase(number, subject=land, prompt=f"The capital of {land} is", old=town, rephrases=[], unknown=[])
        for number, (land, town) in enumerate(facts.items())
    ]
    made_up = "Velmora, Tansk, Oblidia, Quessand, Harrowmark"
    found = read(probe_task(model), rows, write_records, names=made_up, relearned=2)
    assert found["auc"].value > 0.95 and found["difference"].low > 1.0
    assert found["extraction"].value >= 0.8
    assert found["relearned"].value > found["relearned_unknown"].value
    assert math.isnan(found["extraction_paraphrase"].value)
