"""A backup's file: what was changed in one is not restored, and neither is written over something."""

from __future__ import annotations

import fcntl
import io
import tarfile

import pytest

from amends.errors import BadInput, Tampered, Waiting
from amends.governor.upkeep.backing import backup, restore
from amends.ledger import copies


@pytest.fixture
def archive(small_workspace, tmp_path):
    backup(small_workspace, tmp_path / "b.tar")
    return tmp_path / "b.tar"


def rewrite(file, change):
    """Write an archive again with `change(name, data) -> data | None` applied to each member."""
    target = file.with_suffix(".changed")
    with tarfile.open(file) as old, tarfile.open(target, "w") as new:
        for member in old:
            data = change(member.name, old.extractfile(member).read())
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    return target


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: data + b"x" if name.endswith("amends.toml") else data,
        lambda name, data: None if name.endswith("amends.db") else data,
        lambda name, data: data.replace(b"payload", b"payloud") if name == "manifest.json" else data,
        lambda name, data: data[:-1] + bytes([data[-1] ^ 1]) if name.endswith("/suppression") else data,
    ],
)
def test_a_changed_backup_is_refused(archive, tmp_path, change):
    with pytest.raises(Tampered):
        restore(rewrite(archive, change), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_that_would_write_elsewhere_is_refused(archive, tmp_path):
    with tarfile.open(archive, "a") as tar:
        info = tarfile.TarInfo("files/../../outside")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(Tampered):
        restore(archive, tmp_path / "new")
    link = tmp_path / "link.tar"
    with tarfile.open(link, "w") as tar:
        info = tarfile.TarInfo("files/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(Tampered):
        restore(link, tmp_path / "new")
    assert not (tmp_path / "outside").exists()


def test_what_is_no_backup_or_half_of_one_is_refused(archive, tmp_path):
    half = tmp_path / "half.tar"
    half.write_bytes(archive.read_bytes()[:20_000])
    for bad in (half, tmp_path / "nothing", tmp_path):
        with pytest.raises(BadInput):
            restore(bad, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_home_that_holds_something_is_not_restored_over(archive, tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "thesis.txt").write_text("keep me")
    for bad in (place, place / "thesis.txt"):
        with pytest.raises(BadInput, match="empty"):
            restore(archive, bad)
    assert (place / "thesis.txt").read_text() == "keep me"


def test_a_backup_is_not_written_over_something_nor_into_the_workspace_nor_while_a_case_runs(small_workspace, tmp_path):
    (tmp_path / "there").write_text("keep me")
    for bad, days in ((tmp_path / "there", 30), (small_workspace.home / "b.tar", 30), (tmp_path / "b.tar", 0)):
        with pytest.raises(BadInput):
            backup(small_workspace, bad, days)
    with (small_workspace.home / "executor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Waiting):
            backup(small_workspace, tmp_path / "b.tar")
    with small_workspace.database.read() as connection:
        assert not [copy for copy in copies.pending(connection) if str(tmp_path) in str(copy.place)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "there"]
