"""A recorded run of a plain Trainer, replayed without somebody, gives what the same script gives without them."""

import hashlib
import json
import signal

import pytest

from amends import BadInput, BadRecords
from amends_unlearning import TrainingRecorder
from amends_unlearning.people import people, records
from amends_unlearning.schedule import Schedule

STEPS, EPOCHS = 6, 2
SCHEDULE = Schedule("5a17", EPOCHS, STEPS)


@pytest.fixture
def rows(prepared):
    return prepared(records(people(6, 2, facts=2), 2, share=0.4))


@pytest.fixture
def script(tiny_version, tmp_path):
    """Return `script(rows, name, replay_from=None, **arguments)`: what a user's own script does, with a recorder."""
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainingArguments,
    )

    def run(rows, name, replay_from=None, stop=None, ids=None, dropout=0.1, steps=STEPS, is_recorded=True, **arguments):
        model = AutoModelForCausalLM.from_pretrained(tiny_version / "model", attention_dropout=dropout)
        tokenizer = AutoTokenizer.from_pretrained(tiny_version / "model")
        dataset = [dict(tokenizer(f"{row['prompt']} {row['answer']}")) for row in rows]
        settings = dict(
            output_dir=str(tmp_path / f"output-{name}"), num_train_epochs=EPOCHS, learning_rate=1e-3, seed=7,
            use_cpu=True, report_to=[], save_strategy="no", warmup_steps=2, disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**settings | arguments),
            train_dataset=dataset,
            eval_dataset=dataset,
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        )
        if not is_recorded:
            trainer.train()
            return trainer
        ids = [row["id"] for row in rows] if ids is None else ids
        recorder = TrainingRecorder(tmp_path / name, ids, salt="5a17", steps=steps, checkpoints=3)
        recorder.attach(trainer, replay_from=replay_from)
        trainer.taken = []
        ordinary = trainer.training_step

        def training_step(*given, **more):
            if len(trainer.taken) == stop:
                raise KeyboardInterrupt
            trainer.taken.append(recorder.sampler.step.number)
            return ordinary(*given, **more)

        trainer.training_step = training_step
        trainer.train()
        return trainer

    return run


def digest(trainer):
    weights = trainer.model.state_dict()
    return hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()


def first_step(rows, key):
    return min(SCHEDULE.step_of(0, row["id"]) for row in rows if key in row["subjects"])


def by_step(rows):
    return sorted({key for row in rows for key in row["subjects"]}, key=lambda key: first_step(rows, key))


def without(rows, *gone):
    return [row for row in rows if not set(gone) & set(row["subjects"])]


def recording(directory):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in directory.iterdir()}


def test_a_replayed_run_equals_one_that_never_had_them(script, rows, tmp_path):
    trained = script(rows, "trained")
    order = by_step(rows)
    for number, gone in enumerate((order[:1], order[-1:], order[1:3])):
        rest = without(rows, *gone)
        replayed = script(rest[::-1], f"replayed-{number}", replay_from=tmp_path / "trained")
        never_saw = script(rest, f"never-saw-{number}")
        assert digest(replayed) == digest(never_saw) != digest(trained)
        assert recording(tmp_path / f"replayed-{number}") == recording(tmp_path / f"never-saw-{number}")
        names = [SCHEDULE.name_of(row["id"]).encode() for row in rows if set(gone) & set(row["subjects"])]
        blobs = [file.read_bytes() for file in (tmp_path / f"replayed-{number}").iterdir()]
        assert not [name for name in names for blob in blobs if name in blob]
    assert len(set(never_saw.taken)) == len(never_saw.taken)


def test_a_replay_begins_at_the_last_checkpoint_before_the_person_came(script, rows, tmp_path):
    script(rows, "trained")
    last = by_step(rows)[-1]
    assert first_step(rows, last) >= 3
    replayed = script(without(rows, last), "replayed", replay_from=tmp_path / "trained")
    assert min(replayed.taken) >= max(mark for mark in (1, 3, 4) if mark <= first_step(rows, last))


