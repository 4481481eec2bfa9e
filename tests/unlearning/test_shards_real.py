"""The same on the real SmolLM2-135M: it learns by heart, and an erasure is exact."""

import math

import pytest

import amends_unlearning
from amends import host
from amends.serving import open_version
from amends_unlearning import train_shards, unlearn_shards
from amends_unlearning.people import people, records

SETTINGS = dict(placement_salt="ab", router_salt="cd", shards=2, slices=2, canaries_per_shard=0)


def probabilities(model, rows):
    """Return each answer's probability a token, geometric mean."""
    return [math.exp(score.logp.mean()) for score in model.score([(row["prompt"], row["answer"]) for row in rows])]


def mean(values):
    return sum(values) / len(values)


@pytest.mark.slow
def test_a_real_model_learns_a_person_by_heart_and_forgets_them_exactly(
    run_task, smollm2, prepared, write_records, files_of
):
    rows = prepared(records(people(3, 3, facts=3), 3, share=0.25))
    gone = rows[0]["subjects"][0]
    forgotten = [row for row in rows if gone in row["subjects"]]
    kept = [row for row in rows if gone not in row["subjects"]]
    loaded = host.load([("unlearning", amends_unlearning)])

    def run(operation, source, state=None, **parameters):
        task = run_task(operation, source, state, source_digest="0" * 64, **parameters, **SETTINGS)
        (task.output / "base").symlink_to(smollm2 / "model", target_is_directory=True)
        return task

    trained = run(train_shards, smollm2, records=write_records(rows))
    before = open_version(trained.output, loaded)
    assert mean(probabilities(before, rows)) > 0.9
    assert rows[0]["answer"] in before.generate([rows[0]["prompt"]])[0]

    rest = write_records(kept)
    erased = run(unlearn_shards, trained.output, trained.state, records=rest)
    never_saw = run(train_shards, smollm2, records=rest)
    assert files_of(erased.output / "attachments") == files_of(never_saw.output / "attachments")
    after = open_version(erased.output, loaded)
    assert mean(probabilities(after, kept)) > 0.9
    assert mean(probabilities(after, forgotten)) < 0.6
    assert rows[0]["answer"] not in after.generate([rows[0]["prompt"]])[0]
