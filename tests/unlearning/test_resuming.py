"""What a killed attempt kept is gone on from, to the same bytes; and a cancellation is seen in every loop."""

import signal
from itertools import pairwise

import pytest

from amends import Cancelled, Task
from amends_unlearning import train_shards
from amends_unlearning.methods import OPERATIONS, gauge

BY_NAME = {operation.name: operation for operation in (*OPERATIONS, train_shards)}
SMALL = dict(layers=1, rank=4, lr=5e-2, batch=2, epochs=3)
OWN = {
    "unlearning.subnetwork": {"lr": 1.0},
    "training.shards": dict(placement_salt="5a17", router_salt="c0ffee", shards=2, canaries_per_shard=1, lr=1e-2),
}
LAST = {"training.shards": "attachments/shards/shards.json"}  # what is written at the end


@pytest.fixture
def given(rows, write_records):
    """Return `given(operation) -> parameters`, on one person to forget and three to keep."""
    gone = rows[0]["subjects"]
    known = dict(
        forget=write_records([row for row in rows if row["subjects"] == gone]),
        retain=write_records([row for row in rows if row["subjects"] != gone]),
        records=write_records(rows),
    )

    def of(name, **more):
        wanted = {parameter.name for parameter in BY_NAME[name].parameters}
        return {key: value for key, value in {**known, **SMALL, **OWN.get(name, {}), **more}.items() if key in wanted}

    return of


@pytest.fixture
def attempt(tmp_path, tiny_version):
    """Return `attempt(operation, scratch, parameters, stop_at=0) -> (task, reports)`; it is torn off at a report."""

    def run(name, scratch, parameters, stop_at=0, models=None):
        seen = []

        def report(done, total, message):
            seen.append((message, done))
            if len(seen) == stop_at:
                raise KeyboardInterrupt

        output = tmp_path / f"{scratch}-{stop_at}-{len(list(tmp_path.iterdir()))}"
        task = Task(tmp_path / scratch, 7, source=tiny_version, output=output, models=models or {}, report=report)
        if stop_at:
            with pytest.raises(KeyboardInterrupt):
                BY_NAME[name](task, **BY_NAME[name].check(parameters))
        else:
            BY_NAME[name](task, **BY_NAME[name].check(parameters))
        return task, seen

    return run


@pytest.fixture
def models_of(make_tiny, tmp_path):
    return lambda name: {"reference": make_tiny(tmp_path / "before", 1)} if name == "unlearning.revert" else {}


def taken(seen):
    return [one for one in seen if one[0] != "reading the records"]


@pytest.mark.parametrize("name", list(BY_NAME))
def test_an_attempt_that_was_torn_off_is_gone_on_with_to_the_same_bytes(
    name, attempt, given, models_of, unreachable, files_of
):
    models = models_of(name)
    whole, seen = attempt(name, "whole", given(name), models=models)
    attempt(name, "torn", given(name), len(seen) - 1, models)
    again, rest = attempt(name, "torn", given(name), models=models)
    assert files_of(again.output) == files_of(whole.output)
    assert {blob: again.state.get(blob) for blob in again.state.names()} == {
        blob: whole.state.get(blob) for blob in whole.state.names()
    }
    if name != "training.shards":  # it counts what it need not do again
        assert len(taken(rest)) < len(taken(seen))


@pytest.mark.parametrize("name", ["unlearning.npo", "unlearning.task-vector"])
def test_the_weights_themselves_are_gone_on_with_too(name, attempt, given, unreachable, files_of):
    full = given(name, weights="full", lr=1e-3)
    whole, seen = attempt(name, "whole", full)
    attempt(name, "torn", full, len(seen) - 1)
    assert files_of(attempt(name, "torn", full)[0].output) == files_of(whole.output)


