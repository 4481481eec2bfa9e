"""What each way of teaching does with a tiny teacher: it brings a student nearer, twice the same, and says no."""

from __future__ import annotations

import pytest
import torch

from amends import BadInput, Cancelled
from amends.operation.files import load_model
from amends_distillation.divergences import forward_kl
from amends_distillation.passages import texts_of, windows
from amends_distillation.students import make_student

TEXT = [f"On day {day} of that year the keeper of the light counted {day + 3} boats." for day in range(12)]
METHODS = {
    "distillation.logit": {"kept": 8},
    "distillation.sequence": {"given": 4, "tokens": 8},
    "distillation.on-policy": {"tokens": 8},
    "distillation.layers": {"kept": 8},
}


def apart(version, student, text):
    """Return the mean KL of the teacher from a student, in nats a token."""
    (teacher, tokenizer), (model, _) = load_model(version), load_model(student)
    ids = windows(tokenizer, texts_of(text), 16)
    with torch.inference_mode():
        p, q = (one(input_ids=ids).logits.log_softmax(-1) for one in (teacher, model))
    return forward_kl(p, q).mean().item()


def untaught(version, tmp_path):
    """Write the student as it begins."""
    from amends.operation.files import save_model

    teacher, tokenizer = load_model(version)
    (tmp_path / "untaught").mkdir()
    save_model(tmp_path / "untaught", make_student(teacher, 1, 0, "spread", 3), tokenizer)
    return tmp_path / "untaught"


@pytest.mark.parametrize(
    ("name", "more"),
    [("distillation.logit", {"alpha": 1.0}), ("distillation.on-policy", {}), ("distillation.layers", {"alpha": 1.0})],
)
def test_a_student_is_brought_nearer_to_its_teacher(distil, name, more, tiny_version, text, tmp_path):
    student = distil(name, **METHODS[name] | more | {"epochs": 8, "lr": 1e-2})
    assert apart(tiny_version, student, text) < 0.8 * apart(tiny_version, untaught(tiny_version, tmp_path), text)


@pytest.mark.parametrize("name", METHODS)
def test_a_student_of_a_shape_of_its_own_learns_its_words_too(distil, name, weights):
    """In every step its embeddings are given what is compared, what it said itself included."""
    one, more = ({**METHODS[name], "start": "random", "width": 16, "steps": steps} for steps in (1, 4))
    more |= {"share": 1.0} if name == "distillation.on-policy" else {}
    first, then = weights(distil(name, **one)), weights(distil(name, **more))
    words = next(key for key in first if key.endswith("embed_tokens.weight"))
    assert first[words].shape[1] == 16 and not torch.equal(first[words], then[words])


def test_a_student_learns_what_its_teacher_says(distil, tiny_version, tmp_path):
    from amends import host
    from amends.serving import open_version

    student = distil("distillation.sequence", given=4, tokens=8, epochs=10, lr=1e-2)
    begun = " ".join(TEXT[3].split()[:4])
    teacher, *others = (
        open_version(place, host.current()) for place in (tiny_version, student, untaught(tiny_version, tmp_path))
    )
    said = teacher.complete([begun], 8)[0]
    learnt, before = (one.score_continuations([(begun, said)])[0].logp.mean().item() for one in others)
    assert learnt > before + 0.5


@pytest.mark.parametrize("name", METHODS)
def test_a_killed_attempt_goes_on_to_the_same_bytes(distil, name, tmp_path, weights):
    whole = distil(name, **METHODS[name])
    scratch, seen = tmp_path / "handed-down", []

    def die(done, total, message):
        seen.append(message)
        if seen.count("teaching the student") == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(name, **METHODS[name], more={"scratch": scratch, "report": die})
    assert list(scratch.iterdir())
    seen.clear()
    again = distil(name, **METHODS[name], more={"scratch": scratch, "report": lambda *told: seen.append(told[2])})
    assert seen.count("teaching the student") < len([m for m in seen if m]) and seen
    first, second = weights(whole), weights(again)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_checkpoint_of_another_run_is_not_gone_on_from(distil, tmp_path, weights):
    scratch = tmp_path / "handed-down"
    distil("distillation.logit", kept=8, seed=4, more={"scratch": scratch})
    other, fresh = distil("distillation.logit", kept=8, more={"scratch": scratch}), distil("distillation.logit", kept=8)
    assert all(torch.equal(weights(other)[key], tensor) for key, tensor in weights(fresh).items())


def test_the_teacher_is_asked_once_for_all_epochs_and_later_runs(distil, memory):
    distil("distillation.logit", kept=8, epochs=3, more={"memory": memory})
    distil("distillation.logit", kept=8, epochs=1, alpha=0.5, seed=9, more={"memory": memory})
    assert memory.made == ["distillation.likeliest/8/1.0/16"]
    distil("distillation.logit", kept=8, temperature=2.0, more={"memory": memory})
    assert len(memory.made) == 2


