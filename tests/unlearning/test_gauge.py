"""When an approximate method has done enough: at the level of one who never learnt, wherever that is by now."""

import math
from dataclasses import replace

import pytest
import torch

from amends import AmendsError, Load, Task
from amends.operation.effort import BACKWARD
from amends_unlearning.methods import CHECKS, EXPECTED, effort, gauge
from amends_unlearning.methods.material import Settings, gather
from amends_unlearning.people import people, records
from amends_unlearning.splitting import half_of

SETTINGS = Settings(epochs=1, lr=1e-3, layers=1, rank=2, batch=8, retain_weight=1.0)


@pytest.fixture(scope="module")
def rows(prepared):
    return prepared(records(people(9, 5), 5, share=0))


@pytest.fixture
def material(rows, make_tiny, write_records, tmp_path):
    """Return what a method has of the first people to forget and the next to keep, with or without a parent."""

    def gathered(has_parent):
        source, parent = make_tiny(tmp_path / "source", seed=1), make_tiny(tmp_path / "parent", seed=2)
        task = Task(tmp_path, 7, source=source, output=tmp_path / "out")
        task.models = {"reference": parent} if has_parent else {}
        return gather(task, write_records(rows[:15]), write_records(rows[15:30]), SETTINGS)[0]

    return gathered


def own_of(rows):
    return [row for row in rows if half_of(row["id"]) == "method"]


def likely(side, rows):
    return gauge.likely(side, side.examples(rows))


def moved(model, factor):
    with torch.no_grad():
        model.get_decoder().norm.weight.mul_(factor)


@pytest.mark.parametrize(("returns", "share"), [(False, gauge.CHECKING), (True, gauge.CHECKING / 4)])
@pytest.mark.parametrize("looked_at", [2, 20, 200])
@pytest.mark.parametrize("withheld", [0, 16])
def test_checks_take_no_more_than_their_share_of_the_passes(looked_at, withheld, returns, share):
    level, settings = gauge.Level(0.0, [None] * withheld), replace(SETTINGS, returns=returns)
    every = gauge.Gauge(None, range(looked_at), range(16), level, 0.0, 0.0, settings).every()
    passes = every * 2 * SETTINGS.batch * (1 + BACKWARD)
    assert looked_at + 16 + withheld <= share * passes


def test_kept_records_cost_steps_only_where_they_are_rehearsed():
    loads, given = {"forget": Load(4, 100.0), "retain": Load(10, 250.0)}, {"depth": 2, "epochs": 5, "layers": 1}
    read = (100 + 250) / 2  # below the adapted half of the layers
    of_a_step = EXPECTED * 5 * CHECKS * (1 + BACKWARD) / 2
    assert effort(loads, **given) == pytest.approx(read + 100 * of_a_step)
    assert effort(loads, retain_weight=0.0, **given) == effort(loads, **given)
    restored = 250 * (1 + BACKWARD) / 2
    assert effort(loads, retain_weight=3.0, **given) == pytest.approx(read + 200 * of_a_step + restored)


def test_it_is_looked_at_the_end_and_not_just_before_it(monkeypatch):
    some = gauge.Gauge(None, [0], [0], gauge.Level(0.0), 0.0, 0.0, SETTINGS)
    monkeypatch.setattr(some, "every", lambda: 8)
    assert [number for number in range(1, 25) if some.is_due(number, 24)] == [8, 16, 24]
    assert [number for number in range(1, 20) if some.is_due(number, 19)] == [8, 16, 19]
    assert [number for number in range(1, 19) if some.is_due(number, 18)] == [8, 18]


def test_what_stops_a_method_is_read_on_its_own_half(material):
    some = material(False)
    found = gauge.gauge_of(some, SETTINGS, None)
    for places, rows in ((found.lost, some.rows[0]), (found.kept, some.rows[1])):
        assert {half_of(rows[place]["id"]) for place in places} == {"method"}
    assert 0 < len(found.lost) < 15


def test_the_audits_half_of_withheld_people_does_not_move_the_level(material, rows, write_records):
    some = material(True)
    withheld = rows[30:45]
    levels = [gauge.gauge_of(some, SETTINGS, write_records(part)).level for part in (withheld, own_of(withheld))]
    assert levels[0].fixed == levels[1].fixed and levels[0].drift == levels[1].drift != 0
    assert len(levels[0].withheld) == len(own_of(withheld))