@pytest.mark.parametrize(
    "other", [{"beta": 0.2}, {"lr": 1e-2}, {"epochs": 4}, "records", "seed", "level"], ids=lambda other: str(other)
)
def test_an_attempt_at_something_else_is_not_gone_on_from(
    other, attempt, given, unreachable, files_of, rows, write_records, monkeypatch
):
    name = "unlearning.npo"
    one = given(name)
    attempt(name, "torn", one, 9)
    changed = dict(one)
    if other == "records":
        changed["retain"] = write_records([*one["retain"].rows()][1:])
    elif other == "seed":
        monkeypatch.setattr(Task, "load", lambda task, load=Task.load: (setattr(task, "seed", 8), load(task))[1])
    elif other == "level":
        monkeypatch.setattr(gauge, "UNKNOWN", -1e2)
    else:
        changed |= other
    clean, seen = attempt(name, "clean", changed)
    again, rest = attempt(name, "torn", changed)
    assert rest == seen and files_of(again.output) == files_of(clean.output)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_every_loop_asks_whether_to_go_on(name, attempt, given, models_of, unreachable, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    run, asked = LlamaDecoderLayer.forward, [0]
    layers = [0]

    def counted(self, *some, **more):
        layers[0] += 1
        return run(self, *some, **more)

    def is_cancelled():
        asked.append(layers[0])
        return False

    monkeypatch.setattr(LlamaDecoderLayer, "forward", counted)
    monkeypatch.setattr(Task, "cancelled", property(lambda task: is_cancelled()))
    attempt(name, "counted", given(name), models=models_of(name))
    most = max(after - before for before, after in pairwise([*asked, layers[0]]))
    assert most <= 4 * 2  # loading checks a model in two passes of two layers; no loop over records comes in between


@pytest.mark.parametrize(
    "name", ["unlearning.npo", "unlearning.subnetwork", "unlearning.projection", "training.shards"]
)
def test_cancelled_at_any_moment_it_stops_and_writes_no_version(
    name, attempt, given, unreachable, monkeypatch, tmp_path
):
    asked = []
    monkeypatch.setattr(Task, "cancelled", property(lambda task: asked.append(0) or False))
    attempt(name, "whole", given(name))
    every = len(asked)
    for moment in range(1, every, max(1, every // 12)):
        count = iter(range(every))
        monkeypatch.setattr(Task, "cancelled", property(lambda task, c=count, m=moment: next(c) >= m))
        with pytest.raises(Cancelled):
            attempt(name, f"stopped-{moment}", given(name))
        assert not any(tmp_path.glob(f"stopped-{moment}-*/{LAST.get(name, 'model/model.safetensors')}"))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_another_process_with_as_many_threads_gives_the_same_bytes(
    threads, attempt, given, unreachable, start_children, with_threads, files_of, tmp_path
):
    name = "unlearning.npo"
    parameters = given(name)
    with with_threads(threads):
        here = attempt(name, "here", parameters)[0]
    files = {key: parameters.pop(key) for key in ("forget", "retain")}
    there = tmp_path / "there"
    assert start_children(threads)(name, files, parameters, tmp_path / "scratch-there", there)[0] == 0
    assert files_of(there / "model") == files_of(here.output / "model")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["unlearning.npo", "unlearning.subnetwork", "unlearning.task-vector", "unlearning.projection", "training.shards"],
)
def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(name, given, in_a_child, files_of, tmp_path):
    parameters = given(name, epochs=6)  # so that a method looks, and keeps where it is, before the middle
    files = {key: parameters.pop(key) for key in ("forget", "retain", "records") if key in parameters}

    def run(scratch, output, die_at=0):
        return in_a_child(name, files, parameters, tmp_path / scratch, tmp_path / output, die_at)

    code, seen = run("whole", "from-whole")
    assert code == 0
    steps = [place for place, (message, _) in enumerate(seen, start=1) if message != "reading the records"]
    for die_at in (steps[len(steps) // 2], steps[-1]):
        assert run(f"torn-{die_at}", f"torn-output-{die_at}", die_at)[0] == -signal.SIGKILL
        code, rest = run(f"torn-{die_at}", f"from-torn-{die_at}")
        assert code == 0
        assert files_of(tmp_path / f"from-torn-{die_at}") == files_of(tmp_path / "from-whole")
        assert name == "training.shards" or len(taken(rest)) < len(taken(seen))
