"""What forgetting took from the kept is given back, and only where the forgotten stay where they are."""

from dataclasses import replace

import pytest
import torch

from amends import Cancelled, Task
from amends_unlearning.methods import gauge, restoring
from amends_unlearning.methods.material import Settings, gather

SETTINGS = Settings(epochs=4, lr=1e-2, layers=2, rank=4, batch=4, retain_weight=1.0, near=0.5)
FREE = replace(SETTINGS, near=100.0)  # whatever becomes of the forgotten


@pytest.fixture
def task(knowing, tmp_path):
    made = Task(tmp_path, 7, source=knowing[0], output=tmp_path / "out")
    made.models = {"reference": knowing[1]}
    return made


@pytest.fixture
def read(rows, task, write_records):
    """Return what a method has of the first person to forget and the others to keep, and its gauge."""
    gone = rows[0]["subjects"]
    forget, retain = ([row for row in rows if (row["subjects"] == gone) is is_gone] for is_gone in (True, False))
    material, _ = gather(task, write_records(forget), write_records(retain), SETTINGS)
    return material, gauge.gauge_of(material, SETTINGS, None)


def worn(material, seed=3):
    """Shake the MLPs, as a forgetting that went too far would."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in material.model.get_decoder().layers:
            weight = layer.mlp.down_proj.weight
            weight.add_(torch.randn_like(weight) * weight.std())


def weights_of(material):
    return {name: tensor.clone() for name, tensor in material.model.state_dict().items()}


def is_same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_kept_get_back_what_they_lost(read, task, monkeypatch):
    material, looked = read
    worn(material)
    lost = looked.read()[1]
    monkeypatch.setattr(restoring, "LR", 2e-2)
    assert lost > 0.1
    assert restoring.restore(task, material, FREE, looked, looked.read())
    assert looked.read()[1] < lost - 0.1


def test_the_forgotten_are_moved_less_than_without_what_closes_their_inputs(read, task, monkeypatch):
    material, looked = read
    worn(material)
    above, before = looked.read()[0], weights_of(material)
    monkeypatch.setattr(restoring, "LR", 2e-2)
    restoring.restore(task, material, FREE, looked, looked.read())
    closed = abs(looked.read()[0] - above)
    material.model.load_state_dict(before)
    unclosed = restoring.change_of
    monkeypatch.setattr(restoring, "change_of", lambda *given: unclosed(*given[:-1]))
    restoring.restore(task, material, FREE, looked, looked.read())
    assert closed < abs(looked.read()[0] - above)


@pytest.mark.parametrize(("moved", "is_taken"), [(1.0, False), (SETTINGS.spare / 2, True)])
def test_it_is_not_taken_where_the_forgotten_would_come_back(moved, is_taken, read, task, monkeypatch):
    material, looked = read
    worn(material)
    before, (above, lost) = weights_of(material), looked.read()
    monkeypatch.setattr(looked, "read", lambda change=None: (above + moved, lost - 1.0))
    assert above > SETTINGS.near  # else coming nearer to the level from below would be no harm
    assert restoring.restore(task, material, SETTINGS, looked, (above, lost)) is is_taken
    assert is_same(before, weights_of(material)) is not is_taken


def test_it_is_not_taken_where_the_kept_gain_nothing(read, task, monkeypatch):
    material, looked = read
    worn(material)
    before = weights_of(material)
    monkeypatch.setattr(restoring, "LR", 0.0)
    assert not restoring.restore(task, material, SETTINGS, looked, looked.read())
    assert is_same(before, weights_of(material))


def test_an_untouched_model_stays_untouched(read, task):
    material, looked = read
    before = weights_of(material)
    assert not restoring.restore(task, material, SETTINGS, looked, (looked.first, 0.0))
    assert is_same(before, weights_of(material))


@pytest.mark.parametrize(("kept", "lost", "epochs", "taken"), [(20, 2, 3, 6), (5, 10, 1, 5), (9, 9, 9, 9)])
def test_each_kept_record_is_taken_once_and_no_more_than_could_be_rehearsed(kept, lost, epochs, taken):
    settings = replace(SETTINGS, epochs=epochs)
    places = [place for batch in restoring.batches_of(kept, lost, settings, "seed") for place in batch]
    assert len(places) == len(set(places)) == taken
    assert set(places) <= set(range(kept))
    assert places == [place for batch in restoring.batches_of(kept, lost, settings, "seed") for place in batch]


def test_it_is_cancelled_between_two_steps(read, task):
    material, looked = read
    worn(material)
    before = weights_of(material)

    steps = []

    def stop(done, total, message):
        steps.append(message)
        if steps.count("restoring what is kept") == 2:
            raise Cancelled("the task was cancelled")

    task.report = stop
    with pytest.raises(Cancelled):
        restoring.restore(task, material, SETTINGS, looked, looked.read())
    assert is_same(before, weights_of(material))
