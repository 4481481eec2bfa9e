"""What every operation owes, whoever wrote it: the same suite for all that this installation offers."""

from __future__ import annotations

import math
import threading

import pytest

from amends import host
from amends.errors import BadInput, Cancelled
from amends.governor.scan.needles import build_needles
from amends.governor.scan.scanning import scan
from amends.scheduler.state import SealedState
from amends.store import NodeCache, read_manifest
from amends.store.cache import is_sound

OPERATIONS = list(host.current().operations)


@pytest.fixture(scope="module", params=OPERATIONS)
def trial(request, make_trial):
    """Return a trial of each operation."""
    return make_trial(request.param)


@pytest.fixture(scope="module")
def heard(trial):
    """Return what one run of it reported."""
    return []


@pytest.fixture(scope="module")
def done(trial, heard):
    """Return what that run gave."""
    return trial.submit(lambda *step: heard.append(step)).result()


def test_the_same_seed_gives_the_same_version(trial, done):
    assert trial.submit().result().output == done.output


def test_what_it_was_given_stays_as_it_is(trial, done):
    digest = trial.source or trial.tiny
    (given,) = trial.scheduler.cache_directory.rglob(digest)
    assert is_sound(given) and read_manifest(given).digest == digest


def test_it_reports_progress_that_ends_and_names_nobody(done, heard, told):
    assert heard
    last, total, _ = heard[-1]
    assert 0 <= last <= total and total > 0
    assert [step[0] for step in heard] == sorted(step[0] for step in heard)
    said = " ".join(message for _, _, message in heard)
    assert not [part for name in told.TOWNS for part in name.split() if part in said]


def test_it_stops_when_it_is_cancelled_and_leaves_nothing(trial):
    before, started, cancelled = set(trial.blobs.digests()), threading.Event(), threading.Event()

    def pause(*step):
        started.set()
        cancelled.wait(60)

    handle = trial.submit(pause)
    assert started.wait(60)
    handle.cancel()
    cancelled.set()
    with pytest.raises(Cancelled):
        handle.result(60)
    assert set(trial.blobs.digests()) == before and trial.blobs.fences() == ()


def test_the_probes_that_verify_it_run_on_what_it_made(trial, done):
    readings = trial.measure(str(done.output), trial.operation.verified_by)
    assert {reading.name.partition("/")[0] for reading in readings} == set(trial.operation.verified_by)
    assert not [reading.name for reading in readings if math.isnan(reading.value)]


def test_a_parameter_that_it_does_not_have_is_refused_with_a_sentence(trial):
    with pytest.raises(BadInput, match="nonsense"):
        trial.operation.check({**trial.given, "nonsense": 1})


def test_a_parameter_of_another_type_is_refused_with_its_name(trial):
    for parameter in trial.operation.parameters:
        if not parameter.is_reference:
            with pytest.raises(BadInput, match=rf"{trial.name}: {parameter.name} must be"):
                trial.operation.check({**trial.given, parameter.name: object()})


def test_the_canary_is_in_what_it_reads_and_in_nothing_that_it_writes(trial, done, told, tmp_path):
    """Version, state as its key opens it, and what the run left on the disk, searched in every form."""
    from transformers import AutoTokenizer

    cache = NodeCache(trial.scheduler.cache_directory, trial.blobs)
    written = tmp_path / "written"
    version = cache.tree(str(done.output))
    for name in read_manifest(version).files:
        (written / "version" / name).parent.mkdir(parents=True, exist_ok=True)
        (written / "version" / name).write_bytes((version / name).read_bytes())
    state = SealedState(trial.blobs, dict(done.state), told.KEY)
    for number, name in enumerate(state.names()):
        (written / f"state-{number}").write_bytes(state.get(name))
    read = tmp_path / "read"
    read.mkdir()
    (read / "records.jsonl").write_bytes(trial.blobs.get(trial.records["forget"]))

    retained = told.said_of(list(told.TOWNS)[1:])
    tokenizer = AutoTokenizer.from_pretrained(cache.tree(trial.tiny) / "model", local_files_only=True)
    needles = build_needles(told.disclosure(told.CANARY), told.said_of([told.CANARY]), retained, tokenizer)
    found = scan({"read": read}, needles, [], place_key=b"k" * 32)
    assert found.hits and not found.is_clean
    left = scan({"written": written}, needles, [], place_key=b"k" * 32)
    assert left.files and not left.hits and not left.unreadable
    assert not list((trial.scheduler.cache_directory / "scratch").glob("*"))
