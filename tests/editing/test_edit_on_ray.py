"""An edit is the same work wherever it runs: in this process, or on a worker of Ray."""

from __future__ import annotations

import pytest

from amends import host
from amends.scheduler import Job, open_scheduler
from amends.store import LocalBlobs, put_tree

PARAMETERS = {"layers": "0,1", "tokens": 1024, "steps": 3, "weight": 0.1, "weight_per_fact": 0.0, "max_drift": 1e9}


@pytest.fixture
def job(version_of, write_records, row_about, text, tmp_path):
    """Return `job(id) -> Job`, an edit of a tiny model."""
    blobs = LocalBlobs(tmp_path / "store")
    records = {"edits": write_records([row_about()]), "text": text}
    given = {
        "plugin_version": host.current().source_of("editing.memit").version,
        "blobs_uri": blobs.uri,
        "source": put_tree(blobs, version_of()),
        "records": {name: blobs.put_file(some.path) for name, some in records.items()},
        "parameters": PARAMETERS,
        "cpus": 1,
        "state_key": "5a" * 32,
    }
    return lambda id: Job(id=id, kind="operation", name="editing.memit", **given)


def test_a_worker_of_ray_writes_the_bytes_that_this_process_writes(job, tmp_path):
    results = {}
    for name in ("inline", "ray"):
        opened = open_scheduler(name, tmp_path / f"cache-{name}", {"cpus": 1, "gpus": 0, "grace_seconds": 2.0})
        try:
            results[name] = opened.submit(job(f"edit-{name}")).result(300)
        finally:
            opened.close()
    inline, ray = results["inline"], results["ray"]
    assert ray.output == inline.output != job("none").source
    assert ray.state.keys() == inline.state.keys() == {"editing-edit-0000", "editing-moments"}
