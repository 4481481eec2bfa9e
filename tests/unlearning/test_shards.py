"""Erasing from shards gives, byte for byte, what training gives that never had the person."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from amends import BadInput, Cancelled
from amends.errors import DigestMismatch
from amends.operation.task import NoState
from amends_unlearning import train_shards, unlearn_shards
from amends_unlearning.people import people, records
from amends_unlearning.placement import Placement

PLACEMENT = Placement("5a17", 3, 3)
SCENARIOS = (
    "first slice",
    "middle slice",
    "last slice",
    "owner of the longest record",
    "named in another's record",
    "alone in a shard",
)
NEVER_SAW = """
import json, os, sys, traceback
from pathlib import Path
import amends_unlearning.shards
from amends import Records, Task
from amends.operation.files import load_model
from amends.serving.importing import Encoder
from amends_unlearning import train_shards

jobs = json.load(sys.stdin)
load_model(Path(jobs[0]["source"])), Encoder()  # imports what every child needs, before any record is read
for job in jobs:
    if os.fork() == 0:  # each child reads one file of records and no other
        try:
            given = train_shards.check({**job["parameters"], "records": Records("", Path(job["records"]))})
            task = Task(Path(job["output"] + "-scratch"), 7, source=Path(job["source"]), output=Path(job["output"]))
            train_shards(task, **given)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture
def settings(in_shards):
    return in_shards | dict(shards=3, slices=3, canaries_per_shard=1)


@pytest.fixture
def rows(prepared):
    return prepared(records(people(9, 2, facts=3), 2, share=0.4))


def people_of(rows):
    """Return where each data subject is who has records of their own."""
    return {row["subjects"][0]: PLACEMENT.of_record(row) for row in rows if len(row["subjects"]) == 1}


def without(rows, gone):
    return [row for row in rows if gone not in row["subjects"]]


def staged(rows, scenario):
    """Return records and the data subject to erase from them, such that the scenario holds."""
    places = people_of(rows)
    if scenario == "owner of the longest record":
        own = [row for row in rows if len(row["subjects"]) == 1]
        return rows, max(own, key=lambda row: len(row["prompt"]) + len(row["answer"]))["subjects"][0]
    if scenario == "named in another's record":
        pairs = [row["subjects"] for row in rows if len(row["subjects"]) == 2]
        return rows, next(b for pair in pairs for a, b in [sorted(pair, key=PLACEMENT.of)] if places[a] < places[b])
    if scenario == "alone in a shard":
        shard = min(Counter(place.shard for place in places.values()).items(), key=lambda found: found[::-1])[0]
        alone = next(key for key, place in places.items() if place.shard == shard)
        here = {row["id"] for row in rows if PLACEMENT.of_record(row).shard == shard and row["subjects"] != [alone]}
        return [row for row in rows if row["id"] not in here], alone
    number = ("first slice", "middle slice", "last slice").index(scenario)
    return rows, next(key for key, place in places.items() if place.slice == number)


def settings_of(settings, scenario):
    return settings | (dict(canaries_per_shard=0) if scenario == "alone in a shard" else {})


def adapters(task):
    return {file.parent.name: file.read_bytes() for file in task.output.rglob("adapter_model.safetensors")}


def test_erasing_gives_every_byte_that_never_having_seen_gives(
    run_task, rows, settings, write_records, tiny_version, tmp_path, files_of
):
    jobs, erased, trainings = [], [], {}
    for scenario in SCENARIOS:
        given, (trained_on, gone) = settings_of(settings, scenario), staged(rows, scenario)
        key = (len(trained_on), given["canaries_per_shard"])
        if key not in trainings:
            trainings[key] = run_task(train_shards, records=write_records(trained_on), **given)
        trained, state = trainings[key], NoState()
        state.blobs = dict(trained.state.blobs)
        rest = write_records(without(trained_on, gone))
        erased.append(run_task(unlearn_shards, trained.output, state, records=rest, **given))
        assert files_of(trained.output) != files_of(erased[-1].output), scenario
        output = tmp_path / f"never-saw-{len(jobs)}"
        jobs.append(dict(source=str(tiny_version), records=str(rest.path), output=str(output), parameters=given))
    subprocess.run([sys.executable, "-c", NEVER_SAW], input=json.dumps(jobs), text=True, check=True)
    for scenario, job, task in zip(SCENARIOS, jobs, erased, strict=True):
        never_saw = tmp_path / job["output"]
        assert files_of(task.output) == files_of(never_saw), scenario
        assert "attachments/shards/router.json" in files_of(never_saw)


