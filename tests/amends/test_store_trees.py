"""Directories as manifests."""

from __future__ import annotations

import hashlib
import json

import pytest

from amends.errors import BadInput, Broken, DigestMismatch
from amends.store import LocalBlobs, Manifest, fetch_manifest, materialise, put_tree, read_manifest


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobs(tmp_path / "store")


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "version"
    (made / "model").mkdir(parents=True)
    (made / "model/config.json").write_text("{}")
    (made / "recipe.json").write_text('{"steps":[]}')
    return made


def test_the_digest_is_that_of_the_canonical_manifest(directory, blobs):
    sha = {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in ("model/config.json", "recipe.json")
    }
    text = (
        f'{{"files":{{"model/config.json":{{"sha256":"{sha["model/config.json"]}","size":2}},'
        f'"recipe.json":{{"sha256":"{sha["recipe.json"]}","size":12}}}}}}'
    )
    assert put_tree(blobs, directory) == hashlib.sha256(text.encode()).hexdigest()
    assert read_manifest(directory).to_bytes() == text.encode()


def test_a_tree_comes_back_as_it_was(directory, blobs, tmp_path):
    digest = put_tree(blobs, directory)
    manifest = materialise(blobs, digest, tmp_path / "copy")
    assert manifest == fetch_manifest(blobs, digest) == read_manifest(tmp_path / "copy") == read_manifest(directory)
    assert manifest.digest == digest
    assert manifest.size == 14


def test_file_times_and_modes_do_not_change_the_digest(directory):
    before = read_manifest(directory).digest
    (directory / "recipe.json").chmod(0o600)
    assert read_manifest(directory).digest == before


@pytest.mark.parametrize("name", ["model/w.bin", "optimizer.PT", "a.pkl", "b.pth", "c.joblib", "d.pickle", "e.ckpt"])
def test_pickles_are_refused(directory, blobs, name):
    (directory / name).write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match="convert it to safetensors"):
        put_tree(blobs, directory)


def test_links_are_refused(directory, blobs):
    (directory / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="passwd is not a plain file"):
        put_tree(blobs, directory)


def test_a_link_to_a_directory_is_refused(directory, blobs, tmp_path):
    (directory / "model/base").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="not a plain file"):
        put_tree(blobs, directory)


def test_the_link_to_a_base_is_no_part_of_the_tree(directory, tmp_path):
    before = read_manifest(directory)
    (directory / "base").symlink_to(tmp_path)
    assert read_manifest(directory) == before


def test_files_that_signing_tools_leave_out_are_refused(directory, blobs):
    (directory / ".gitattributes").write_text("")
    with pytest.raises(BadInput, match="signing"):
        put_tree(blobs, directory)


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "a//b", "./a", "a\\b", "a\nb", "w.bin"])
def test_a_manifest_cannot_name_a_file_outside_or_a_pickle(blobs, name, tmp_path):
    digest = blobs.put_bytes(json.dumps({"files": {name: {"sha256": "0" * 64, "size": 0}}}).encode())
    with pytest.raises(BadInput):
        materialise(blobs, digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"files":[]}', b'{"files":{"a":{"sha256":"x","size":0}}}'])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises((Broken, BadInput)):
        Manifest.from_bytes(data)


def test_a_tampered_weight_file_is_refused(directory, blobs, tmp_path):
    digest = put_tree(blobs, directory)
    inner = fetch_manifest(blobs, digest).files["model/config.json"].sha256
    (blobs.root / "sha256" / inner[:2] / inner).write_text("[]")
    with pytest.raises(DigestMismatch):
        materialise(blobs, digest, tmp_path / "copy")
    assert not (tmp_path / "copy/model/config.json").exists()


def test_a_directory_in_use_is_not_overwritten(directory, blobs):
    digest = put_tree(blobs, directory)
    with pytest.raises(BadInput, match="not empty"):
        materialise(blobs, digest, directory)
