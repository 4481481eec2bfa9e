"""What travels as JSON, and what is checked before and after a function runs."""

from __future__ import annotations

import json
import math

import pytest

from amends.errors import AmendsError, BadInput, Cancelled, TaskFailed
from amends.records import Reading
from amends.scheduler import Job, JobResult, open_scheduler
from amends.scheduler.checks import check_readings
from amends.scheduler.failures import failure_of, outcome_of, settle
from amends.scheduler.resources import Node, check_feasible

KEY = "cd" * 32


def make(**given):
    return Job(**{"id": "j1", "kind": "probe", "name": "toy.count", "plugin_version": "1", "blobs_uri": "/b", **given})


def test_a_job_comes_back_from_json():
    job = make(parameters={"beta": 0.1, "name": "ä"}, gpus=0.5, state={"log": "0" * 64}, state_key=KEY, fresh=True)
    assert Job.from_json(job.to_json(with_key=True)) == job


@pytest.mark.parametrize("keys", [{"state_key": KEY}, {"record_keys": {"records/x": KEY}}])
def test_a_key_is_written_only_where_a_worker_reads_it(keys):
    job = make(**keys)
    assert KEY not in repr(job)
    assert KEY not in job.to_json()
    assert not keys.keys() & json.loads(job.to_json()).keys()
    assert KEY in job.to_json(with_key=True) and Job.from_json(job.to_json(with_key=True)) == job


@pytest.mark.parametrize(
    "given",
    [
        {"id": "../x"},
        {"id": "a.b"},
        {"id": ""},
        {"kind": "code"},
        {"cpus": 0},
        {"memory_gb": 0},
        {"memory_gb": math.nan},
    ]
    + [{"gpus": gpus} for gpus in (-1, math.nan, math.inf)],
)
def test_a_job_that_makes_no_sense_is_refused(given):
    with pytest.raises(BadInput):
        make(**given)


def test_a_result_with_numbers_that_are_not_finite_comes_back_from_strict_json():
    readings = (Reading("p/a", math.nan, low=-math.inf, high=1.0, power=0.8, detail={"k": [1]}), Reading("p/b", 2.0))
    result = JobResult("j1", "j1.f", readings=readings, state={"s": "0"}, fingerprint={"threads": 1}, seconds=1.5)
    text = result.to_json()
    assert "NaN" not in text and "Infinity" not in text
    found = JobResult.from_json(text)
    assert math.isnan(found.readings[0].value)
    assert found.readings[0].low == -math.inf
    assert found.readings[1] == readings[1]
    assert (found.state, found.fingerprint, found.seconds) == (result.state, result.fingerprint, 1.5)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "no reading"),
        ([], "no reading"),
        ("reading", "returns readings"),
        ([{"name": "toy.count"}], "a dict"),
        ([Reading("toy.counter/x", 1.0)], "name it toy.count/"),
        ([Reading("toy.count/x", "high")], "a str as value"),
        ([Reading("toy.count/x", None)], "use NaN"),
        ([Reading("toy.count/x", 1.0, detail={"x": {1}})], "not JSON"),
        ([Reading("toy.count/x", 1.0, detail={"x": math.nan})], "not JSON"),
    ],
)
def test_readings_are_checked(given, sentence):
    with pytest.raises(BadInput, match=sentence):
        check_readings("toy.count", given)


def test_numbers_of_numpy_and_torch_become_plain():
    import numpy
    import torch

    given = [Reading("toy.count", torch.tensor(0.5), low=numpy.float32(0.25), n=numpy.int64(3))]
    (found,) = check_readings("toy.count", given)
    assert [type(value) for value in (found.value, found.low, found.n)] == [float, float, int]
    assert (found.value, found.low, found.n) == (0.5, 0.25, 3)


def test_a_failure_passes_as_json_without_the_words_of_others():
    try:
        raise KeyError("Ada Quill")
    except KeyError as error:
        failure = failure_of("toy.fail", error)
    assert "Ada" not in outcome_of(failure)
    with pytest.raises(TaskFailed, match=r"KeyError at test_scheduler_jobs.py:") as raised:
        settle(outcome_of(failure))
    assert not isinstance(raised.value, Cancelled)
    with pytest.raises(Cancelled):
        settle(outcome_of(failure_of("toy.loop", Cancelled("the task was cancelled"))))


def test_a_failure_of_amends_keeps_its_type_and_sentence():
    assert str(failure_of("toy.fail", BadInput("give two"))) == "toy.fail failed: BadInput: give two"
    assert isinstance(failure_of("toy.fail", BadInput("give two")), AmendsError)


def test_one_node_must_have_everything_that_is_claimed():
    nodes = [Node("a", cpus=8, gpus=0, memory_gb=16), Node("b", cpus=1, gpus=1, memory_gb=4)]
    assert check_feasible(make(cpus=8), nodes) == 0
    assert check_feasible(make(gpus=0.5), nodes) == 0.5
    with pytest.raises(BadInput, match=r"the cluster has 2 \(8 CPUs, 0 GPUs and 16.0 GB; 1 CPUs"):
        check_feasible(make(cpus=2, gpus=1), nodes)


def test_gpus_are_not_claimed_where_the_cluster_has_none():
    assert check_feasible(make(gpus=2), [Node("a", cpus=1, gpus=0, memory_gb=4)]) == 0


def test_an_unknown_scheduler_is_refused(tmp_path):
    with pytest.raises(BadInput, match="use inline or ray"):
        open_scheduler("slurm", tmp_path)