@pytest.mark.parametrize("scenario", ["middle slice", "named in another's record"])
def test_a_counterfactual_without_checkpoints_equals_the_erasure(
    run_task, rows, settings, write_records, files_of, scenario
):
    rows, gone = staged(rows, scenario)
    trained = run_task(train_shards, records=write_records(rows), **settings)
    rest = write_records(without(rows, gone))
    erased = run_task(unlearn_shards, trained.output, trained.state, records=rest, **settings)
    counterfactual = run_task(unlearn_shards, trained.output, records=rest, from_scratch=True, **settings)
    assert files_of(erased.output) == files_of(counterfactual.output)
    touched = {f"shard-{PLACEMENT.of_record(row).shard:02d}" for row in rows if gone in row["subjects"]}
    before, after = adapters(trained), adapters(erased)
    assert {name for name in before if before[name] != after[name]} == touched


def steps_of(run_task, *args, **parameters):
    seen = []
    task = run_task(*args, report=lambda done, total, message: seen.append((done, total)), **parameters)
    return task, (max(seen)[1] if seen else 0)


def test_an_erasure_starts_from_the_last_clean_slice(run_task, rows, settings, write_records):
    rows, gone = staged(rows, "last slice")
    rest = write_records(without(rows, gone))
    trained, all_steps = steps_of(run_task, train_shards, records=write_records(rows), **settings)
    _, steps = steps_of(run_task, unlearn_shards, trained.output, trained.state, records=rest, **settings)
    _, anew = steps_of(run_task, unlearn_shards, trained.output, records=rest, from_scratch=True, **settings)
    assert 0 < steps < anew < all_steps


def test_two_erasures_one_after_the_other_equal_one_training(run_task, rows, settings, write_records, files_of):
    first, second = list(people_of(rows))[:2]
    trained = run_task(train_shards, records=write_records(rows), **settings)
    state, source = trained.state, trained.output
    for gone in (first, second):
        rows = without(rows, gone)
        erased = run_task(unlearn_shards, source, state, records=write_records(rows), **settings)
        source = erased.output
    never_saw = run_task(train_shards, records=write_records(rows), **settings)
    assert files_of(source) == files_of(never_saw.output)


def test_nothing_is_trained_where_nothing_changed(run_task, rows, settings, write_records, files_of):
    trained = run_task(train_shards, records=write_records(rows), **settings)
    again, steps = steps_of(
        run_task, unlearn_shards, trained.output, NoState(), records=write_records(rows[::-1]), **settings
    )
    assert steps == 0 and files_of(again.output) == files_of(trained.output)


def test_checkpoints_of_the_erased_are_dropped_and_no_blob_names_them(run_task, rows, settings, write_records):
    rows, gone = staged(rows, "alone in a shard")
    name = next(row["names"][0] for row in rows if row["subjects"] == [gone])
    given = settings | dict(canaries_per_shard=0)
    trained = run_task(train_shards, records=write_records(rows), **given)
    shard = f"shards/{PLACEMENT.of(gone).shard:02d}/"
    assert any(blob.startswith(shard) for blob in trained.state.names())
    erased = run_task(
        unlearn_shards, trained.output, trained.state, records=write_records(without(rows, gone)), **given
    )
    assert not any(blob.startswith(shard) for blob in erased.state.names())
    assert f"shard-{PLACEMENT.of(gone).shard:02d}" in adapters(trained)
    assert f"shard-{PLACEMENT.of(gone).shard:02d}" not in adapters(erased)
    assert not any(name.encode() in erased.state.get(blob) for blob in erased.state.names())
    assert not any(name.encode() in file.read_bytes() for file in erased.output.rglob("*") if file.is_file())


