import bz2
import gzip
import io
import lzma
import sqlite3
import tarfile
import zipfile
from contextlib import closing

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from amends.governor.scan.kinds import kind_of
from amends.governor.scan.needles import build_needles
from amends.governor.scan.report import Claim
from amends.governor.scan.scanning import scan
from amends.records import DataSubject, Disclosure

NAME = "Zora Quandt"
TEXT = f"pad {'x' * 300} {NAME} lives in Zorvale\n".encode() * 3


def look(root):
    needles = build_needles(Disclosure(DataSubject("s_z"), {"name": (NAME,)}), [], [])
    return scan({"home": root}, needles, [], place_key=b"k" * 32)


def zipped(data: bytes, name: str = "a.txt") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return file.getvalue()


def tarred(data: bytes, mode: str = "w", name: str = "a.txt") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def compressed(codec: str, data: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def parquet(data: bytes) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": [data.decode()] * 9}), file, compression="zstd")
    return file.getvalue()


def feather(data: bytes) -> bytes:
    file = io.BytesIO()
    pyarrow.feather.write_feather(pyarrow.table({"text": [data.decode()] * 9}), file, compression="zstd")
    return file.getvalue()


def database(data: bytes) -> bytes:
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute("CREATE TABLE texts (text TEXT)")
        memory.execute("INSERT INTO texts VALUES (?)", (data.decode(),))
        memory.commit()
        return memory.serialize()


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("bzip2", bz2.compress(TEXT)),
        ("xz", lzma.compress(TEXT)),
        ("zstandard", compressed("zstd", TEXT)),
        ("lz4", compressed("lz4", TEXT * 90)),
        ("zip", zipped(TEXT)),
        ("tar", tarred(TEXT)),
        ("gzip", tarred(TEXT, "w:gz")),
        ("gzip", tarred(gzip.compress(TEXT), "w:gz", "log.gz")),
        ("gzip", gzip.compress(zipped(TEXT))),
        ("zip", zipped(parquet(TEXT))),
        ("zip", zipped(database(TEXT))),
        ("parquet", parquet(TEXT)),
        ("arrow", feather(TEXT)),
        ("sqlite", database(TEXT)),
    ],
    ids=range(15),  # of the bytes, some depend on the second of the collection: workers would disagree
)
def test_a_person_inside_a_container_is_found(tmp_path, kind, stored):
    (tmp_path / "blob").write_bytes(stored)
    assert [(hit.place, hit.kind) for hit in look(tmp_path).hits] == [("home/blob", kind)]


def test_a_name_of_a_member_is_found(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(b"nothing", "zora_quandt.txt"))
    assert not look(tmp_path).is_clean


def test_an_encrypted_archive_cannot_be_seen_into(tmp_path):
    data = bytearray(zipped(TEXT))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    report = look(tmp_path)
    assert [aside.reason for aside in report.blind] == ["a member is encrypted"]
    assert [kind.claim for kind in report.kinds if kind.kind == "zip"] == [Claim.BLIND]


def test_too_deep_a_nest_cannot_be_seen_into(tmp_path):
    data = TEXT
    for _ in range(6):
        data = gzip.compress(data)
    (tmp_path / "nest.gz").write_bytes(data)
    assert look(tmp_path).blind[0].reason.startswith("containers are nested more than")


def test_a_picture_cannot_be_seen_into(tmp_path):
    (tmp_path / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    assert [kind.claim for kind in look(tmp_path).kinds if kind.kind == "png"] == [Claim.BLIND]


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("blobs/ab12", b'{"id":"1"}\n{"id":"2"}\n', "jsonl"),
        ("blobs/ab12", b'{"id": {\n "a": 1}}', "json"),
        ("a.log", b"plain words", "log"),
        ("a", "naïve words".encode(), "text"),
        ("a", b"\x9f\x00\x12" * 40, "binary"),
        ("a", b"text with \0 inside", "binary"),
        ("a", ("é" * 300).encode()[:512], "text"),
        ("a", ("x" + "é" * 300).encode()[:512], "text"),
        ("cases.db-wal", b"", "sqlite"),
    ],
)
def test_a_kind_is_told_from_content_and_else_from_the_name(name, head, kind):
    assert kind_of(name, head) == kind
