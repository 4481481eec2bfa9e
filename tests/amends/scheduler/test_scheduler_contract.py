"""What every scheduler does alike."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from amends.errors import Cancelled, Infeasible, TaskFailed
from amends.scheduler import open_scheduler
from amends.scheduler.handles import Handle
from amends.store import fetch_manifest, materialise, put_tree
from amends.vault.ciphers import unseal
from amends.vault.sealing import seal_records

KEY = "ab" * 32
LONG = 240


@pytest.fixture(params=["inline", "on_ray"])
def scheduler(request):
    return request.getfixturevalue(request.param)


def said(blobs, digest, tmp_path, name="note.txt"):
    into = tmp_path / f"out-{digest[:8]}"
    materialise(blobs, digest, into)
    return (into / name).read_text()


def wait_for(path: Path, handle: Handle) -> None:
    done = threading.Event()
    while not path.exists():
        if handle.is_done:
            handle.result()
        done.wait(0.02)


def test_an_operation_s_output_is_a_tree_in_the_store(scheduler, make_job, blobs, tmp_path):
    result = scheduler.submit(make_job("toy.copy", parameters={"text": " there"}, seed=7)).result(LONG)
    assert said(blobs, result.output, tmp_path) == "hello there seed 7"
    assert result.job == "job-0"
    assert result.readings == ()
    assert result.seconds > 0 and result.cpu_seconds >= 0
    assert result.threads == result.fingerprint["threads"] == 1
    assert set(result.fingerprint["libraries"]) >= {"amends", "torch", "transformers", "peft", "numpy"}


def test_the_same_job_gives_the_same_digest(scheduler, make_job):
    outputs = {scheduler.submit(make_job("toy.copy")).result(LONG).output for _ in range(2)}
    assert len(outputs) == 1


def test_nothing_stays_staged(scheduler, make_job, blobs):
    scheduler.submit(make_job("toy.copy")).result(LONG)
    with pytest.raises(TaskFailed):
        scheduler.submit(make_job("toy.fail")).result(LONG)
    assert blobs.fences() == ()


@pytest.mark.slow
def test_bits_and_fingerprint_are_equal_everywhere(inline, on_ray, make_job, blobs, tiny_version):
    source = put_tree(blobs, tiny_version)
    given = [(scheduler, fresh) for scheduler in (inline, on_ray) for fresh in (False, True)]
    results = [s.submit(make_job("toy.train", source=source, seed=5, fresh=fresh)).result(LONG) for s, fresh in given]
    assert len({result.output for result in results}) == 1
    assert all(result.fingerprint == results[0].fingerprint for result in results)
    assert results[0].fingerprint["deterministic"] is True
    assert results[0].output != source


def test_records_and_models_are_materialised_by_parameter(scheduler, make_job, blobs, tmp_path):
    records = blobs.put_bytes(b'{"id":"1"}\n{"id":"2"}\n')
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher/note.txt").write_text("sit")
    teacher = put_tree(blobs, tmp_path / "teacher")
    job = make_job("toy.rows", records={"forget": records}, models={"teacher": teacher})
    result = scheduler.submit(job).result(LONG)
    assert said(blobs, result.output, tmp_path, "rows.txt") == f"2 sit {teacher}"


def test_sealed_records_are_opened_with_their_key_and_rest_sealed(scheduler, make_job, blobs, source, tmp_path):
    rows = b'{"id":"1","prompt":"Where is the key?"}\n{"id":"2"}\n'
    records = blobs.put_bytes(seal_records(bytes.fromhex(KEY), "records/x", rows))
    given = {"records": {"forget": records}, "models": {"teacher": source}}
    result = scheduler.submit(make_job("toy.rows", **given, record_keys={"records/x": KEY})).result(LONG)
    assert said(blobs, result.output, tmp_path, "rows.txt").startswith("2 ")
    with pytest.raises(TaskFailed, match="the records are sealed, and the job came without their key"):
        scheduler.submit(make_job("toy.rows", **given)).result(LONG)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"Where is" in path.read_bytes()]


def test_readings_come_back_with_nan_and_infinity(scheduler, make_job, source):
    job = make_job("toy.count", kind="probe", parameters={"factor": 2.0}, reference=source)
    length, nan = scheduler.submit(job).result(LONG).readings
    assert (length.name, length.value, length.low, length.n, length.unit) == (
        "toy.count/length",
        10.0,
        1.0,
        5,
        "letters",
    )
    assert length.high == math.inf
    assert math.isnan(nan.value) and nan.high is None
    assert nan.detail == {"against": 5}


def test_several_probes_run_in_one_job_each_with_its_own_parameters(scheduler, make_job):
    scalars = {"toy.count": {"factor": 3.0}}
    job = make_job("toy.count,toy.tally", kind="probes", plugin_version="1.5,1.5", parameters=scalars)
    readings = scheduler.submit(job).result(LONG).readings
    assert [(reading.name, reading.value) for reading in readings if reading.value == reading.value] == [
        ("toy.count/length", 15.0),
        ("toy.tally", 1.0),
    ]


def test_progress_arrives_before_the_result(scheduler, make_job):
    heard = []
    handle = scheduler.submit(make_job("toy.copy", parameters={"times": 5}), lambda *told: heard.append(told))
    handle.result(LONG)
    assert heard[-1] == (5, 5, "copying")


def test_a_watcher_that_fails_does_not_fail_the_job(scheduler, make_job):
    def watch(done, total, message):
        raise RuntimeError

    assert scheduler.submit(make_job("toy.copy"), watch).result(LONG).output


def test_a_failure_names_its_type_and_place_and_nobody_s_data(scheduler, make_job):
    with pytest.raises(TaskFailed) as failed:
        scheduler.submit(make_job("toy.fail")).result(LONG)
    assert "toy.fail failed with ValueError at amends_scheduler_probe.py:" in str(failed.value)
    everything = f"{failed.value!r} {failed.value.__notes__} {failed.value.__cause__} {failed.value.__context__}"
    assert "Ada" not in everything
    assert "runner.py:" in everything


def test_a_failure_of_amends_keeps_its_sentence(scheduler, make_job):
    with pytest.raises(TaskFailed, match=r"toy.refuse failed: BadInput: three is too many; give two"):
        scheduler.submit(make_job("toy.refuse")).result(LONG)


def test_an_error_of_the_operation_is_not_retried(scheduler, make_job, marker):
    with pytest.raises(TaskFailed):
        scheduler.submit(make_job("toy.fail", parameters={"marker": str(marker)})).result(LONG)
    assert len(list(marker.iterdir())) == 1


def test_an_operation_that_exits_fails_and_leaves_its_worker_alive(scheduler, make_job):
    with pytest.raises(TaskFailed, match="SystemExit"):
        scheduler.submit(make_job("toy.exit")).result(LONG)
    assert scheduler.submit(make_job("toy.copy")).result(LONG).output


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["toy.loop", "toy.sly"])
def test_cancelling_works_inside_training(scheduler, make_job, marker, blobs, name, fresh):
    before = list(blobs.digests())
    handle = scheduler.submit(make_job(name, parameters={"marker": str(marker)}, fresh=fresh))
    wait_for(marker / "started", handle)
    handle.cancel()
    with pytest.raises(Cancelled, match="was cancelled"):
        handle.result(LONG)
    assert list(blobs.digests()) == before
    assert blobs.fences() == ()


def test_a_job_that_waits_can_be_cancelled(scheduler, make_job, marker):
    running = scheduler.submit(make_job("toy.loop", parameters={"marker": str(marker)}, cpus=2))
    wait_for(marker / "started", running)
    waiting = scheduler.submit(make_job("toy.copy", cpus=2))
    waiting.cancel()
    running.cancel()
    for handle in (waiting, running):
        with pytest.raises(Cancelled):
            handle.result(LONG)


def test_a_result_that_takes_too_long_is_a_timeout_and_the_job_goes_on(scheduler, make_job, marker):
    handle = scheduler.submit(make_job("toy.loop", parameters={"marker": str(marker)}))
    wait_for(marker / "started", handle)
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    assert not handle.is_done
    handle.cancel()
    with pytest.raises(Cancelled):
        handle.result(LONG)


@pytest.mark.parametrize(
    ("claim", "sentence"),
    [
        ({"gpus": 2}, "2 GPUs .* the cluster has 1 .*1 GPUs.*claim less or add a node"),
        ({"gpus": 1.5}, "above one, claim a whole number"),
        ({"cpus": 3}, "3 CPUs.*2 CPUs"),
        ({"memory_gb": 1e6}, "1e.06 GB"),
    ],
)
def test_what_no_node_has_is_refused_at_submit(scheduler, make_job, claim, sentence):
    with pytest.raises(Infeasible, match=sentence):
        scheduler.submit(make_job("toy.copy", **claim))


@pytest.mark.parametrize("gpus", [0.25, 0.5, 1])
def test_whole_and_fractional_gpus_run(scheduler, make_job, gpus):
    assert scheduler.submit(make_job("toy.copy", gpus=gpus)).result(LONG).output


def test_resources_name_what_there_is(scheduler):
    found = scheduler.resources()
    assert (found["cpus"], found["gpus"], len(found["nodes"])) == (2, 1, 1)
    assert found["memory_gb"] > 0


def test_state_round_trips_and_is_sealed_at_rest(scheduler, make_job, blobs):
    first = scheduler.submit(make_job("toy.remember", parameters={"text": "ink "}, state_key=KEY)).result(LONG)
    job = make_job("toy.remember", parameters={"text": "well"}, state=first.state, state_key=KEY)
    second = scheduler.submit(job).result(LONG)
    assert list(second.state) == ["secret"]
    assert unseal(bytes.fromhex(KEY), blobs.get(second.state["secret"]), "state:secret") == b"ink well"
    at_rest = b"".join(path.read_bytes() for path in blobs.root.rglob("*") if path.is_file())
    assert b"kept" in at_rest
    assert b"ink" not in at_rest
    assert KEY not in repr(job) and KEY not in job.to_json()


def test_state_without_a_key_is_refused(scheduler, make_job):
    with pytest.raises(TaskFailed, match="without its lineage's key"):
        scheduler.submit(make_job("toy.remember", parameters={"text": "ink"})).result(LONG)


def test_state_that_was_dropped_is_not_stored(scheduler, make_job, blobs):
    result = scheduler.submit(make_job("toy.remember", parameters={"text": "ink"}, state_key=KEY)).result(LONG)
    files = {entry.sha256 for entry in fetch_manifest(blobs, result.output).files.values()}
    job_source = make_job("toy.copy").source
    stored = {job_source, *(e.sha256 for e in fetch_manifest(blobs, job_source).files.values())}
    assert set(blobs.digests()) == {result.output, *files, *result.state.values(), *stored}


def test_a_fresh_job_has_its_own_process_and_an_empty_cache(scheduler, make_job, marker):
    for fresh in (False, False, True, True):
        scheduler.submit(make_job("toy.where", parameters={"marker": str(marker)}, fresh=fresh)).result(LONG)
    lines = [path.read_text().splitlines() for path in sorted(marker.iterdir(), key=lambda path: int(path.name))]
    pids, caches, held = ([line[i] for line in lines] for i in (0, 1, 5))
    assert pids[2] not in pids[:2] and pids[3] not in pids[:3]
    assert caches[0] == caches[1]
    assert len(set(caches)) == 3
    assert held[2] == held[3] == "1"
    assert not Path(caches[2]).exists()


def test_the_source_is_never_changed(scheduler, make_job, blobs, source, tmp_path):
    with pytest.raises(TaskFailed, match="must write to its output only"):
        scheduler.submit(make_job("toy.meddle")).result(LONG)
    result = scheduler.submit(make_job("toy.copy")).result(LONG)
    assert set(fetch_manifest(blobs, source).files) == {"note.txt"}
    assert said(blobs, result.output, tmp_path) == "hello seed 0"


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("toy.copy", {"plugin_version": "1.4"}, "1.5 on this machine and from 1.4 at the governor"),
        ("toy.gone", {}, "UnknownOperation"),
        ("toy.copy", {"parameters": {"txet": ""}}, "no parameter 'txet'"),
        ("toy.copy", {"source": None}, "give it a source"),
        ("toy.nothing", {}, "wrote nothing"),
        ("toy.silent", {"kind": "probe"}, "returned no reading"),
        ("toy.misnamed", {"kind": "probe"}, "name it toy.misnamed/"),
        ("toy.copy", {"source": "0" * 64}, "not in the store"),
    ],
)
def test_what_cannot_run_is_refused_with_a_sentence(scheduler, make_job, name, given, sentence):
    with pytest.raises(TaskFailed, match=sentence):
        scheduler.submit(make_job(name, **given)).result(LONG)


@pytest.fixture
def attached(blobs, tmp_path):
    """Return the digest of a version that carries shards."""
    version = tmp_path / "attached"
    (version / "attachments/shards").mkdir(parents=True)
    (version / "attachments/order.json").write_text('["shards"]')
    (version / "attachments/shards/index.json").write_text("{}")
    (version / "note.txt").write_text("hello")
    return put_tree(blobs, version)


def test_an_attachment_that_is_not_accepted_is_refused_naming_the_way_out(scheduler, make_job, attached):
    source = attached
    with pytest.raises(TaskFailed, match=r"'shards'.*change the parent from before that attachment"):
        scheduler.submit(make_job("toy.copy", source=source)).result(LONG)
    assert scheduler.submit(make_job("toy.accepting", source=source)).result(LONG).output


def test_an_attachment_of_a_version_beside_the_source_is_not_passed_over(inline, make_job, blobs, attached):
    job = make_job("toy.rows", records={"forget": blobs.put_bytes(b"")}, models={"teacher": attached})
    with pytest.raises(TaskFailed, match=r"weights of its teacher alone, and that carries shards.*without it"):
        inline.submit(job).result(LONG)


def test_purging_clears_each_node_s_copies(scheduler, make_job, source):
    scheduler.submit(make_job("toy.copy")).result(LONG)
    assert list(scheduler.purge([source]).values()) == [(source,)]
    assert list(scheduler.purge([source]).values()) == [()]


@pytest.mark.slow
def test_a_killed_worker_is_retried_and_its_output_is_not_doubled(scheduler, make_job, marker, blobs):
    fresh = scheduler.session_directory is None
    job = make_job("toy.crash", parameters={"marker": str(marker), "times": 1}, state_key=KEY, fresh=fresh)
    result = scheduler.submit(job).result(LONG)
    assert len(list(marker.iterdir())) == 2
    assert len(fetch_manifest(blobs, result.output).files) == 1
    assert blobs.fences() == ()
    stored = len([digest for digest in blobs.digests() if digest not in fetch_manifest(blobs, job.source).files])
    assert stored == 2 + 3


@pytest.mark.slow
def test_a_worker_that_is_killed_every_time_fails_with_a_sentence(scheduler, make_job, marker, blobs):
    fresh = scheduler.session_directory is None
    job = make_job("toy.crash", parameters={"marker": str(marker), "times": 9}, state_key=KEY, fresh=fresh)
    with pytest.raises(TaskFailed, match="killed 3 times; it may need more than the 1 GB it claims"):
        scheduler.submit(job).result(LONG)
    assert len(list(marker.iterdir())) == 3
    assert blobs.fences() == ()


def test_one_that_is_closed_takes_no_job_as_if_it_had_been_cancelled(make_job, tmp_path):
    closed = open_scheduler("inline", tmp_path / "cache", {"cpus": 1, "gpus": 0})
    closed.close()
    with pytest.raises(Cancelled, match=r"toy\.copy was cancelled"):
        closed.submit(make_job("toy.copy"))


INLINE = """
import sys
from pathlib import Path
from amends.scheduler import Job, open_scheduler
scheduler = open_scheduler("inline", Path(sys.argv[2]), {"cpus": 1, "gpus": 0})
print(scheduler.submit(Job.from_json(sys.argv[1])).result().output)
scheduler.close()
"""


def left_in(cache):
    return [
        path
        for path in cache.rglob("*")
        if path.name == "so-far" or (path.name.endswith(".lock") and "job-0" in path.name)
    ]


@pytest.mark.slow
def test_after_a_killed_governor_the_same_job_goes_on_with_its_scratch_directory(make_job, marker, blobs, tmp_path):
    job, cache = make_job("toy.resume", parameters={"marker": str(marker), "times": 2}), tmp_path / "cache"
    command = [sys.executable, "-P", "-c", INLINE, job.to_json(), cache]
    for _ in range(2):
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert said(blobs, output, tmp_path) == "xxx"
    assert left_in(cache) == []


@pytest.mark.slow
def test_after_a_killed_worker_of_ray_its_retry_goes_on_with_its_scratch_directory(
    on_ray, make_job, marker, blobs, tmp_path
):
    job = make_job("toy.resume", parameters={"marker": str(marker), "times": 2})
    assert said(blobs, on_ray.submit(job).result(LONG).output, tmp_path) == "xxx"
    other = make_job("toy.resume", parameters={"marker": str(marker), "times": 0})
    assert said(blobs, on_ray.submit(other).result(LONG).output, tmp_path) == "x"


@pytest.mark.slow
def test_a_fresh_job_begins_anew_after_a_kill(scheduler, make_job, marker, blobs, tmp_path):
    job = make_job("toy.resume", parameters={"marker": str(marker), "times": 1}, fresh=True)
    assert said(blobs, scheduler.submit(job).result(LONG).output, tmp_path) == "x"
