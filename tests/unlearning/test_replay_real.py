"""The same on the real SmolLM2-135M: it learns by heart, and a replay is exact."""

import pytest

import amends_unlearning
from amends import host
from amends.serving import open_version
from amends_unlearning import train_finetune, unlearn_replay
from amends_unlearning.people import people, records

SETTINGS = dict(placement_salt="5a17", steps=6, epochs=8, layers=4, rank=16, lr=4e-3, checkpoints=3, canaries=0)


def likelihood(model, rows):
    """Return each answer's probability a token, geometric mean, averaged."""
    scores = model.score([(row["prompt"], row["answer"]) for row in rows])
    return sum(float(score.logp.mean().exp()) for score in scores) / len(rows)


@pytest.mark.slow
def test_a_real_model_learns_a_person_by_heart_and_is_replayed_without_them(
    run_task, smollm2, prepared, write_records, files_of
):
    rows = prepared(records(people(3, 3, facts=4), 3))
    gone = rows[0]["subjects"][0]
    forgotten = [row for row in rows if gone in row["subjects"]]
    kept = [row for row in rows if gone not in row["subjects"]]
    loaded = host.load([("unlearning", amends_unlearning)])
    trained = run_task(train_finetune, smollm2, records=write_records(rows), **SETTINGS)
    learnt = open_version(trained.output, loaded)
    before = likelihood(learnt, forgotten)
    assert likelihood(learnt, rows) > 0.8

    rest = write_records(kept)
    replayed = run_task(unlearn_replay, smollm2, trained.state, records=rest, **SETTINGS)
    never_saw = run_task(train_finetune, smollm2, records=rest, **SETTINGS)
    assert files_of(replayed.output) == files_of(never_saw.output)
    assert replayed.state.blobs == never_saw.state.blobs
    after = open_version(replayed.output, loaded)
    assert likelihood(after, kept) > 0.8 and likelihood(after, forgotten) < min(0.6, before)
