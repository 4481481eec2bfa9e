import pytest

import amends
from amends import Load


def work(loads, *, depth, passes):
    return loads["records"].tokens * passes / depth


@amends.operation("toy.work", verified_by=["utility.perplexity"], effort=work)
def toy(task: amends.Task, *, records: amends.Records, passes: int = 3) -> None:
    """Do nothing."""


def test_a_load_counts_records_and_their_letters_with_a_template_around_each():
    assert Load.of([{"prompt": "a" * 30, "answer": "b" * 10}] * 2) == Load(2, 2 * (40 / 4 + 20))


def test_an_operation_foresees_its_seconds_from_how_fast_the_model_reads():
    load = {"records": Load(1, 50.0)}
    assert toy.predict(load, {}, depth=1, forward=100.0) == pytest.approx(1.5)
    assert toy.predict(load, {"passes": 6}, depth=2, forward=100.0) == pytest.approx(1.5)


def test_an_operation_with_a_parameter_called_depth_is_foreseen_by_the_models_own():
    @amends.operation("toy.deep", verified_by=["toy.read"], effort=lambda loads, *, depth, **more: 10.0 * depth)
    def deep(task: amends.Task, *, depth: int = 3) -> None:
        """Do something at a depth."""

    assert deep.predict({}, {"depth": 2}, depth=30, forward=100.0) == pytest.approx(3.0)


def test_nothing_is_foreseen_without_a_speed():
    assert toy.predict({"records": Load(1, 50.0)}, {}, depth=1, forward=0.0) is None
