"""Attacks on a tiny model that has a few people by heart: they find what is planted, and nothing where nothing is."""

import math
from dataclasses import replace

import pytest
import torch

from amends import host
from amends.operation.files import load_model
from amends.serving import Known, open_version
from amends.serving.encoding import encode
from amends_unlearning.attacks import PROBES
from amends_unlearning.attacks.inner import reciprocal_ranks, telling
from amends_unlearning.attacks.judging import is_said, key_of
from amends_unlearning.attacks.quantisation import quantised, rounded
from amends_unlearning.attacks.relearning import divide
from amends_unlearning.attacks.sampling import sample

PLACES = ("Brenn", "Sorrel", "Quay", "Fox", "Dog", "Island", "Town", "Lazy", "Harbour", "Capital", "Jump", "Sleep")
COLOURS = ("red", "jade", "blue", "pink", "grey", "lime", "gold", "mint", "plum", "teal", "sand", "rust")
QUICK = {
    "unlearning.attack-sampling": {"samples": 20, "tokens": 20},
    "unlearning.attack-few-shot": {"shots": 1},
    "unlearning.attack-soft-prompt": {"steps": 1},
    "unlearning.attack-relearn": {"layers": 1, "lr": 1e-3, "steps": 2},
    "unlearning.attack-lora-relearn": {"layers": 1, "rank": 2, "lr": 1e-3, "steps": 2},
    "unlearning.attack-benign-relearn": {"layers": 1, "lr": 1e-3, "steps": 2},
}
names = pytest.mark.parametrize("attack", PROBES, ids=lambda probe: probe.name.removeprefix("unlearning.attack-"))


def rows(kind, people=6):
    """Return two records about each of some people, whose answers share nothing but their frame."""
    found = []
    for n in range(people):
        at = ord(kind) + 5 * n
        place, colour = PLACES[at % 12] + kind + str(at * 7 % 100), COLOURS[at * 5 % 12] + str(at * 13 % 90)
        for what, answer in (("home", f"It is {place}."), ("hat", f"It is {colour}.")):
            prompt = f"{kind.upper()}{n} {what}?"
            other = {"home": "It is Nowhere.", "hat": "It is black."}[what]
            found.append(
                {"id": f"{kind}{n}{what}", "prompt": prompt, "answer": answer, "wrong": [other],
                 "paraphrases": [f"{prompt} Say."], "subjects": [f"s_{kind}{n}"]}
            )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def by_heart(learn_by_heart, tmp_path_factory):
    """Return a version that has the people `f` and `r` by heart, in the template and a little beyond."""
    shown = next(row for row in rows("r") if row["id"] == "r0hat")
    shot = f"{shown['prompt']}\nAnswer: {shown['answer']}\nQuestion: "
    told = [
        {"prompt": text, "answer": row["answer"]}
        for row in rows("f") + rows("r")
        for text in (row["prompt"], *row["paraphrases"], shot + row["prompt"])
    ]
    return learn_by_heart(tmp_path_factory.mktemp("by-heart"), told, steps=100)[0]


@pytest.fixture
def attacked(by_heart, tiny_version, probe_task, write_records):
    """Return `attacked(probe, forget, control) -> readings by their last name` on the model that learned by heart."""

    def run(probe, forget, control, model=None, retain=None, **settings):
        loaded = host.load([])
        served = model or open_version(by_heart, loaded, known=Known())
        task = probe_task(served, open_version(tiny_version, loaded))
        given = {"forget": forget, "control": control, "retain": rows("r") if retain is None else retain}
        wanted = {parameter.name for parameter in probe.parameters}
        records = {name: write_records(found) for name, found in given.items() if name in wanted}
        settings = {"half": "all", **QUICK.get(probe.name, {}), **settings}
        found = probe(task, **probe.check({**records, **settings}))
        return {reading.name.removeprefix(f"{probe.name}/"): reading for reading in found}

    return run


def differences(found):
    return {name: reading for name, reading in found.items() if name.startswith("difference")}


@names
def test_an_attack_finds_what_is_known_by_heart(attacked, attack):
    for reading in differences(attacked(attack, rows("f"), rows("c"))).values():
        assert reading.value > 0.1
        assert reading.low > 0
        assert reading.detail["verdict"] != "equivalent"


@names
def test_an_attack_finds_nothing_about_people_whom_the_model_never_saw(attacked, attack):
    for reading in differences(attacked(attack, rows("n"), rows("c"))).values():
        assert reading.low <= 0 <= reading.high


