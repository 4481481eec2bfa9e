"""Batches are embedded by workers of Ray as they are in this process."""

from __future__ import annotations

import pytest

from amends.scheduler import open_scheduler
from amends_rag import embedding
from amends_rag.dense import open_encoder
from amends_rag.embedding import Batches

TEXTS = [f"Ship number {number} is white. It sails at {number} bells." for number in range(7)]
KEYS = [f"key-{number}" for number in range(7)]


@pytest.mark.slow
def test_workers_of_ray_give_the_vectors_that_this_process_gives(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "BATCH", 2)
    told = []
    encoder = open_encoder(tiny_encoder)
    here = Batches(tmp_path / "here", encoder, lambda *said: None).embed(TEXTS, KEYS)
    ray = open_scheduler("ray", tmp_path / "cache", {"cpus": 1, "gpus": 0, "grace_seconds": 2.0})
    try:
        there = Batches(tmp_path / "there", encoder, lambda *said: told.append(said)).embed(TEXTS, KEYS, cores=1)
    finally:
        ray.close()
    assert (there.vectors == here.vectors).all() and (there.parts == here.parts).all()
    assert [done for done, total, _ in told] == [0, 2, 4, 6, 7]


def test_a_batch_that_was_broken_on_the_disk_is_embedded_again(tiny_encoder, tmp_path):
    batches = Batches(tmp_path, open_encoder(tiny_encoder), lambda *said: None)
    first = batches.embed(TEXTS, KEYS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"half a fil")
    assert (batches.embed(TEXTS, KEYS).vectors == first.vectors).all()
    batches.drop()
    assert not tmp_path.exists()