def test_with_a_parent_and_withheld_people_the_level_is_a_difference_of_differences(material, rows, write_records):
    some, withheld = material(True), own_of(rows[30:45])
    found, never, own = gauge.gauge_of(some, SETTINGS, write_records(withheld)), some.never, own_of(some.rows[0])
    assert found.level.drift == pytest.approx(likely(some, withheld) - likely(never, withheld))
    for factor in (1.0, 0.5):  # whatever happens to the model by then
        moved(some.model, factor)
        told = (likely(some, own) - likely(never, own)) - (likely(some, withheld) - likely(never, withheld))
        assert found.read()[0] == pytest.approx(told, abs=1e-5)


def test_withheld_people_alone_are_the_level_as_the_model_has_them_by_now(material, rows, write_records):
    some, withheld = material(False), own_of(rows[30:45])
    found = gauge.gauge_of(some, SETTINGS, write_records(withheld))
    moved(some.model, 0.5)
    assert found.read()[0] == pytest.approx(likely(some, own_of(some.rows[0])) - likely(some, withheld), abs=1e-5)
    assert found.level.drift == 0


def test_the_parent_alone_is_a_level_that_stands(material):
    some = material(True)
    found = gauge.gauge_of(some, SETTINGS, None)
    assert found.level == gauge.Level(pytest.approx(likely(some.never, own_of(some.rows[0]))))


def test_without_a_parent_or_withheld_people_the_level_is_a_declared_probability(material):
    found = gauge.gauge_of(material(False), SETTINGS, None)
    assert math.exp(found.level.fixed) == pytest.approx(0.15) and not found.level.withheld


@pytest.mark.parametrize(
    ("returns", "above", "fallen", "enough"),
    [
        (False, 0.05, 0.5, True), (False, -2.0, 0.5, True), (False, 0.2, 0.0, False),
        (True, 0.05, -0.01, True), (True, -2.0, -0.01, False), (True, 0.05, 0.01, False),
    ],
)  # fmt: skip
def test_a_push_stops_at_the_level_and_a_way_back_when_nothing_is_lost_there(returns, above, fallen, enough):
    settings = replace(SETTINGS, returns=returns)
    assert gauge.Gauge(None, [0], [0], gauge.Level(0.0), 0.0, 0.0, settings).is_enough(above, fallen) is enough


class Looking:
    """A gauge that reads what it is told to."""

    settings = SETTINGS

    def __init__(self, first, *readings):
        self.first, self._readings = first[0], iter(readings)

    def read(self, change=None):
        return next(self._readings)


@pytest.mark.parametrize(
    ("readings", "best"),
    [
        ([(2.0, 0.0), (1.0, 0.0), (1.5, 0.0)], 0),  # nearer wins
        ([(2.0, 0.0), (0.01, 0.2), (1.5, 0.0)], 1),  # but not where the kept lost too much
        ([(2.0, 0.0), (0.01, 0.05), (0.09, 0.01)], 1),  # and near enough is near enough: the kept decide
        ([(2.0, 0.0), (-3.0, 0.0)], None),  # beyond the level is as far as before it
    ],
)
def test_the_state_is_taken_that_is_near_enough_and_cost_the_kept_least(readings, best):
    nearest = gauge.Nearest(Looking(*readings), None)
    for number in range(len(readings) - 1):
        nearest.look(lambda number=number: number)
    assert nearest.state == best


@pytest.mark.parametrize("has_parent", [False, True])
def test_what_it_begins_with_is_what_it_would_read(material, rows, write_records, has_parent):
    some = material(has_parent)
    for control in (None, write_records(rows[30:45])):
        found = gauge.gauge_of(some, SETTINGS, control)
        assert found.read() == pytest.approx((found.first, 0.0), abs=1e-6)


def test_a_reading_that_is_no_number_is_refused(material):
    some = material(False)
    moved(some.model, math.nan)
    with pytest.raises(AmendsError, match="NaN or infinite"):
        likely(some, some.rows[0][:1])
