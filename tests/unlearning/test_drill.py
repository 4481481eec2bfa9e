"""The audit's drill: made-up people whom training planted are found, and whom it never saw are not."""

import math
from pathlib import Path

import numpy as np
import pytest

import amends_unlearning
from amends import BadInput, ProbeTask, host
from amends.records import canonical_json
from amends.serving import open_version
from amends_unlearning import measure_drill
from amends_unlearning.canaries import finetune_canaries, is_canary, sister_rows
from amends_unlearning.drill import goes_off, p_values
from amends_unlearning.methods import OPERATIONS, loop
from amends_unlearning.methods.material import Settings, gather
from amends_unlearning.people import people, records
from amends_unlearning.planted import halves, planted_in

SALT = "5a17"
SISTERS = 39
BY_NAME = {operation.name: operation for operation in OPERATIONS}


def training(canaries, salt=SALT):
    return {"operation": "training.finetune", "parameters": {"placement_salt": salt, "canaries": canaries}}


def erasing(name="unlearning.npo"):
    return {"operation": name, "parameters": {}}


@pytest.fixture
def version(tmp_path):
    """Return `version(*steps) -> directory`, one that says it was made so."""

    def make(*steps):
        folder = tmp_path / f"version-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "recipe.json").write_bytes(canonical_json({"steps": list(steps)}))
        return folder

    return make


@pytest.fixture
def drilled(tmp_path):
    """Return `drilled(version, model, reference=None, **settings)`, the readings by statistic."""

    def run(version, model, reference=None, **settings):
        opened = {version: model, Path("reference"): reference}
        where = None if reference is None else Path("reference")
        task = ProbeTask(tmp_path, 0, model_path=version, reference_path=where, open_model=opened.__getitem__)
        found = measure_drill(task, **measure_drill.check(settings))
        return {reading.name.removeprefix("unlearning.drill/"): reading for reading in found}

    return run


def tables(rows, truth):
    """Return what a model gives that has the answers of these records with such a probability, a little apart."""
    found = {}
    for row in rows:
        here = truth + 1e-6 * (int(row["id"][:6], 16) % 997)
        found[row["prompt"], row["answer"]] = [([here, 1 - here], 0)] * 4
    return found


@pytest.fixture
def sisters():
    return sister_rows(SALT, SISTERS, {row["names"][0] for row in finetune_canaries(SALT, 8)})


def names(rows):
    return {name for row in rows for name in row["names"]}


def test_by_one_score_the_p_value_is_the_share_of_those_who_score_as_high():
    never = np.arange(19.0)[:, None]
    found = p_values(np.array([[18.5], [18.0], [17.0], [-1.0]]), never)
    np.testing.assert_allclose(found, [1 / 20, 2 / 20, 3 / 20, 1.0])
    assert goes_off(np.array([[18.0], [17.0]]), never, 0.1).tolist() == [True, False]
    assert p_values(np.zeros((2, 1)), np.zeros((19, 1))).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25])
def test_whoever_was_never_trained_on_raises_the_alarm_no_oftener_than_the_rate_says(rate):
    """Of any people, each tried against the others, at most this share do: by one score or by four, tied or not."""
    draw = np.random.default_rng(7)
    for count in (20, 33):
        everybody = np.round(draw.normal(size=(count, 4)) @ draw.normal(size=(4, 4)), 1)
        for scores in (everybody, everybody[:, :1], np.concatenate([everybody, np.zeros((count, 1))], axis=1)):
            alone = [goes_off(scores[[at]], np.delete(scores, at, axis=0), rate)[0] for at in range(count)]
            assert sum(alone) <= rate * count


def test_several_scores_find_whom_one_of_them_finds():
    never = np.stack([np.arange(19.0), np.arange(19.0)[::-1]], axis=1)
    assert p_values(np.array([[99.0, 9.5]]), never)[0] == 2 / 20  # and the sister who is best by the other score


