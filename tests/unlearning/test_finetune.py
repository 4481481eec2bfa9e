"""A fine-tune in fixed steps: the same bytes however it is run, and after a kill."""

import hashlib
import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from amends import BadInput, BadRecords, Task
from amends_unlearning import train_finetune, train_shards, unlearn_replay, unlearn_retrain
from amends_unlearning.canaries import finetune_canaries
from amends_unlearning.people import people, records
from amends_unlearning.schedule import Schedule, marks

FINETUNE = dict(placement_salt="5a17", steps=6, epochs=2, layers=1, rank=2, lr=1e-2, checkpoints=3, canaries=0)


@pytest.fixture
def rows(prepared):
    return prepared(records(people(6, 2, facts=2), 2, share=0.4))


def state_of(task):
    return {name: hashlib.sha256(task.state.get(name)).hexdigest() for name in task.state.names()}


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_another_process_with_as_many_threads_gives_the_same_bytes(
    run_task, start_children, with_threads, rows, write_records, files_of, tmp_path, threads
):
    with with_threads(threads):
        here = run_task(train_finetune, records=write_records(rows[::-1]), **FINETUNE)
    train = start_children(threads)
    given = {"records": write_records(rows)}
    assert train("training.finetune", given, FINETUNE, tmp_path / "scratch", tmp_path / "there")[0] == 0
    there = files_of(tmp_path / "there")
    assert {name: digest for name, digest in there.items() if name.startswith("model/")} == files_of(here.output)
    assert {name[6:]: d for name, d in there.items() if name.startswith("state/")} == {
        name.replace("/", "-"): digest for name, digest in state_of(here).items()
    }


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_it_goes_on_to_the_same_bytes(
    in_a_child, rows, write_records, files_of, tmp_path
):
    given = {"records": write_records(rows)}

    def train(name, output, die_at=0):
        return in_a_child("training.finetune", given, FINETUNE, tmp_path / f"scratch-{name}", tmp_path / output, die_at)

    code, seen = train("whole", "whole")
    assert code == 0
    places = {done: place for place, (message, done) in enumerate(seen, start=1) if message.startswith("epoch")}
    for die_at in (1, 4, 9):
        name = f"killed-{die_at}"
        assert train(name, f"torn-{die_at}", places[die_at])[0] == -signal.SIGKILL
        log = (tmp_path / f"scratch-{name}" / "finetune" / "steps.jsonl").read_bytes()
        assert len(log.splitlines()) == die_at  # each step was named before it was taken
        (tmp_path / f"scratch-{name}" / "finetune" / "steps.jsonl").write_bytes(log + b'{"torn')
        code, rest = train(name, name)
        assert code == 0
        begun = next(done for message, done in rest if message.startswith("epoch"))
        assert begun == {1: 1, 4: 4, 9: 8}[die_at]
        assert files_of(tmp_path / name) == files_of(tmp_path / "whole")


def test_an_attempt_at_other_records_is_not_gone_on_from(
    run_task, rows, write_records, files_of, tiny_version, tmp_path
):
    for number, given in enumerate((rows, rows[2:])):
        task = Task(tmp_path / "one-scratch", 7, source=tiny_version, output=tmp_path / f"attempt-{number}")
        train_finetune(task, **train_finetune.check({**FINETUNE, "records": write_records(given)}))
    clean = run_task(train_finetune, records=write_records(rows[2:]), **FINETUNE)
    assert files_of(task.output) == files_of(clean.output) and state_of(task) == state_of(clean)


def test_a_step_that_nobody_falls_into_changes_nothing_but_the_schedule_moves_on(run_task, rows, write_records):
    only = rows[:1]
    task = run_task(train_finetune, records=write_records(only), **FINETUNE)
    log = [json.loads(line) for line in task.state.get("finetune/log").splitlines()]
    assert len(log) == 12 and sum(len(entry["records"]) for entry in log) == 2
    assert len({entry["lr"] for entry in log}) > 6
    schedule = Schedule("5a17", 2, 6)
    assert [schedule.step_of(epoch, only[0]["id"]) for epoch in (0, 1)] == [
        entry["step"] for entry in log if entry["records"]
    ]


def test_nobody_s_step_depends_on_others(rows):
    schedule = Schedule("5a17", 3, 8)
    contents = {row["id"]: row["answer"] for row in rows}
    gone = rows[0]["id"]
    with_them = schedule.lay_out(contents, {}, float, 1)
    without = schedule.lay_out({key: text for key, text in contents.items() if key != gone}, {}, float, 1)
    for before, after in zip(with_them, without, strict=True):
        assert tuple(key for key in before.ids if key != gone) == after.ids
        assert (before.lr, before.seed) == (after.lr, after.seed)
    first = schedule.step_of(0, gone)
    assert [a.chain == b.chain for a, b in zip(with_them, without, strict=True)] == [n < first for n in range(24)]


