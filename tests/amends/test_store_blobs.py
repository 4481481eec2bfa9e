"""Blobs by digest, in a directory and behind MLflow's artifact repository."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from amends.errors import BadInput, Broken, DigestMismatch
from amends.store import LocalBlobs, MlflowBlobs, open_blobs
from amends.store.artifacts import resolve

DIGEST = hashlib.sha256(b"ink").hexdigest()


@pytest.fixture(params=["local", "mlflow"])
def blobs(request, tmp_path):
    root = tmp_path / "store"
    return LocalBlobs(root) if request.param == "local" else MlflowBlobs(root.as_uri())


def files_of(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_bytes_come_back_under_their_digest(blobs):
    assert blobs.put_bytes(b"ink") == DIGEST
    assert blobs.get(DIGEST) == b"ink"
    assert blobs.has(DIGEST)
    assert list(blobs.digests()) == [DIGEST]


def test_a_file_comes_back_byte_by_byte(blobs, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 9000)
    digest = blobs.put_file(source)
    blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_the_layout_is_the_same_on_both(blobs, tmp_path):
    blobs.put_bytes(b"ink")
    assert files_of(tmp_path / "store") == [tmp_path / "store/sha256" / DIGEST[:2] / DIGEST]


def test_a_missing_blob_is_named_and_nothing_is_left_at_the_destination(blobs, tmp_path):
    destination = tmp_path / "copy"
    with pytest.raises(Broken, match=DIGEST[:12]):
        blobs.fetch(DIGEST, destination)
    assert not destination.exists()


def test_a_changed_blob_is_refused_and_set_aside(blobs, tmp_path):
    blobs.put_bytes(b"ink")
    (tmp_path / "store/sha256" / DIGEST[:2] / DIGEST).write_bytes(b"INK")
    with pytest.raises(DigestMismatch, match="set aside"):
        blobs.fetch(DIGEST, tmp_path / "copy")
    assert blobs.quarantined() == (DIGEST,)
    assert not blobs.has(DIGEST)
    assert not (tmp_path / "copy").exists()


def test_a_blob_that_was_set_aside_can_be_put_again(blobs, tmp_path):
    blobs.put_bytes(b"ink")
    (tmp_path / "store/sha256" / DIGEST[:2] / DIGEST).write_bytes(b"INK")
    with pytest.raises(DigestMismatch):
        blobs.get(DIGEST)
    blobs.put_bytes(b"ink")
    assert blobs.get(DIGEST) == b"ink"


def test_deleting_unlinks_main_staged_and_quarantined_copies(blobs, tmp_path):
    blobs.put_bytes(b"ink")
    (tmp_path / "store/sha256" / DIGEST[:2] / DIGEST).write_bytes(b"INK")
    with pytest.raises(DigestMismatch):
        blobs.get(DIGEST)
    blobs.staging("job.1").put_bytes(b"ink")
    blobs.put_bytes(b"ink")
    other = blobs.put_bytes(b"paper")
    blobs.delete(DIGEST)
    assert [path.name for path in files_of(tmp_path / "store")] == [other]


def test_deleting_twice_is_the_same_as_once(blobs):
    blobs.put_bytes(b"ink")
    blobs.delete(DIGEST)
    blobs.delete(DIGEST)
    assert not blobs.has(DIGEST)


def test_what_is_staged_is_seen_by_its_fence_alone(blobs):
    staged = blobs.staging("job.1")
    staged.put_bytes(b"ink")
    assert staged.get(DIGEST) == b"ink"
    assert not blobs.has(DIGEST)
    assert not blobs.staging("job.2").has(DIGEST)


def test_a_fence_sees_what_is_stored_and_does_not_stage_it_again(blobs):
    blobs.put_bytes(b"ink")
    staged = blobs.staging("job.1")
    staged.put_bytes(b"ink")
    assert staged.get(DIGEST) == b"ink"
    assert blobs.fences() == ()


def test_adopting_takes_what_is_named_and_drops_the_rest(blobs, tmp_path):
    staged = blobs.staging("job.1")
    kept, dropped = staged.put_bytes(b"ink"), staged.put_bytes(b"blot")
    assert blobs.adopt("job.1", [kept]) == (kept,)
    assert blobs.get(kept) == b"ink"
    assert not blobs.has(dropped)
    assert blobs.fences() == ()


def test_a_worker_that_writes_after_its_fence_was_dropped_changes_nothing(blobs):
    late = blobs.staging("job.1")
    blobs.discard("job.1")
    late.put_bytes(b"ink")
    assert list(blobs.digests()) == []
    blobs.discard("job.1")
    assert blobs.fences() == ()


@pytest.mark.parametrize("digest", ["", "abc", "../" + "0" * 61, "A" * 64])
def test_what_is_no_digest_names_no_path(blobs, digest):
    with pytest.raises(BadInput, match="not a digest"):
        blobs.has(digest)


@pytest.mark.parametrize("fence", ["", "../job", "a/b", ".hidden"])
def test_a_fence_names_no_path(blobs, fence):
    with pytest.raises(BadInput, match="fencing token"):
        blobs.staging(fence)


FULL = """
import resource, sys
from pathlib import Path
from amends.errors import BadInput
from amends.store import LocalBlobs
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store, source = LocalBlobs(Path(sys.argv[1])), Path(sys.argv[2])
try:
    store.put_file(source) if sys.argv[3] == "put" else store.fetch(sys.argv[4], Path(sys.argv[5]))
except BadInput as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 1_000_000)
    said = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "store", source, "put"], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("there is no room to write under") and "free some space" in said and said.count("\n") == 1
    assert files_of(tmp_path / "store") == []


def test_a_full_disk_while_fetching_leaves_nothing_at_the_destination(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 1_000_000)
    digest = LocalBlobs(tmp_path / "store").put_file(source)
    arguments = [tmp_path / "store", source, "fetch", digest, tmp_path / "copy"]
    said = subprocess.run([sys.executable, "-c", FULL, *arguments], capture_output=True, text=True, check=True).stdout
    assert said.startswith("there is no room")
    assert not (tmp_path / "copy").exists()
    assert LocalBlobs(tmp_path / "store").has(digest)


def test_an_address_opens_the_store_it_names(tmp_path):
    assert isinstance(open_blobs(tmp_path), LocalBlobs)
    assert open_blobs((tmp_path / "a b").as_uri()).root == tmp_path / "a b"
    assert isinstance(open_blobs("http://127.0.0.1:1/blobs"), MlflowBlobs)
    local = LocalBlobs(tmp_path)
    assert open_blobs(local.uri).root == local.root


def test_an_artifact_address_means_the_same_on_every_machine(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    whole = "http://host:5000/mlflow/api/2.0/mlflow-artifacts/artifacts/amends/blobs"
    assert resolve("mlflow-artifacts:/amends/blobs", "http://host:5000/mlflow/") == whole
    assert resolve(whole) == whole
    assert resolve("http://host:5000/amends") == "http://host:5000/api/2.0/mlflow-artifacts/artifacts/amends"
    with pytest.raises(BadInput, match="MLFLOW_TRACKING_URI"):
        resolve("mlflow-artifacts:/amends/blobs", "sqlite:///mlflow.db")


def test_a_password_in_an_address_is_refused_without_repeating_it():
    with pytest.raises(BadInput) as refused:
        open_blobs("https://user:hunter2@host/blobs")
    assert "hunter2" not in str(refused.value)


def test_opening_a_store_does_not_change_the_tracking_server(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    MlflowBlobs(tmp_path.as_uri()).put_bytes(b"ink")
    import os

    assert "MLFLOW_TRACKING_URI" not in os.environ