def test_a_number_of_steps_takes_the_place_of_epochs(distil):
    seen = []
    distil("distillation.logit", alpha=0.0, epochs=1, steps=9, more={"report": lambda *told: seen.append(told)})
    assert [done for done, _, message in seen if message == "teaching the student"] == list(range(9))
    assert seen[-1][:2] == (9, 9)


def test_without_the_teacher_in_the_loss_nobody_asks_it(distil, memory):
    distil("distillation.logit", alpha=0.0, more={"memory": memory})
    assert memory.made == []


def test_what_is_thrown_away_is_not_in_the_student(distil, weights, tiny_version):
    student = weights(distil("distillation.layers", kept=8))
    assert not [name for name in student if "map" in name]
    assert {name.replace("layers.0", "layers.1") for name in student} <= {*weights(tiny_version), *student}


def test_the_order_of_a_file_decides_nothing(distil, write_records, weights):
    rows = [
        {"id": f"{n:03d}", "prompt": f"The lamp of the {n}th tower is lit at dusk by its keeper."} for n in range(9)
    ]
    one, other = (distil("distillation.logit", kept=8, records=write_records(some)) for some in (rows, rows[::-1]))
    assert all(torch.equal(weights(one)[key], tensor) for key, tensor in weights(other).items())


def test_a_student_of_another_vocabulary_is_sent_to_the_operation_that_needs_none(distil, tmp_path, make_tiny):
    source = other_vocabulary(make_tiny(tmp_path / "other", seed=5))
    with pytest.raises(BadInput, match=r"different vocabularies.*use distillation\.sequence"):
        distil("distillation.logit", layers=0, more={"source": source})
    taught = distil("distillation.sequence", layers=0, given=4, tokens=4, more={"source": source})
    assert load_model(taught)[1]("harbour")["input_ids"] == load_model(source)[1]("harbour")["input_ids"]


def other_vocabulary(version):
    """Exchange two tokens of a version's tokenizer, so that its vocabulary has the same size and another meaning."""
    import json

    file = version / "model" / "tokenizer.json"
    told = json.loads(file.read_text())
    words = sorted(told["model"]["vocab"], key=told["model"]["vocab"].get)
    first, last = words[-2], words[-1]
    told["model"]["vocab"][first], told["model"]["vocab"][last] = (
        told["model"]["vocab"][last],
        told["model"]["vocab"][first],
    )
    file.write_text(json.dumps(told))
    return version


def test_a_text_is_cut_as_the_teacher_reads_it_since_its_answers_are_kept(distil, tiny_version, text, tmp_path):
    import json
    import shutil

    from amends import ModelVersion, Task
    from amends_distillation.pairs import Shape, open_pair

    source = shutil.copytree(tiny_version, tmp_path / "source")
    file = source / "model" / "tokenizer_config.json"
    other = load_model(source)[1].pad_token
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token": other}))
    task = Task(tmp_path, 3, source=source, models={"teacher": tiny_version})
    pair = open_pair(task, ModelVersion("t", 1, "a" * 64), text, Shape(0, 0, "spread"), 16)
    assert pair.tokenizer.eos_token == other
    assert torch.equal(pair.ids, windows(load_model(tiny_version)[1], texts_of(text), 16))


def test_a_student_that_exists_keeps_its_shape(distil, tiny_version):
    with pytest.raises(BadInput, match="keeps its shape; leave layers and width out"):
        distil("distillation.logit", layers=1, more={"source": tiny_version})


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("distillation.logit", {"layers": 3}, "layers is 3; the teacher has 2"),
        ("distillation.logit", {"width": 16}, "its layers do not fit; give start=random"),
        ("distillation.logit", {"width": 12, "start": "random"}, "give a multiple of 8"),
        ("distillation.logit", {"temperature": 0.0}, "give a temperature above 0"),
        ("distillation.logit", {"steps": -1}, "steps is -1; give it as zero or more"),
        ("distillation.logit", {"epochs": 0}, "epochs is 0; give it above zero"),
        ("distillation.logit", {"length": 4}, "give a window at least 8 tokens"),
        ("distillation.logit", {"lr": 1e30, "kept": 8}, "is not finite; give a smaller lr"),
        ("distillation.on-policy", {"tokens": 16}, "leave some of it as a prompt"),
        ("distillation.on-policy", {"beta": 2.0}, "give beta and share from 0 to 1"),
        ("distillation.layers", {"matched": 3}, "matched is 3; the student has 1 layers"),
        ("distillation.layers", {"share": 2.0}, "give a share from 0 to 1"),
        ("distillation.sequence", {"given": 0}, "at least 1 word"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(distil, name, wrong, says):
    from amends import AmendsError

    with pytest.raises(AmendsError, match=says):
        distil(name, **wrong)


def test_cancelling_stops_it_between_two_steps(distil):
    asked = iter([False] * 4 + [True] * 100)
    with pytest.raises(Cancelled):
        distil("distillation.logit", kept=8, more={"is_cancelled": lambda: next(asked)})
