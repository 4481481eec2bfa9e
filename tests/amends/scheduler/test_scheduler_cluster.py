"""Two nodes that share no disk, with an MLflow server over HTTP for the bytes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter

import pytest

from amends.errors import Infeasible, TaskFailed
from amends.scheduler import open_scheduler
from amends.store import open_blobs, put_tree

pytestmark = pytest.mark.slow
LONG = 240
KEY = "ab" * 32


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory, fresh_mlflow):
    """Start an MLflow server with its artifacts in a directory of its own, and return its address."""
    home, port = tmp_path_factory.mktemp("mlflow"), free_port()
    shutil.copy(fresh_mlflow, home)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{home}/mlflow.db",
        "--artifacts-destination",
        str(home / "artifacts"),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **quiet}
    process = subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    address, tick = f"http://127.0.0.1:{port}", threading.Event()
    for _ in range(1200):
        try:
            urllib.request.urlopen(f"{address}/health")
            break
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None
            tick.wait(0.1)
    yield address
    os.killpg(process.pid, 9)
    process.wait()


@pytest.fixture
def blobs(server):
    return open_blobs("mlflow-artifacts:/amends/blobs", server)


@pytest.fixture(scope="module")
def cluster(plugin, tmp_path_factory):
    """Start two nodes of one CPU each; the first has a logical GPU."""
    from ray.cluster_utils import Cluster

    caches = [tmp_path_factory.mktemp(f"node-{number}") for number in (1, 2)]
    made = Cluster()
    for number, cache in enumerate(caches):
        made.add_node(num_cpus=1, num_gpus=1 - number, env_vars={"AMENDS_CACHE": str(cache)}, include_dashboard=False)
    yield made, caches
    made.shutdown()


@pytest.fixture(scope="module")
def scheduler(cluster, tmp_path_factory):
    settings = {"address": cluster[0].address, "patience_seconds": 3.0}
    opened = open_scheduler("ray", tmp_path_factory.mktemp("driver"), settings)
    yield opened
    opened.close()


def test_blobs_behave_over_http(blobs):
    digest = blobs.put_bytes(b"ink over http")
    assert blobs.has(digest) and blobs.get(digest) == b"ink over http"
    assert digest in list(blobs.digests())
    staged = blobs.staging("job.1")
    other = staged.put_bytes(b"staged over http")
    assert not blobs.has(other)
    assert blobs.adopt("job.1", [other]) == (other,)
    assert blobs.fences() == ()
    for gone in (digest, other):
        blobs.delete(gone)
        assert not blobs.has(gone)


def test_bytes_travel_by_digest_between_nodes_that_share_no_disk(scheduler, cluster, make_job, blobs, marker):
    _, caches = cluster
    jobs = [make_job("toy.where", parameters={"marker": str(marker)}, gpus=0) for _ in range(8)]
    results = [handle.result(LONG) for handle in [scheduler.submit(job) for job in jobs]]
    used = Counter(path.read_text().splitlines()[1] for path in marker.iterdir())
    assert set(used) == {str(cache) for cache in caches}
    assert len({result.node for result in results}) == 2
    assert len({result.output for result in results}) == 1
    assert all(blobs.has(digest) for digest in {result.output for result in results})


def test_state_made_on_one_node_is_read_on_the_other(scheduler, make_job):
    first = scheduler.submit(make_job("toy.remember", parameters={"text": "ink"}, state_key=KEY, gpus=1)).result(LONG)
    for _ in range(2):
        job = make_job("toy.remember", parameters={"text": "well"}, state=first.state, state_key=KEY)
        assert set(scheduler.submit(job).result(LONG).state) == {"secret"}


def test_a_purge_reaches_every_node(scheduler, cluster, make_job, marker, source):
    _, caches = cluster
    jobs = [make_job("toy.where", parameters={"marker": str(marker)}) for _ in range(8)]
    for handle in [scheduler.submit(job) for job in jobs]:
        handle.result(LONG)
    assert all((cache / "trees" / source).exists() for cache in caches)
    went = scheduler.purge([source])
    assert list(went.values()) == [(source,), (source,)]
    assert not any((cache / "trees" / source).exists() for cache in caches)


def test_resources_are_checked_node_by_node(scheduler, make_job):
    assert scheduler.resources()["cpus"] == 2
    with pytest.raises(Infeasible, match=r"claims 2 CPUs.*the cluster has 2"):
        scheduler.submit(make_job("toy.copy", cpus=2))


def test_the_driver_s_tree_over_http_is_the_tree_on_disk(blobs, tmp_path, source):
    assert put_tree(blobs, tmp_path / "made") == source


def test_a_job_whose_node_is_lost_fails_with_what_is_left(scheduler, cluster, make_job, marker):
    made, _ = cluster
    head = make_job("toy.loop", parameters={"marker": str(marker)}, gpus=1)
    running = scheduler.submit(head)
    until = threading.Event()
    while not (marker / "started").exists():
        until.wait(0.05)
    extra = made.add_node(num_cpus=3, num_gpus=0)
    waiting = scheduler.submit(make_job("toy.loop", parameters={"marker": str(marker)}, cpus=3))
    made.remove_node(extra, allow_graceful=False)
    with pytest.raises(TaskFailed, match=r"3 CPUs.*a node was lost"):
        waiting.result(LONG)
    running.cancel()
    with pytest.raises(TaskFailed):
        running.result(LONG)