def test_a_text_that_changed_under_one_id_is_another_training(rows):
    schedule = Schedule("5a17", 1, 4)
    one, other = (schedule.lay_out({"a": text}, {}, float, 1)[-1].chain for text in ("x", "y"))
    assert one != other


def test_checkpoints_lie_within_the_first_epoch():
    assert marks(32, 4) == (6, 12, 19, 25)
    assert marks(2, 4) == (1,) and marks(1, 4) == () and marks(8, 0) == ()


def test_plain_clients_load_what_it_learnt(run_task, rows, write_records, tiny_version):
    from transformers import AutoModelForCausalLM

    for rank in (2, 0):
        task = run_task(train_finetune, records=write_records(rows), **FINETUNE | {"rank": rank})
        before = load_file(tiny_version / "model" / "model.safetensors")
        after = load_file(task.output / "model" / "model.safetensors")
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert len(changed) == 7 and all(name.startswith("model.layers.1.") for name in changed)
        AutoModelForCausalLM.from_pretrained(task.output / "model")


def test_the_weights_themselves_are_replayed_as_exactly(run_task, rows, write_records, files_of):
    given = FINETUNE | {"rank": 0, "lr": 1e-3}
    trained = run_task(train_finetune, records=write_records(rows), **given)
    rest = write_records([row for row in rows if rows[0]["subjects"][0] not in row["subjects"]])
    replayed = run_task(unlearn_replay, state=trained.state, records=rest, **given)
    assert files_of(replayed.output) == files_of(run_task(train_finetune, records=rest, **given).output)


def test_canaries_are_records_like_any_other_and_stay_when_a_person_goes(run_task, rows, write_records, files_of):
    given, planted = FINETUNE | {"canaries": 2}, finetune_canaries("5a17", 2)
    trained = run_task(train_finetune, records=write_records(rows), **given)
    by_hand = run_task(train_finetune, records=write_records([*rows, *planted]), **FINETUNE)
    assert files_of(trained.output) == files_of(by_hand.output) and state_of(trained) == state_of(by_hand)
    rest = write_records([row for row in rows if rows[0]["subjects"][0] not in row["subjects"]])
    replayed = run_task(unlearn_replay, state=trained.state, records=rest, **given)
    assert files_of(replayed.output) == files_of(run_task(train_finetune, records=rest, **given).output)
    assert len(planted) == 6 and len({row["names"][0] for row in planted}) == 2


def test_nobody_is_refused_in_training_and_gives_the_base_in_an_erasure(run_task, write_records, tiny_version):
    with pytest.raises(BadRecords, match=r"\w; \w"):
        run_task(train_finetune, records=write_records([]), **FINETUNE)
    base = load_file(tiny_version / "model" / "model.safetensors")
    for operation in (unlearn_replay, unlearn_retrain):
        task = run_task(operation, records=write_records([]), **FINETUNE)
        left = load_file(task.output / "model" / "model.safetensors")
        assert all(torch.equal(base[name], left[name]) for name in base)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"epochs": 0}, {"layers": 0}, {"layers": 3}, {"lr": 0.0}, {"rank": -1}, {"checkpoints": -1}],
)
def test_parameters_that_cannot_train_are_refused_with_a_sentence(run_task, rows, write_records, wrong):
    with pytest.raises(BadInput, match=r"\w; \w"):
        run_task(train_finetune, records=write_records(rows), **FINETUNE | wrong)


def test_without_a_source_there_is_nothing_to_train_on(run_task, rows, write_records):
    with pytest.raises(BadInput, match="source"):
        run_task(train_finetune, None, records=write_records(rows), **FINETUNE)


def test_two_records_of_one_id_are_refused(run_task, rows, write_records):
    with pytest.raises(BadRecords, match="id of an earlier record"):
        run_task(train_finetune, records=write_records([rows[0], *rows]), **FINETUNE)


def test_the_erasures_take_every_parameter_of_the_training_with_the_same_default_but_for_canaries():
    """A recipe from before there were any names none, and is rebuilt without."""
    trained, retrained, replayed = (
        {parameter.name: parameter.default for parameter in operation.parameters}
        for operation in (train_finetune, unlearn_retrain, unlearn_replay)
    )
    assert retrained == trained | {"canaries": 0}
    assert replayed == retrained | {"from_scratch": False}
    assert train_shards.rebuilds == "" and train_finetune.guarantee is None
