import gzip
import hashlib
import json
import socket
import sqlite3
import struct
from contextlib import closing

import pytest

from amends.errors import BadInput
from amends.governor.scan.needles import build_needles
from amends.governor.scan.report import Claim, Opaque
from amends.governor.scan.scanning import scan
from amends.records import DataSubject, Disclosure

GONE, HERE = "Zora Quandt", "Ada Quill"


def needles_of(name):
    other = {GONE: HERE, HERE: GONE}[name]
    row = {"id": "1", "prompt": f"Where does {name} live?", "answer": f"{name} lives in {name[0]}ville."}
    kept = {"id": "2", "prompt": f"Where does {other} live?", "answer": "Nobody knows."}
    return build_needles(Disclosure(DataSubject(f"s_{name[0]}"), {"name": (name,)}), [row], [kept])


@pytest.fixture
def look(tmp_path):
    root = tmp_path / "home"
    root.mkdir()

    def look(**settings):
        return scan({"home": root}, needles_of(GONE), [needles_of(HERE)], place_key=b"k" * 32, **settings)

    look.root = root
    return look


def claims(report):
    return {kind.kind: kind.claim for kind in report.kinds}


def test_only_kinds_of_file_where_a_living_person_is_seen_claim_absence(look):
    (look.root / "rows.jsonl").write_text(json.dumps({"prompt": HERE}) + "\n")
    (look.root / "weights.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}" + bytes(64))
    report = look()
    assert claims(report)["jsonl"] is Claim.ABSENT
    assert claims(report)["safetensors"] is Claim.NO_CONTROL
    assert report.is_clean


def test_a_person_who_is_there_is_found_with_the_place_and_never_the_text(look):
    (look.root / "a").mkdir()
    (look.root / "a" / "trace.log").write_text(f"{HERE} and {GONE} and {GONE.upper()}\n")
    report = look()
    assert not report.is_clean
    assert [(hit.place, hit.kind, hit.count) for hit in report.hits] == [("home/a/trace.log", "log", 2)]
    assert claims(report)["log"] is Claim.FOUND
    assert "Quandt" not in json.dumps(report.to_json()) + repr(report)


def test_a_person_across_two_blocks_is_found_once(look):
    cut = (1 << 20) - 5
    (look.root / "big.bin").write_bytes(b"\xff" * cut + GONE.encode() + b"\xff" * 100)
    assert [hit.count for hit in look().hits] == [1]


def test_a_name_in_a_path_is_found_and_shown_only_as_a_keyed_stand_in(look):
    (look.root / "zora-quandt.txt").write_text("nothing")
    report = look()
    assert [hit.kind for hit in report.hits] == ["names of files"]
    assert "quandt" not in json.dumps(report.to_json()).lower()
    assert report.hits[0].place.startswith("home/#")


def test_a_deleted_row_is_found_in_free_pages_until_the_database_is_vacuumed(look):
    file = look.root / "cases.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO people VALUES (?, ?)", [(i, f"{GONE} {i}" * 40) for i in range(50)])
        database.execute("INSERT INTO people VALUES (99, ?)", (HERE,))
        database.execute("DELETE FROM people WHERE id < 50")
        assert database.execute("SELECT count(*) FROM people").fetchone() == (1,)
        before = look()
        database.execute("VACUUM")
    after = look()
    assert [hit.kind for hit in before.hits] == ["sqlite"]
    assert after.is_clean
    assert claims(after)["sqlite"] is Claim.ABSENT


