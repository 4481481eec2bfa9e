"""What is Ray's own: sessions, tokens, GPUs, workers that do not listen, drivers that die."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from amends.errors import AmendsError, BadInput, Cancelled
from amends.scheduler import open_scheduler
from amends.scheduler.session import short_directory
from amends.store.cache import purge_copies

LONG = 240


@pytest.fixture
def scheduler(on_ray):
    return on_ray


def until(claim, seconds=60):
    tick = threading.Event()
    for _ in range(seconds * 20):
        if claim():
            return
        tick.wait(0.05)
    raise AssertionError("it did not happen in time")


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def where(scheduler, make_job, marker, **given):
    for old in marker.iterdir():
        old.unlink()
    scheduler.submit(make_job("toy.where", parameters={"marker": str(marker)}, **given)).result(LONG)
    return next(marker.iterdir()).read_text().splitlines()


def test_only_a_name_travels():
    from ray import cloudpickle

    from amends.scheduler import remote
    from amends.scheduler.board import Board

    for thing in (remote.attempt, remote.purge, Board):
        pickled = cloudpickle.dumps(thing)
        assert len(pickled) < 100
        assert thing.__module__.encode() in pickled


def test_ray_is_small_private_and_short(scheduler):
    import ray

    directory = scheduler.session_directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert len(str(directory)) <= 36
    assert ray.cluster_resources()["object_store_memory"] <= 100 * 1024 * 1024
    assert not ray._private.worker.global_worker.node.webui_url
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_the_token_is_the_session_s_own(scheduler):
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.parent == scheduler.session_directory
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.slow
def test_a_client_without_the_token_is_turned_away(scheduler):
    import ray

    address = ray.get_runtime_context().gcs_address
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    tried = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert tried.returncode != 0
    assert "Auth" in tried.stderr


def test_another_cluster_is_not_mistaken_for_the_one_that_was_named(scheduler, tmp_path):
    with pytest.raises(BadInput, match="already connected"):
        open_scheduler("ray", tmp_path, {"address": "127.0.0.1:1"})


def test_a_ray_that_does_not_come_up_is_said_with_the_way_out(monkeypatch):
    import ray

    from amends.scheduler.session import _start

    def times_out(**_):
        raise Exception("The current node timed out during startup")  # a bare one, as Ray raises it

    monkeypatch.setattr(ray, "init", times_out)
    with pytest.raises(AmendsError, match=r"Ray did not start \(Exception\); .* ask again"):
        _start()


def test_a_long_directory_for_sockets_is_refused(tmp_path):
    long = tmp_path / ("x" * 60)
    from amends.scheduler.session import _prepare

    with pytest.raises(BadInput, match="set temp_dir to at most 36 letters"):
        _prepare(long)
    assert not long.exists()


def test_the_same_cache_gives_the_same_short_directory(tmp_path):
    assert short_directory(tmp_path) == short_directory(tmp_path)
    assert short_directory(tmp_path) != short_directory(tmp_path / "other")


def test_a_cpu_job_sees_no_gpu_and_never_shares_a_process_with_a_gpu_job(scheduler, make_job, marker):
    cpu = [where(scheduler, make_job, marker) for _ in range(2)]
    gpu = [where(scheduler, make_job, marker, gpus=claim) for claim in (1, 0.5)]
    assert {lines[2] for lines in cpu} == {""}
    assert {lines[2] for lines in gpu} == {"0"}
    assert {lines[0] for lines in cpu}.isdisjoint(lines[0] for lines in gpu)
    assert gpu[0][0] != gpu[1][0]


def test_threads_follow_the_claimed_cores(scheduler, make_job, marker):
    assert where(scheduler, make_job, marker, cpus=2)[3] == "2"


def test_a_named_cache_is_used(scheduler, make_job, marker, monkeypatch):
    from amends.scheduler.remote import node_cache

    monkeypatch.setenv("AMENDS_CACHE", "/node/cache")
    assert node_cache("/driver/cache") == Path("/node/cache")


def test_what_a_job_prints_is_in_no_file_of_the_session(scheduler, make_job):
    needle, control = "Ada Quill lives in Brenn", "toy.loud"
    scheduler.submit(make_job("toy.loud", parameters={"needle": needle})).result(LONG)
    files = [path for path in scheduler.session_directory.rglob("*") if path.is_file()]
    text = b"".join(path.read_bytes() for path in files)
    assert control.encode() in text
    assert needle.encode() not in text


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
def test_a_job_that_does_not_listen_is_killed_with_its_children(scheduler, make_job, marker, blobs, fresh):
    before = list(blobs.digests())
    handle = scheduler.submit(make_job("toy.deaf", parameters={"marker": str(marker)}, fresh=fresh))
    until((marker / "started").exists)
    child = int((marker / "child").read_text())
    assert is_alive(child)
    handle.cancel()
    with pytest.raises(Cancelled):
        handle.result(LONG)
    until(lambda: not is_alive(child))
    assert list(blobs.digests()) == before
    assert blobs.fences() == ()


def worker_of(cache: Path) -> list[int]:
    """Return the fresh processes that still run on this cache."""
    named = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [int(path.name) for path in named if is_alive(int(path.name)) and str(cache).encode() in command(path)]


def command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def swept(cache: Path) -> bool:
    """Purge, and say whether nothing half-written is left; what a worker still holds stays until it ends."""
    purge_copies(cache, [])
    return not list(cache.rglob("half.txt"))


DRIVER = """
import sys
from pathlib import Path
from amends.scheduler import Job, open_scheduler
scheduler = open_scheduler("ray", Path(sys.argv[2]), {"cpus": 1, "gpus": 0})
scheduler.submit(Job.from_json(sys.argv[1])).result()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["toy.deaf", "toy.loop"])
def test_nothing_of_a_driver_that_was_killed_stays_or_is_stored(make_job, marker, blobs, tmp_path, name):
    before = list(blobs.digests())
    job = make_job(name, parameters={"marker": str(marker)}, fresh=name == "toy.loop")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-P", "-c", DRIVER, job.to_json(), tmp_path / "cache"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until((marker / "started").exists)
    driver.kill()
    driver.wait()
    until(lambda: not is_alive(int((marker / "child").read_text())))
    until(lambda: not worker_of(tmp_path / "cache"))
    assert list(blobs.digests()) == before
    for fence in blobs.fences():
        blobs.discard(fence)
    until(lambda: swept(tmp_path / "cache"))


PASSING = """
import sys, threading, time
from pathlib import Path
from amends import Cancelled
from amends.scheduler import Job, open_scheduler
opened = []
opener = threading.Thread(target=lambda: opened.append(
    open_scheduler("ray", Path(sys.argv[2]), {"cpus": 1, "gpus": 0})))
opener.start()
opener.join()
time.sleep(1.0)
print(opened[0].submit(Job.from_json(sys.argv[1])).result(60).output)
opened[0].close()
try:
    opened[0].submit(Job.from_json(sys.argv[1]))
except Cancelled:
    print("cancelled")
"""


@pytest.mark.slow
def test_ray_outlives_the_thread_that_first_needed_it_and_takes_no_job_once_it_is_closed(make_job, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-P", "-c", PASSING, make_job("toy.copy").to_json(), str(tmp_path / "cache")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONG, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    output, after = ran.stdout.split()
    assert len(output) == 64 and after == "cancelled"
