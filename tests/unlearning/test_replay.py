"""Erasing from a fine-tune by replay gives, byte for byte, what a fine-tune gives that never had the person."""

import hashlib
import json
import subprocess
import sys

import pytest

from amends import BadInput
from amends.operation.task import NoState
from amends_unlearning import train_finetune, unlearn_replay, unlearn_retrain
from amends_unlearning.people import people, records
from amends_unlearning.schedule import Schedule

FINETUNE = dict(placement_salt="5a17", steps=8, epochs=2, layers=1, rank=2, lr=1e-2, checkpoints=3, canaries=0)
SCHEDULE = Schedule("5a17", 2, 8)
NEVER_SAW = """
import json, os, sys, traceback
from pathlib import Path
import torch
import amends_unlearning.finetune
from amends import Records, Task
from amends.operation.files import load_model
from amends_unlearning import train_finetune

jobs = json.load(sys.stdin)
load_model(Path(jobs[0]["source"]))  # imports what every child needs, before any record is read
for job in jobs:
    if os.fork() == 0:  # each child reads one file of records and no other
        try:
            torch.set_num_threads(job["threads"])
            given = train_finetune.check({**job["parameters"], "records": Records("", Path(job["records"]))})
            task = Task(Path(job["output"], "scratch"), 7, source=Path(job["source"]), output=Path(job["output"]))
            train_finetune(task, **given)
            Path(job["output"], "state").mkdir()
            for name in task.state.names():
                Path(job["output"], "state", name.replace("/", "-")).write_bytes(task.state.get(name))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture
def rows(prepared):
    """Return two records a person, and one of each pair names another person as well."""
    return prepared(records(people(8, 2, facts=2), 2, share=0.4))


def subjects(rows):
    return list(dict.fromkeys(key for row in rows for key in row["subjects"]))


def first_step(rows, key):
    return min(SCHEDULE.step_of(0, row["id"]) for row in rows if key in row["subjects"])


def without(rows, *gone):
    return [row for row in rows if not set(gone) & set(row["subjects"])]


def copied(task):
    state = NoState()
    state.blobs = dict(task.state.blobs)
    return state


def state_of(task):
    return {name.replace("/", "-"): hashlib.sha256(blob).hexdigest() for name, blob in task.state.blobs.items()}


def scenarios(rows):
    """Return who goes in each."""
    by_step = sorted(subjects(rows), key=lambda key: first_step(rows, key))
    pair = next(row["subjects"] for row in rows if len(row["subjects"]) == 2)
    return {"first": by_step[:1], "last": by_step[-1:], "several": by_step[1:4], "named with another": pair[1:]}


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_replay_gives_every_byte_that_never_having_seen_gives(
    run_task, rows, write_records, tiny_version, tmp_path, files_of, with_threads, threads
):
    jobs, erased = [], []
    with with_threads(threads):
        trained = run_task(train_finetune, records=write_records(rows), **FINETUNE)
        for number, gone in enumerate(scenarios(rows).values()):
            rest = write_records(without(rows, *gone))
            erased.append(run_task(unlearn_replay, state=copied(trained), records=rest, **FINETUNE))
            assert files_of(erased[-1].output) != files_of(trained.output)
            output = str(tmp_path / f"never-saw-{number}")
            job = dict(source=str(tiny_version), records=str(rest.path), output=output, parameters=FINETUNE)
            jobs.append(job | dict(threads=threads))
    subprocess.run([sys.executable, "-c", NEVER_SAW], input=json.dumps(jobs), text=True, check=True)
    for job, task in zip(jobs, erased, strict=True):
        never_saw = files_of(tmp_path / job["output"])
        assert files_of(task.output) == {name: d for name, d in never_saw.items() if name.startswith("model/")}
        assert state_of(task) == {name[6:]: d for name, d in never_saw.items() if name.startswith("state/")}


def test_replay_begins_at_the_last_checkpoint_before_the_person_came(run_task, rows, write_records):
    last = scenarios(rows)["last"]
    seen = []
    trained = run_task(train_finetune, records=write_records(rows), **FINETUNE)

    def erase(**more):
        seen.clear()
        run_task(
            unlearn_replay, state=copied(trained), records=write_records(without(rows, *last)),
            report=lambda *told: seen.append(told), **FINETUNE, **more,
        )  # fmt: skip
        return [told for told in seen if told[2].startswith("epoch")]

    anew, replayed = erase(from_scratch=True), erase()
    assert len(anew) == 16
    assert replayed[0][0] == max(mark for mark in (2, 4, 6) if mark <= first_step(rows, last[0]))
    assert len(replayed) == 16 - replayed[0][0]


def test_retraining_and_a_replay_without_checkpoints_give_the_same(run_task, rows, write_records, files_of):
    trained = run_task(train_finetune, records=write_records(rows), **FINETUNE)
    rest = write_records(without(rows, *scenarios(rows)["several"]))
    replayed = run_task(unlearn_replay, state=copied(trained), records=rest, **FINETUNE)
    gold = run_task(unlearn_retrain, state=copied(trained), records=rest, **FINETUNE)
    anew = run_task(unlearn_replay, records=rest, from_scratch=True, **FINETUNE)
    for task in (gold, anew):
        assert files_of(task.output) == files_of(replayed.output) and state_of(task) == state_of(replayed)


def test_two_erasures_one_after_the_other_equal_one(run_task, rows, write_records, files_of):
    trained = run_task(train_finetune, records=write_records(rows), **FINETUNE)
    state, left = trained.state, rows
    for gone in scenarios(rows)["several"]:
        left = without(left, gone)
        task = run_task(unlearn_replay, state=state, records=write_records(left), **FINETUNE)
    at_once = run_task(train_finetune, records=write_records(left), **FINETUNE)
    assert files_of(task.output) == files_of(at_once.output) and state_of(task) == state_of(at_once)


def test_nothing_in_the_state_names_the_erased(run_task, rows, write_records):
    trained = run_task(train_finetune, records=write_records(rows), **FINETUNE)
    (gone,) = scenarios(rows)["first"]
    theirs = [row for row in rows if gone in row["subjects"]]
    needles = [SCHEDULE.name_of(row["id"]).encode() for row in theirs]
    assert all(any(needle in blob for blob in trained.state.blobs.values()) for needle in needles)
    rest = write_records(without(rows, gone))
    erased = run_task(unlearn_replay, state=trained.state, records=rest, **FINETUNE)
    needles += [row["id"].encode() for row in theirs] + [gone.encode()] + [row["answer"].encode() for row in theirs]
    assert not [needle for needle in needles for blob in erased.state.blobs.values() if needle in blob]


def test_a_checkpoint_of_an_older_schedule_is_dropped(run_task, rows, write_records):
    trained = run_task(train_finetune, records=write_records(rows), **FINETUNE)
    trained.state.put("finetune/after-000777", trained.state.get("finetune/after-000002"))
    erased = run_task(unlearn_replay, state=trained.state, records=write_records(rows[2:]), **FINETUNE)
    assert "finetune/after-000777" not in erased.state.names()


def test_the_trained_version_is_refused_as_a_place_to_begin(run_task, rows, write_records):
    trained = run_task(train_finetune, records=write_records(rows), **FINETUNE)
    with pytest.raises(BadInput, match="version before it"):
        run_task(unlearn_replay, trained.output, trained.state, records=write_records(rows[2:]), **FINETUNE)


def test_the_source_stays_as_it_is(run_task, rows, write_records, tiny_version, files_of):
    before = files_of(tiny_version)
    run_task(train_finetune, records=write_records(rows), **FINETUNE)
    assert files_of(tiny_version) == before
