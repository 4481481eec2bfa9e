"""What one machine keeps."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest

from amends.errors import BadInput, Broken, DigestMismatch
from amends.store import LocalBlobs, NodeCache, put_tree
from amends.store.cache import is_sound


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobs(tmp_path / "store")


@pytest.fixture
def cache(tmp_path, blobs):
    return NodeCache(tmp_path / "cache", blobs)


def put(blobs, directory, files):
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return put_tree(blobs, directory)


@pytest.fixture
def tree(blobs, tmp_path):
    return put(
        blobs, tmp_path / "made", {"model/config.json": "{}", "model/deep/vocab.txt": "a b", "recipe.json": "{}"}
    )


def test_a_tree_is_fetched_once_and_shared(cache, blobs, tree):
    path = cache.tree(tree)
    for digest in list(blobs.digests()):
        blobs.delete(digest)
    assert cache.tree(tree) == path
    assert (path / "model/deep/vocab.txt").read_text() == "a b"


def test_copies_are_read_only(cache, blobs, tree):
    path = cache.tree(tree)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.rglob("*") if file.is_file()}
    assert modes == {0o444}
    assert stat.S_IMODE((path / "model").stat().st_mode) == 0o555
    assert stat.S_IMODE(cache.file(blobs.put_bytes(b"rows")).stat().st_mode) == 0o444


def test_a_changed_copy_is_never_handed_out(cache, tree):
    file = cache.tree(tree) / "model/config.json"
    file.chmod(0o644)
    file.write_text("[]")
    assert not is_sound(cache.directory / "trees" / tree)
    assert (cache.tree(tree) / "model/config.json").read_text() == "{}"


def test_a_file_added_to_a_copy_is_noticed(cache, tree):
    path = cache.tree(tree)
    (path / "extra").write_text("")
    assert not (cache.tree(tree) / "extra").exists()


def test_a_reference_gets_its_base_beside_it(cache, blobs, tmp_path, tree):
    reference = put(blobs, tmp_path / "reference", {"model/reference.json": json.dumps({"base": tree})})
    path = cache.tree(reference)
    assert (path / "base/config.json").read_text() == "{}"
    assert is_sound(path)


def test_a_reference_to_a_reference_ends_at_the_weights(cache, blobs, tmp_path, tree):
    first = put(blobs, tmp_path / "first", {"model/reference.json": json.dumps({"base": tree})})
    second = put(blobs, tmp_path / "second", {"model/reference.json": json.dumps({"base": first})})
    assert (cache.tree(second) / "base").resolve() == cache.tree(tree) / "model"


def test_a_reference_to_what_is_no_model_is_refused(cache, blobs, tmp_path):
    empty = put(blobs, tmp_path / "empty", {"readme.txt": ""})
    reference = put(blobs, tmp_path / "reference", {"model/reference.json": json.dumps({"base": empty})})
    with pytest.raises(BadInput, match="no model"):
        cache.tree(reference)


def test_a_tree_that_cannot_be_fetched_leaves_nothing(cache, blobs, tree):
    for digest in list(blobs.digests()):
        if digest != tree:
            blobs.delete(digest)
    with pytest.raises(Broken):
        cache.tree(tree)
    assert [path for path in cache.directory.rglob("*") if path.is_dir() and tree in path.name] == []
    assert list((cache.directory / "scratch").iterdir()) == []


def test_a_tampered_blob_is_not_cached(cache, blobs):
    digest = blobs.put_bytes(b"rows")
    (blobs.root / "sha256" / digest[:2] / digest).write_bytes(b"ROWS")
    with pytest.raises(DigestMismatch):
        cache.file(digest)
    assert not (cache.directory / "files" / digest).exists()


def test_purging_removes_a_tree_by_any_of_its_files(cache, blobs, tree):
    other = blobs.put_bytes(b"rows")
    cache.tree(tree)
    cache.file(other)
    inner = blobs.put_bytes(b"a b")
    assert cache.purge([inner]) == (tree,)
    assert not (cache.directory / "trees" / tree).exists()
    assert cache.purge([other]) == (other,)
    assert cache.purge([other]) == ()


def test_pruning_drops_what_was_used_longest_ago(cache, blobs):
    first, second = blobs.put_bytes(b"1" * 100), blobs.put_bytes(b"2" * 100)
    cache.file(first)
    cache.file(second)
    cache.file(first)
    assert cache.prune(150) == (second,)
    assert (cache.directory / "files" / first).exists()


def test_scratch_goes_when_its_body_ends(cache):
    with cache.scratch("job") as path:
        (path / "weights").write_text("")
        assert cache.sweep() == 0
        assert path.exists()
    assert list((cache.directory / "scratch").iterdir()) == []


KILLED = """
import os, sys
from pathlib import Path
from amends.store import LocalBlobs, NodeCache
with NodeCache(Path(sys.argv[1]), LocalBlobs(Path(sys.argv[1]))).scratch("job") as path:
    (path / "weights").write_text("a person")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_purged(cache, tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, cache.directory], check=False)
    assert len(list(cache.directory.rglob("weights"))) == 1
    cache.purge([])
    assert list((cache.directory / "scratch").iterdir()) == []


LIVES = """
import sys
from pathlib import Path
from amends.store import LocalBlobs, NodeCache
with NodeCache(Path(sys.argv[1]), LocalBlobs(Path(sys.argv[1]))).scratch("job.b") as path:
    (path / "part").mkdir()
    (path / "part" / "weights").write_text("alive")
    print("ready", flush=True)
    sys.stdin.read()
"""


def left_by_a_killed(cache, name, text):
    script = KILLED.replace('"job"', f'"{name}"').replace(
        '(path / "weights").write_text("a person")',
        f'(path / "part").mkdir(); (path / "part" / "weights").write_text("{text}")',
    )
    subprocess.run([sys.executable, "-c", script, cache.directory], check=False)


def test_what_a_killed_attempt_left_is_handed_down_once_and_no_other_name_s(cache):
    left_by_a_killed(cache, "job.a", "mine")
    left_by_a_killed(cache, "jobs.a", "another's")
    with cache.scratch("job.b") as heir, cache.scratch("job.c") as late:
        assert cache.inherit("job", "part", heir)
        assert (heir / "part" / "weights").read_text() == "mine"
        assert not cache.inherit("job", "part", late)
        assert cache.sweep() == 1  # of the other name
    assert list((cache.directory / "scratch").iterdir()) == []


def test_an_attempt_that_lives_is_not_robbed(cache):
    command = [sys.executable, "-c", LIVES, str(cache.directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living:
        assert living.stdout.readline() == "ready\n"
        with cache.scratch("job.c") as heir:
            assert not cache.inherit("job", "part", heir)
        assert [file.read_text() for file in cache.directory.rglob("weights")] == ["alive"]
        living.stdin.close()
    assert list((cache.directory / "scratch").iterdir()) == []
