"""What is computed once on a machine, until what it came from is erased."""

from __future__ import annotations

import hashlib

import pytest

from amends.store import Computed
from amends.store.cache import purge_copies

TEXT, MODEL = (hashlib.sha256(name).hexdigest() for name in (b"text", b"model"))
STACK = {"threads": 2}


class Count:
    """Counts how often something is made."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return b"made %d" % self.times


@pytest.fixture
def count():
    return Count()


def test_what_was_kept_is_not_computed_again(tmp_path, count):
    first = Computed(tmp_path, STACK)
    assert first.once("moments", [MODEL, TEXT], count) == first.once("moments", [TEXT, MODEL], count) == b"made 1"
    first.flush()
    assert Computed(tmp_path, STACK).once("moments", [MODEL, TEXT], count) == b"made 1"


def test_another_name_or_digest_is_computed_anew(tmp_path, count):
    computed = Computed(tmp_path, STACK)
    computed.once("moments", [MODEL, TEXT], count)
    computed.flush()
    assert computed.once("moments of layer 2", [MODEL, TEXT], count) == b"made 2"
    assert computed.once("moments", [MODEL], count) == b"made 3"


def test_another_stack_computes_anew(tmp_path, count):
    computed = Computed(tmp_path, STACK)
    computed.once("moments", [TEXT], count)
    computed.flush()
    assert Computed(tmp_path, {"threads": 1}).once("moments", [TEXT], count) == b"made 2"


def test_nothing_is_kept_before_somebody_saw_that_the_data_is_still_there(tmp_path, count):
    Computed(tmp_path, STACK).once("moments", [TEXT], count)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert Computed(tmp_path, STACK).once("moments", [TEXT], count) == b"made 2"


@pytest.mark.parametrize("erased", [TEXT, MODEL])
def test_purging_any_digest_that_it_came_from_removes_it(tmp_path, count, erased):
    computed = Computed(tmp_path, STACK)
    computed.once("moments", [MODEL, TEXT], count)
    computed.flush()
    assert purge_copies(tmp_path, [erased])
    assert not any(b"made" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert computed.once("moments", [MODEL, TEXT], count) == b"made 2"


def test_what_was_tampered_with_is_computed_anew(tmp_path, count):
    computed = Computed(tmp_path, STACK)
    computed.once("moments", [TEXT], count)
    computed.flush()
    (kept,) = [path for path in (tmp_path / "computed").iterdir() if not path.suffix]
    kept.chmod(0o644)
    kept.write_bytes(b"other 1")
    assert computed.once("moments", [TEXT], count) == b"made 2"
    computed.flush()
    assert Computed(tmp_path, STACK).once("moments", [TEXT], count) == b"made 2"