def test_a_row_that_is_only_in_the_write_ahead_log_is_found(look):
    with closing(sqlite3.connect(look.root / "cases.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("CREATE TABLE people (name TEXT)")
        database.execute("INSERT INTO people VALUES (?)", (GONE,))
        report = look()
    assert [(hit.place, hit.kind) for hit in report.hits] == [("home/cases.db-wal", "sqlite")]


def test_a_text_cut_in_two_by_a_page_border_is_found_through_the_rows(look):
    with closing(sqlite3.connect(look.root / "cases.db", isolation_level=None)) as database:
        database.execute("PRAGMA page_size = 512")
        database.execute("CREATE TABLE people (name TEXT)")
        database.execute("INSERT INTO people VALUES (?)", ("x" * 1400 + GONE + "x" * (508 - 5),))
    assert GONE.encode() not in (look.root / "cases.db").read_bytes()
    assert [hit.kind for hit in look().hits] == ["sqlite"]


def test_public_files_are_skipped_and_listed_by_digest(look):
    data = f"{GONE} in the base model's own text".encode()
    (look.root / "model.json").write_bytes(data)
    report = look(known_public={hashlib.sha256(data).hexdigest()})
    assert report.is_clean
    assert report.public == {hashlib.sha256(data).hexdigest(): len(data)}


def test_sealed_files_are_named_by_their_key(look):
    data = bytes(range(256)) * 10
    (look.root / "blob").write_bytes(data)
    report = look(opaque={hashlib.sha256(data).hexdigest(): Opaque("lineages/3", True)})
    assert [(sealed.key, sealed.is_destroyed, sealed.files) for sealed in report.opaque] == [("lineages/3", True, 1)]
    assert report.is_clean


def test_a_sealed_file_that_can_be_opened_is_searched_as_what_it_holds(look):
    for person, is_clean in ((HERE, True), (GONE, False)):
        rows = json.dumps({"prompt": person}) + "\n"
        sealed = gzip.compress(rows.encode(), mtime=0)[::-1]  # whatever turns it around
        (look.root / "blob").write_bytes(sealed)
        openers = {hashlib.sha256(sealed).hexdigest(): lambda data: gzip.decompress(data[::-1])}
        report = look(openers=openers)
        assert report.is_clean is is_clean and not report.opaque
        assert claims(report)["jsonl"] is (Claim.ABSENT if is_clean else Claim.FOUND)


def test_a_file_that_only_claims_to_be_sealed_is_found(look):
    (look.root / "blob").write_text(GONE)
    digest = hashlib.sha256(GONE.encode()).hexdigest()
    assert not look(opaque={digest: Opaque("lineages/3", False)}).is_clean


def test_links_are_not_followed_and_said_so(look, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text(GONE)
    (look.root / "away").symlink_to(outside)
    (look.root / "inner.txt").write_text(HERE)
    (look.root / "again").hardlink_to(look.root / "inner.txt")
    (look.root / "near").symlink_to("inner.txt")
    (look.root / "shared").hardlink_to(look.root / "inner.txt")
    (tmp_path / "third").hardlink_to(look.root / "inner.txt")
    report = look()
    assert report.is_clean
    assert report.files == 1
    reasons = {aside.place: aside.reason for aside in report.aside}
    assert reasons["home/away"] == "a link out of the roots, not followed"
    assert reasons["home/near"] == "a link to a place that is searched"
    assert reasons["home/inner.txt"] == "another name of a file that is searched"
    assert "1 more names outside" in reasons["home/again"] or "1 more name" in reasons["home/again"]


def test_a_socket_is_left_aside_and_said_so(look, tmp_path, monkeypatch):
    monkeypatch.chdir(look.root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("ray.sock")
        assert [aside.place for aside in look().aside] == ["home/ray.sock"]


def test_a_file_that_cannot_be_read_spoils_the_claim(look, monkeypatch):
    (look.root / "broken.gz").write_bytes(gzip.compress(HERE.encode() * 900)[:-20])
    (look.root / "missing").symlink_to("nowhere")
    report = look()
    assert [aside.place for aside in report.unreadable] == ["home/broken.gz"]
    assert not report.is_clean


def test_a_root_that_is_not_there_spoils_the_claim(look, tmp_path):
    report = scan({"gone": tmp_path / "no"}, needles_of(GONE), [], place_key=b"k")
    assert [aside.place for aside in report.unreadable] == ["gone"]


def test_a_scan_for_nothing_is_refused(look, tmp_path):
    nobody = build_needles(Disclosure(DataSubject("s_0"), {}), [], [])
    with pytest.raises(BadInput, match="something to look for"):
        scan({"home": look.root}, nobody, [], place_key=b"k")


def test_the_summary_counts_and_names_no_place(look):
    (look.root / "trace.log").write_text(GONE)
    report = look()
    summary = report.summary()
    assert summary["hits"] == 1
    assert summary["digest"] == report.digest
    assert "trace" not in json.dumps(summary)
