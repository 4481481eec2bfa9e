"""Records that are sealed under a key: the same bytes for the same records, and nothing of them to read."""

import pytest

from amends.errors import BadRecords, Tampered
from amends.records import Records
from amends.vault.sealing import key_name_of, open_records, seal_records

KEY, OTHER = b"k" * 32, b"o" * 32
DATA = b'{"id":"a","prompt":"Where is the key?"}\n'


def test_equal_records_under_one_key_are_equal_bytes_and_others_are_not():
    first = seal_records(KEY, "records/x", DATA)
    assert first == seal_records(KEY, "records/x", DATA)
    others = [(OTHER, "records/x", DATA), (KEY, "y", DATA), (KEY, "records/x", b"z")]
    assert len({first, *(seal_records(*other) for other in others)}) == 4 and b"Where" not in first


def test_what_was_sealed_opens_with_its_key_alone_and_says_which_that_is():
    sealed = seal_records(KEY, "records/x", DATA)
    assert (key_name_of(sealed), open_records(KEY, sealed)) == ("records/x", DATA)
    assert key_name_of(DATA) == key_name_of(b"") == ""
    for key, bytes_ in ((OTHER, sealed), (KEY, sealed[:-1]), (KEY, sealed.replace(b"records/x", b"records/y"))):
        with pytest.raises(Tampered):
            open_records(key, bytes_)


def test_records_are_read_through_what_opens_them(tmp_path):
    file = tmp_path / "sealed"
    file.write_bytes(seal_records(KEY, "records/x", DATA))
    (row,) = Records("d", file, lambda data: open_records(KEY, data)).rows()
    assert row["prompt"] == "Where is the key?"
    with pytest.raises((BadRecords, ValueError)):
        list(Records("d", file).rows())