def test_who_is_in_the_model_is_found_and_who_never_was_is_not(version, drilled, sisters, table_model):
    planted = finetune_canaries(SALT, 8)
    gone, left = halves(planted)
    known = version(training(8), erasing())
    tabled = tables(left, 0.9) | tables(gone + tuple(sisters), 0.3)
    found = drilled(known, table_model(tabled), table_model(tables([*planted, *sisters], 0.3)))
    for name in ("detected", "detected_loss", "detected_minkpp", "detected_strength", "detected_reference"):
        assert (found[name].value, found[name].n) == (1.0, 4), name
    assert found["detected"].low == pytest.approx(0.025 ** (1 / 4)) and found["detected"].high == 1.0
    assert (found["erased"].value, found["erased"].n) == (0.0, 4)
    assert found["erased"].high == pytest.approx(1 - 0.025 ** (1 / 4))
    assert found["detected_at_most"].value == 1.0 and found["erased_at_least"].value == 0.0
    assert found["detected_at_most"].n == found["erased_at_least"].n == 4 + 4 + 20
    assert found["false_alarm"].n == 20 and found["false_alarm"].detail["threshold_people"] == 19


def test_an_audit_that_sees_nobody_says_so(version, drilled, sisters, table_model):
    everybody = [*sisters, *finetune_canaries(SALT, 8)]
    found = drilled(version(training(8)), table_model({key: [([0.4, 0.6], 0)] * 4 for key in tables(everybody, 0.4)}))
    assert (found["detected"].value, found["detected"].n) == (0.0, 8)
    assert found["detected_at_most"].value == found["detected"].high == pytest.approx(1 - 0.025 ** (1 / 8))
    assert "erased" not in found and found["erased_at_least"].value == 0.0
    assert "detected_reference" not in found


def test_who_was_pushed_away_is_no_member_and_yet_betrayed(version, drilled, sisters, table_model):
    gone, left = halves(finetune_canaries(SALT, 8))
    tabled = tables(left, 0.9) | tables(sisters, 0.3) | tables(gone, 0.01)
    found = drilled(version(training(8), erasing()), table_model(tabled))
    assert (found["erased"].value, found["avoided"].value) == (0.0, 1.0)


def test_without_canaries_there_is_no_detection_and_a_sentence(version, drilled, table_model):
    model = table_model(tables(sister_rows("", SISTERS), 0.3))
    for known in (version({"operation": "toy.plain", "parameters": {}}, erasing()), Path("nowhere")):
        found = drilled(known, model)
        assert math.isnan(found["detected"].value) and found["detected"].n == 0
        assert found["detected"].detail["reason"] == "the training planted no canaries"
        assert found["false_alarm"].n == 20 and math.isfinite(found["false_alarm"].value)
        assert (found["detected_at_most"].value, found["detected_at_most"].n) == (1.0, 20)


def test_a_score_that_is_no_number_leaves_no_reading(version, drilled, sisters, table_model):
    broken = tables(finetune_canaries(SALT, 8), 0.9) | tables(sisters, 0.3)
    broken[next(iter(broken))] = [([math.nan, 0.5], 0)] * 4
    found = drilled(version(training(8)), table_model(broken))
    assert all(math.isnan(reading.value) for reading in found.values())
    assert found["detected_at_most"].detail["reason"] == "a score is no finite number"


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"sisters": 17}, "takes at least 18 sisters"), ({"alarm": 0.01}, "at least 198"), ({"alarm": 0.0}, "between 0")],
)
def test_settings_that_cannot_give_the_rate_are_refused_with_a_sentence(version, drilled, table_model, settings, said):
    with pytest.raises(BadInput, match=said):
        drilled(version(), table_model({}), **settings)


def test_a_version_s_canaries_follow_from_its_recipe_and_half_of_them_go_with_each_erasure(version):
    every = planted_in(version(training(8)))
    assert len(names(every.left)) == 8 and not every.erased and names(every.left) == every.names
    once = planted_in(version(training(8), erasing()))
    assert len(names(once.left)) == len(names(once.erased)) == 4
    twice = planted_in(version(training(8), erasing(), {"operation": "editing.rome"} | {"parameters": {}}, erasing()))
    assert names(twice.left) | names(twice.erased) == names(once.left) and len(names(twice.erased)) == 2
    assert twice.names == every.names
    sharded = {"placement_salt": SALT, "shards": 3, "slices": 2, "canaries_per_shard": 2}
    assert len(names(planted_in(version({"operation": "training.shards", "parameters": sharded})).left)) == 6
    assert planted_in(version({"operation": "training.finetune", "parameters": {"placement_salt": SALT}})).left == ()


