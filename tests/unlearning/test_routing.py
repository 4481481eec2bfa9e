import json

import pytest
import torch

import amends_unlearning
from amends import host
from amends.serving import Known, open_version
from amends_unlearning import router, train_shards, unlearn_shards
from amends_unlearning.names import find_keys, keys_of
from amends_unlearning.people import people, records
from amends_unlearning.shards import read_index

SALT = "c0ffee"


def made(names=(), mentions=(), centroids=(), threshold=0.5):
    """Return a router that knows these names and has one question of each shard to compare with."""
    import numpy as np

    from amends_unlearning.sentences import encode

    def table(pairs):
        return {some: list(shards) for name, shards in pairs for some in keys_of(SALT, name)}

    matrix = np.stack([encode(text) for _, text in centroids]) if centroids else np.zeros((0, 384), dtype="float32")
    return router.Router(SALT, table(names), table(mentions), tuple(shard for shard, _ in centroids), matrix, threshold)


@pytest.mark.parametrize(
    "question",
    [
        "Where does Célestin Hirvonsaari live?",
        "where does celestin hirvonsaari live",
        "Is this CÉLESTIN HIRVONSAARI's house?",
        "Hirvonsaari, Célestin: where?",
        "Where does Ce\u0301lestin Hirvonsaari live?",
    ],
)
def test_a_name_is_recognised_however_it_is_written(question):
    assert made([("Célestin Hirvonsaari", [2])]).route(question) == 2


def test_a_longer_name_hides_the_shorter_one_inside_it():
    known = keys_of(SALT, "Ana") | keys_of(SALT, "Ana Lucía")
    found = find_keys(SALT, "Does Ana Lucía sing with Ana?", known.__contains__)
    assert found[0] in keys_of(SALT, "Ana Lucía") and found[1:] == list(keys_of(SALT, "Ana"))
    assert made([("Ana", [0]), ("Ana Lucía", [1])]).route("Does Ana Lucía sing?") == 1


def test_hashes_depend_on_the_salt_and_carry_no_name():
    assert keys_of("00", "Ana Lucía").isdisjoint(keys_of("01", "Ana Lucía"))


def test_two_people_of_one_name_are_told_apart_by_what_is_asked():
    found = made([("Ana Lucía", [0, 1])], (), [(0, "Which pet does she keep?"), (1, "What is her phone number?")])
    assert found.route("What is the phone number of Ana Lucía?") == 1
    assert found.route("Which pet does Ana Lucía keep?") == 0


def test_a_question_that_names_two_goes_where_a_record_names_both():
    names, mentions = [("Ana Lucía", [0]), ("Bo Sund", [1])], [("Ana Lucía", [0]), ("Bo Sund", [0])]
    assert made(names, mentions).route("How did Bo Sund and Ana Lucía meet?") == 0
    assert made(names, mentions).route("Where does Bo Sund live?") == 1


def test_somebody_who_is_only_mentioned_is_found_where_they_are():
    assert made((), [("Bo Sund", [3])]).route("Who is Bo Sund?") == 3


def test_a_question_that_names_nobody_goes_to_the_likest_shard_or_to_the_base():
    found = made((), (), [(0, "What is the town of Mossgarth known for?"), (1, "Which pet does she keep?")])
    assert found.route("What is Mossgarth known for?") == 0
    assert found.route("Solve x + 2 = 5.") is None
    assert made().route("Anything?") is None


@pytest.fixture
def version(run_task, write_records, prepared, in_shards):
    rows = prepared(records(people(6, 1, facts=4), 1, share=0.4))
    return rows, run_task(train_shards, records=write_records(rows), shards=3, slices=2, **in_shards).output


def test_every_trained_question_is_routed_to_its_shard(version, in_shards):
    from amends_unlearning.placement import Placement

    rows, path = version
    found = router.read(path / "attachments" / "shards")
    placement = Placement(in_shards["placement_salt"], 3, 2)
    assert all(found.route(row["prompt"]) == placement.of_record(row).shard for row in rows)