@pytest.mark.parametrize(
    "changed", [{"lr_scheduler_kwargs": {"num_cycles": 2}}, {"neftune_noise_alpha": 5.0}, {"dropout": 0.2}], ids=str
)
def test_checkpoints_of_a_script_that_trained_otherwise_are_not_begun_from(script, rows, tmp_path, changed):
    shared = {"lr_scheduler_type": "cosine"}
    script(rows, "trained", **shared)
    rest = without(rows, by_step(rows)[-1])
    assert min(script(rest, "same", replay_from=tmp_path / "trained", **shared).taken) > 0
    replayed = script(rest, "replayed", replay_from=tmp_path / "trained", **shared | changed)
    assert min(replayed.taken) == min(SCHEDULE.step_of(0, row["id"]) for row in rest)


def test_an_interrupted_run_goes_on_to_the_same_bytes(script, rows, tmp_path):
    whole = script(rows, "whole")
    with pytest.raises(KeyboardInterrupt):
        script(rows, "interrupted", stop=len(whole.taken) - 2)
    resumed = script(rows, "interrupted")
    assert resumed.taken == [step for step in whole.taken if step >= STEPS]
    assert digest(resumed) == digest(whole)
    assert recording(tmp_path / "interrupted") == recording(tmp_path / "whole")


@pytest.mark.slow
def test_a_script_s_run_that_is_killed_goes_on_to_the_same_bytes(in_a_child, rows, write_records, files_of, tmp_path):
    given = dict(placement_salt="5a17", steps=STEPS, epochs=EPOCHS, lr=1e-3, checkpoints=3)
    files = {"records": write_records(rows)}

    def train(name, output, die_at=0):
        return in_a_child("training.trainer", files, given, tmp_path / name, tmp_path / output, die_at)

    code, whole = train("whole", "from-whole")
    assert code == 0
    for die_at in (len(whole) // 2 - 1, len(whole) - 1):  # in the first epoch, and in the last
        name = f"killed-{die_at}"
        assert train(name, f"torn-{die_at}", die_at)[0] == -signal.SIGKILL
        log = (tmp_path / name / "recording" / "steps.jsonl").read_bytes()
        assert 0 < len(log.splitlines()) < STEPS * EPOCHS
        code, rest = train(name, f"from-{name}")
        assert code == 0 and 0 < len(rest) < len(whole)
        assert rest == whole[-len(rest) :]  # it says how far it is, and not how far it went this time
        assert files_of(tmp_path / f"from-{name}") == files_of(tmp_path / "from-whole")


def test_each_step_is_logged_once_and_empty_ones_too(script, rows, tmp_path):
    trainer = script(rows[:2], "few")
    log = [json.loads(line) for line in (tmp_path / "few" / "steps.jsonl").read_bytes().splitlines()]
    assert [entry["step"] for entry in log] == list(range(STEPS * EPOCHS))
    assert [entry["step"] for entry in log if entry["records"]] == trainer.taken
    assert len(trainer.taken) < STEPS * EPOCHS


def test_the_learning_rate_follows_the_step_s_number(script, rows):
    few, many = script(rows[:1], "few"), script(rows, "many")
    assert few.state.max_steps == many.state.max_steps == STEPS * EPOCHS
    moved = few.lr_scheduler.last_epoch
    assert moved == few.taken[-1] + 1  # not how many were taken


@pytest.mark.parametrize(
    "wrong",
    [
        {"gradient_accumulation_steps": 2}, {"max_steps": 3}, {"num_train_epochs": 1.5}, {"dataloader_num_workers": 1},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)  # fmt: skip
def test_a_run_that_cannot_be_replayed_is_refused_with_a_way_out(script, rows, wrong):
    with pytest.raises(BadInput, match=r"\w; \w"):
        script(rows, "refused", **wrong)


def test_ids_that_do_not_fit_the_records_are_refused(script, rows):
    with pytest.raises(BadInput, match="one for each"):
        script(rows, "refused", ids=["a"])
    with pytest.raises(BadRecords, match="id of its own"):
        script(rows, "refused", ids=["a"] * len(rows))
    with pytest.raises(BadRecords, match="no record"):
        script(rows, "refused", ids=[])


def test_what_it_trains_is_what_a_trainer_trains(script, rows):
    """Of one record, in one step an epoch, there is but one schedule; what remains is the Trainer's own."""
    settings = {"dropout": 0.0, "steps": 1, "per_device_train_batch_size": 1}
    recorded, plain = (script(rows[:1], "one", is_recorded=told, **settings) for told in (True, False))
    assert len(recorded.taken) == EPOCHS == plain.state.global_step
    assert digest(recorded) == digest(plain)