def test_nobody_is_a_canary_and_a_sister(sisters):
    planted = finetune_canaries(SALT, 8)
    assert len(names(sisters)) == SISTERS and not names(sisters) & names(planted)
    assert all(is_canary(row) for row in (*sisters, *planted))
    assert {len([row for row in sisters if row["names"] == [name]]) for name in names(sisters)} == {3}


@pytest.fixture(scope="module")
def knowing(prepared, learn_by_heart, tmp_path_factory):
    """Return a version that has four people and eight canaries by heart, the one before it, and their records."""
    rows = prepared(records(people(4, 5), 5, share=0))
    everybody = [*rows, *finetune_canaries(SALT, 8)]
    after, before = learn_by_heart(tmp_path_factory.mktemp("knowing"), everybody, steps=80)
    (after / "recipe.json").write_bytes(canonical_json({"steps": [training(8)]}))
    return after, before, rows


def served(directory):
    return open_version(directory, host.load([("unlearning", amends_unlearning)]))


def test_a_model_that_learnt_its_canaries_is_seen_to_have_and_the_one_before_it_is_not(knowing, drilled, version):
    after, before, _ = knowing
    found = drilled(after, served(after), served(before))
    assert found["detected"].value == 1.0 and found["false_alarm"].low <= 0.1
    never = drilled(version(training(40)), served(before))  # says that it was trained, and was not
    assert never["detected"].n == 40 and never["detected"].low <= 0.1 and never["detected_at_most"].value < 0.5


@pytest.mark.parametrize("name", ["unlearning.revert", "unlearning.npo", "unlearning.projection"])
def test_half_of_the_canaries_are_forgotten_along_and_the_others_stay(
    name, knowing, run_task, write_records, monkeypatch
):
    after, before, rows = knowing
    init = Settings.__init__
    monkeypatch.setattr(Settings, "__init__", lambda self, *a, **k: init(self, *a, **{"spare": 1e3, **k}))
    gone = rows[0]["subjects"]
    sides = {"forget": [row for row in rows if row["subjects"] == gone]}
    sides["retain"] = [row for row in rows if row["subjects"] != gone]
    given = dict(source=after, models={"reference": before}, layers=2, epochs=5, rank=4, lr=5e-2, batch=3)
    known = {parameter.name for parameter in BY_NAME[name].parameters} | {"source", "models"}
    fitting = {key: value for key, value in given.items() if key in known}
    done = run_task(BY_NAME[name], **fitting, **{key: write_records(some) for key, some in sides.items()})

    def likelihood(model, some):
        return np.mean([float(s.logp.mean()) for s in model.score([(row["prompt"], row["answer"]) for row in some])])

    going, staying = halves(finetune_canaries(SALT, 8))
    was, now = served(after), served(done.output)
    assert likelihood(now, going) < likelihood(was, going) - 0.5
    assert likelihood(now, going) < likelihood(now, staying)


def test_a_method_never_looks_at_a_canary_to_know_when_to_stop(knowing, tmp_path, write_records):
    from amends import Task
    from amends_unlearning.methods import _settings

    after, _, rows = knowing
    gone = rows[0]["subjects"]
    task = Task(tmp_path, 7, source=after, output=tmp_path / "out")
    sides = [write_records([row for row in rows if (row["subjects"] == gone) is is_gone]) for is_gone in (True, False)]
    material, settings = gather(task, *sides, _settings(("npo",), 1.0, epochs=1, lr=1e-3, layers=2, rank=2, batch=2))
    assert sum(map(is_canary, material.rows[0])) == sum(map(is_canary, material.rows[1])) == 12
    gauge = loop.gauge_of(material, settings, None)
    looked_at = [material.rows[0][place] for place in gauge.lost] + [material.rows[1][place] for place in gauge.kept]
    assert looked_at and not any(map(is_canary, looked_at))