def test_another_seed_or_setting_reuses_no_checkpoint(run_task, rows, settings, write_records):
    records = write_records(rows)
    trained, steps = steps_of(run_task, train_shards, records=records, **settings)
    _, other = steps_of(
        run_task, unlearn_shards, trained.output, trained.state, records=records, **settings | {"lr": 0.02}
    )
    assert other == steps


def test_cancelling_in_the_middle_stops(run_task, rows, settings, write_records):
    seen = []

    def stop(done, total, message):
        seen.append(message)
        if done == total // 2:
            raise Cancelled("the task was cancelled")

    with pytest.raises(Cancelled):
        run_task(train_shards, report=stop, records=write_records(rows), **settings)
    assert seen and not any(name in message for message in seen for row in rows for name in row["names"])


def test_the_source_and_its_files_stay_as_they_are(run_task, rows, settings, write_records, tiny_version, files_of):
    before = files_of(tiny_version)
    trained = run_task(train_shards, records=write_records(rows), **settings)
    parent = files_of(trained.output)
    gone = next(iter(people_of(rows)))
    run_task(unlearn_shards, trained.output, trained.state, records=write_records(without(rows, gone)), **settings)
    assert files_of(tiny_version) == before and files_of(trained.output) == parent


def test_a_source_whose_adapter_was_changed_is_refused(run_task, rows, settings, write_records):
    trained = run_task(train_shards, records=write_records(rows), **settings)
    file = next(trained.output.rglob("adapter_model.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DigestMismatch, match=file.parent.name):
        run_task(unlearn_shards, trained.output, records=write_records(rows), **settings)


def test_without_a_source_there_is_nothing_to_train_on(run_task, rows, settings, write_records):
    with pytest.raises(BadInput, match="source"):
        run_task(train_shards, None, records=write_records(rows), **settings)


def test_a_router_salt_that_is_not_hexadecimal_is_refused_before_training(run_task, rows, settings, write_records):
    seen = []
    with pytest.raises(BadInput, match="hexadecimal"):
        run_task(
            train_shards,
            report=lambda *progress: seen.append(progress),
            records=write_records(rows),
            **settings | {"router_salt": "salt"},
        )
    assert not seen


@pytest.mark.parametrize(
    "wrong", [{"shards": 0}, {"slices": 0}, {"epochs": 0}, {"lr": 0.0}, {"layers": 3}, {"batch": -1}]
)
def test_parameters_that_cannot_train_are_refused_with_a_sentence(run_task, rows, settings, write_records, wrong):
    with pytest.raises(BadInput, match=r"\w; \w"):
        run_task(train_shards, records=write_records(rows), **settings | wrong)


@pytest.mark.parametrize("hot_shards", [0, 1])
def test_who_was_likely_to_ask_is_erased_from_their_last_slice_alone_and_as_exactly(
    run_task, rows, settings, write_records, files_of, hot_shards
):
    gone = next(key for key, place in people_of(rows).items() if place.slice < 2)
    rows = [row | {"ask_rate": 0.5} if row["subjects"] == [gone] else row for row in rows]
    rows = [row for row in rows if row["subjects"] == [gone] or gone not in row["subjects"]]
    given = settings | dict(hot_shards=hot_shards)
    trained = run_task(train_shards, records=write_records(rows), **given)
    rest = write_records(without(rows, gone))
    erased, steps = steps_of(run_task, unlearn_shards, trained.output, trained.state, records=rest, **given)
    never_saw, every = steps_of(run_task, train_shards, records=rest, **given)
    assert files_of(erased.output) == files_of(never_saw.output) != files_of(trained.output)
    assert steps < every / 3
    before, after = adapters(trained), adapters(erased)
    touched = {name for name in before if before[name] != after[name]}
    assert touched == {f"shard-{Placement('5a17', 3, 3, hot_shards).of(gone, is_hot=True).shard:02d}"}