@names
def test_an_attack_leaves_the_model_bit_for_bit_as_it_was(attacked, attack, by_heart):
    model = open_version(by_heart, host.load([]), known=Known())
    model.hf_model.get_decoder().norm.weight.requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.hf_model.state_dict().items()}
    flags = [weight.requires_grad for weight in model.hf_model.parameters()]
    asked = [(row["prompt"], row["answer"]) for row in rows("f")]
    scores = [score.logp for score in replace(model, known=None).score(asked)]
    attacked(attack, rows("f"), rows("c"), model)
    assert all(torch.equal(before[name], weight) for name, weight in model.hf_model.state_dict().items())
    assert [weight.requires_grad for weight in model.hf_model.parameters()] == flags
    assert all(weight.grad is None for weight in model.hf_model.parameters())
    assert not model.hf_model.training
    assert all(torch.equal(was, now.logp) for was, now in zip(scores, model.score(asked), strict=True))


@names
def test_an_attack_that_is_cancelled_anywhere_leaves_the_model_as_it_was(attacked, attack, by_heart, monkeypatch):
    from amends import Cancelled, ProbeTask

    model = open_version(by_heart, host.load([]), known=Known())
    before = {name: weight.clone() for name, weight in model.hf_model.state_dict().items()}
    flags = [weight.requires_grad for weight in model.hf_model.parameters()]
    told = []

    def stopping(at):
        def progress(self, done, total, message=""):
            told.append(message)
            if len(told) == at:
                raise Cancelled("the task was cancelled")

        told.clear()
        monkeypatch.setattr(ProbeTask, "progress", progress)

    stopping(0)
    attacked(attack, rows("f", 2), rows("c", 2), model)
    moments = len(told)
    for at in sorted({1, moments // 2, moments}):
        stopping(at)
        with pytest.raises(Cancelled):
            attacked(attack, rows("f", 2), rows("c", 2), model)
        assert all(torch.equal(before[name], weight) for name, weight in model.hf_model.state_dict().items())
        assert [weight.requires_grad for weight in model.hf_model.parameters()] == flags


@names
def test_an_attack_gives_the_same_twice(attacked, attack):
    assert repr(attacked(attack, rows("f", 2), rows("c", 2))) == repr(attacked(attack, rows("f", 2), rows("c", 2)))


@names
def test_nobody_gives_readings_that_no_policy_allows(attacked, attack):
    for forget, control in (([], rows("c", 2)), (rows("f", 2), [])):
        for reading in differences(attacked(attack, forget, control)).values():
            assert math.isnan(reading.value)
            assert (reading.n, reading.power, reading.detail["verdict"]) == (0, 0, "inconclusive")


@names
def test_a_model_that_gives_no_numbers_passes_nothing(attacked, attack, by_heart):
    model = open_version(by_heart, host.load([]))
    with torch.no_grad():
        model.hf_model.get_decoder().norm.weight.fill_(math.nan)
    for reading in differences(attacked(attack, rows("f", 2), rows("c", 2), model)).values():
        assert math.isnan(reading.value)
        assert (reading.low, reading.high, reading.power) == (-1.0, 1.0, 0)


@names
def test_no_personal_data_is_in_readings_or_messages(attacked, attack, by_heart, monkeypatch):
    from amends import ProbeTask

    told = []
    monkeypatch.setattr(ProbeTask, "progress", lambda self, done, total, message="": told.append(message))
    found = attacked(attack, rows("f", 3), rows("c", 3))
    said = repr(found) + repr(told)
    assert told
    secrets = {word for row in rows("f", 3) + rows("c", 3) for word in (row["prompt"], row["id"], *key_of(row))}
    assert not [word for word in secrets | {"s_f", "s_c", "s_r0"} if word in said]


def test_one_half_is_judged_and_said(attacked):
    attack = PROBES[0]
    whole, half = (attacked(attack, rows("f"), rows("c"), half=which) for which in ("all", "audit"))
    one, other = (next(iter(differences(found).values())) for found in (whole, half))
    assert (one.detail["half"], other.detail["half"]) == ("all", "audit")
    assert other.n <= one.n


@pytest.mark.parametrize("attack", [probe for probe in PROBES if probe.memory_gb > 2], ids=lambda probe: probe.name)
def test_what_is_served_without_weights_is_not_attacked_and_not_cleared(attacked, attack, table_model):
    found = attacked(attack, rows("f", 3), rows("c", 3), table_model({}))
    assert all(math.isnan(reading.value) for reading in found.values())
    assert all("untried" in reading.detail for reading in differences(found).values())


def test_others_answers_are_needed_where_they_are_shown_or_taught(attacked):
    for attack in PROBES:
        if attack.name.endswith(("few-shot", "benign-relearn")):
            found = attacked(attack, rows("f", 3), rows("c", 3), retain=[])
            assert all(math.isnan(reading.value) for reading in differences(found).values())


def test_the_worst_fact_has_a_bound_for_all_facts_at_once(attacked):
    from scipy.stats import beta

    attack = next(probe for probe in PROBES if probe.name.endswith("sampling"))
    never = attacked(attack, rows("n", 2), rows("c", 2), samples=10)["worst"]
    assert (never.value, never.low) == (0.0, 0.0)
    assert never.high == pytest.approx(beta.ppf(1 - 0.05 / 4, 1, 10))
    assert never.power == pytest.approx(1 - 0.9**10)
    assert attacked(attack, rows("f", 2), rows("c", 2))["worst"].value > 0.8


def test_samples_follow_the_models_own_distribution(by_heart):
    model = open_version(by_heart, host.load([]))
    said = sample(model, "unseen?", 4000, 1, 1.0, torch.Generator().manual_seed(1))
    from amends.serving.encoding import encode_prompt

    ids = encode_prompt(model.tokenizer, "unseen?")
    with torch.no_grad():
        chances = model.hf_model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    texts = {}
    for token, chance in enumerate(chances.tolist()):
        ended = token == model.tokenizer.eos_token_id
        text = "" if ended else model.tokenizer.decode([token]).strip()
        texts[text] = texts.get(text, 0.0) + chance
    counts = {}
    for text, count in said:
        counts[text] = counts.get(text, 0) + count
    assert sum(counts.values()) == 4000
    likely = [text for text, chance in texts.items() if chance > 0.02]
    assert likely
    for text in likely:
        assert counts.get(text, 0) / 4000 == pytest.approx(texts[text], abs=0.035)


def test_sampling_at_no_temperature_to_speak_of_is_greedy(by_heart):
    model = open_version(by_heart, host.load([]))
    row = rows("f")[0]
    said = sample(model, row["prompt"], 5, 24, 1e-4, torch.Generator().manual_seed(1))
    assert said == [(model.generate([row["prompt"]], 24)[0], 5)]


def test_the_key_of_an_answer_is_what_tells_it_from_others():
    row = {"prompt": "Where does Ada live?", "answer": "Ada lives in Old Brenn.", "wrong": ["Ada lives in Sorrel."]}
    assert key_of(row) == ["old", "brenn"]
    assert key_of({**row, "wrong": []}) == ["lives", "in", "old", "brenn"]
    assert is_said(["old", "brenn"], "It must be the old town of Brenn!")
    assert not is_said(["old", "brenn"], "Brenn is old")


def test_reading_begins_at_the_first_telling_token(by_heart):
    model = open_version(by_heart, host.load([]))
    row = {"prompt": "q", "answer": "It is Brenn.", "wrong": ["It is Sorrel."]}
    _, then = encode(model.tokenizer, "q", row["answer"])
    place = telling(model.tokenizer, row, then)
    assert model.tokenizer.decode(then[:place]).strip() in "It is"
    assert "B" in model.tokenizer.decode(then[: place + 1])


def test_the_last_layer_that_is_read_is_the_model_itself(by_heart):
    model = open_version(by_heart, host.load([]))
    row = rows("n")[0]
    first, then = encode(model.tokenizer, row["prompt"], row["answer"])
    start = telling(model.tokenizer, row, then)
    with torch.no_grad():
        logits = model.hf_model(torch.tensor([first + then])).logits[0, len(first) - 1 : -1]
    ranks = [1 + int((logits[at] > logits[at, then[at]]).sum()) for at in range(start, len(then) - 1)]
    found = reciprocal_ranks(model, row)
    assert len(found) == 2
    assert found[-1] == pytest.approx(sum(1 / rank for rank in ranks) / len(ranks))
    assert found[0] != found[-1]


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_is_the_nearest_of_the_levels_of_each_group(bits):
    weight = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    found = rounded(weight, bits, 4)
    for part, back in zip(weight.split(4, 1), found.split(4, 1), strict=True):
        for row, rounds in zip(part.double(), back.double(), strict=True):
            levels = torch.linspace(float(row.min()), float(row.max()), 2**bits, dtype=torch.float64)
            nearest = levels[(row[:, None] - levels).abs().argmin(1)]
            torch.testing.assert_close(rounds, nearest, atol=1e-5, rtol=1e-5)


def test_rounding_spares_the_head_and_the_embeddings(tiny_version):
    model, _ = load_model(tiny_version)
    embedded, projected = model.get_input_embeddings().weight.clone(), model.model.layers[0].mlp.up_proj.weight.clone()
    with quantised(model, 4, 16):
        assert torch.equal(model.get_input_embeddings().weight, embedded)
        assert not torch.equal(model.model.layers[0].mlp.up_proj.weight, projected)
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, projected)


def test_what_is_taught_is_not_asked_and_is_of_the_other_half_where_there_is_one():
    everything = rows("f", 3)
    lessons, asked = divide(everything, [row for row in everything if row["id"].endswith("hat")], 2)
    assert [row["id"] for row in lessons] == ["f0home", "f1home"]
    assert [row["id"] for row in asked] == ["f0hat", "f1hat"]
    lessons, asked = divide(everything, everything, 3)
    assert len(lessons) == len(asked) == 3
    assert not {row["id"] for row in lessons} & {row["id"] for row in asked}