def test_a_trained_question_that_does_not_name_its_person_is_routed_to_their_shard(
    run_task, prepared, write_records, in_shards
):
    from amends_unlearning.placement import Placement

    rows = prepared(records(people(6, 1, facts=2), 1, share=0.0))
    rows = [{**row, "prompt": f"Who was born in {1900 + n}, by the sea?"} for n, row in enumerate(rows)]
    path = run_task(train_shards, records=write_records(rows), shards=3, slices=2, **in_shards).output
    found, placement = router.read(path / "attachments" / "shards"), Placement(in_shards["placement_salt"], 3, 2)
    assert len({placement.of_record(row).shard for row in rows}) > 1
    for row in rows:
        assert found.route(row["prompt"].lower().replace(",", " ")) == placement.of_record(row).shard
    text = (path / "attachments" / "shards" / "router.json").read_text()
    assert "born" not in text


def test_the_router_names_nobody_and_keeps_no_vector_of_one_persons_question(version):
    rows, path = version
    text = (path / "attachments" / "shards" / "router.json").read_text()
    assert not any(name.split()[0] in text or name.split()[1] in text for row in rows for name in row["names"])
    data = json.loads(text)
    assert len(data["centroids"]) == 3 + len([row for row in rows if not row["subjects"]])
    assert data["salt"] != SALT and "{prompt}" in data["template"]


def test_two_versions_of_one_model_share_no_hash_of_a_name(run_task, prepared, write_records, in_shards):
    given = in_shards | dict(shards=2, slices=1, canaries_per_shard=0)
    rows = prepared(records(people(4, 2, facts=2), 2, share=0.0))
    gone = rows[0]["subjects"]
    before = run_task(train_shards, records=write_records(rows), **given)
    rest = write_records([row for row in rows if row["subjects"] != gone])
    after = run_task(unlearn_shards, before.output, before.state, records=rest, **given)
    routers = [json.loads((task.output / "attachments/shards/router.json").read_text()) for task in (before, after)]
    assert len({router["salt"] for router in routers}) == 2
    first, second = (set(router["names"]) for router in routers)
    assert len(first) > len(second) > 0 and not first & second


def test_a_served_version_names_the_adapter_that_a_question_runs_through(version):
    rows, path = version
    loaded = host.load([("unlearning", amends_unlearning)])
    seam = open_version(path, loaded).seams[0]
    index = {entry["shard"]: entry["adapter"] for entry in read_index(path)}
    shard = seam.router.route(rows[0]["prompt"])
    assert seam.part(rows[0]["prompt"]) == index[shard]
    assert seam.part("Solve x + 2 = 5.") == ""


def test_what_versions_on_one_base_know_of_each_other_changes_no_score(version, tiny_version):
    rows, path = version
    loaded, known = host.load([("unlearning", amends_unlearning)]), Known()
    pairs = [*[(row["prompt"], row["answer"]) for row in rows[:6]], ("Solve x + 2 = 5.", "3")]
    open_version(tiny_version, loaded, known=known).score(pairs)
    together = open_version(path, loaded, known=known).score(pairs)
    for alone, shared in zip(open_version(path, loaded).score(pairs), together, strict=True):
        assert torch.equal(alone.logp, shared.logp)


def test_a_served_version_answers_through_the_shards_adapter_and_leaves_the_base_alone(version, tiny_version):
    rows, path = version
    loaded = host.load([("unlearning", amends_unlearning)])
    served, base = open_version(path, loaded), open_version(tiny_version, loaded)
    pair = (rows[0]["prompt"], rows[0]["answer"])
    assert served.score([pair])[0].logp.mean() > base.score([pair])[0].logp.mean()
    unknown = ("Solve x + 2 = 5.", "3")
    torch.testing.assert_close(served.score([unknown])[0].logp, base.score([unknown])[0].logp, atol=1e-5, rtol=1e-5)
    state = served.hf_model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in base.hf_model.state_dict().items())
    assert not any(module._forward_hooks for module in served.hf_model.modules())
