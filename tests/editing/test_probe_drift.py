import math

import pytest
import torch

from amends import host
from amends.serving import open_version
from amends_editing import probing
from amends_editing.drift import divergence


class Next:
    """Says of each text what may come next."""

    def __init__(self, tables):
        self.tables = tables

    def next_token(self, texts):
        return [torch.tensor(self.tables[text]).log() for text in texts]


def edit(number, *prompts):
    row = {"id": f"e{number}", "verb": "modify", "subject": "S", "prompt": "S is in", "target": "X"}
    return row | {"neighbours": [{"prompt": prompt, "answer": "A"} for prompt in prompts]}


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_divergence_is_the_closed_form_and_never_symmetric():
    p, q = [0.5, 0.25, 0.25], [0.8, 0.1, 0.1]
    logs = torch.tensor(p).log(), torch.tensor(q).log()
    assert divergence(*logs) == pytest.approx(kl(p, q), abs=1e-6)
    assert divergence(logs[1], logs[0]) == pytest.approx(kl(q, p), abs=1e-6)


def test_drift_is_the_mean_over_edits_of_the_mean_over_their_neighbours(probe_task, write_records):
    before = {"a": [0.5, 0.5], "b": [0.5, 0.5], "c": [0.9, 0.1]}
    after = {"a": [0.5, 0.5], "b": [0.8, 0.2], "c": [0.6, 0.4]}
    task = probe_task(Next(after), Next(before))
    (found,) = probing.drift(task, edits=write_records([edit(1, "a", "b"), edit(2, "c"), edit(3)]))
    first, second = kl(before["b"], after["b"]) / 2, kl(before["c"], after["c"])
    assert (found.name, found.unit, found.n) == ("editing.drift/kl", "nats", 2)
    assert found.value == pytest.approx((first + second) / 2, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(first, abs=1e-6), pytest.approx(second, abs=1e-6))
    assert found.detail == {"records": 2, "prompts": 3, "left_out": 1}


def test_without_a_reference_or_neighbours_nothing_is_measured(probe_task, write_records):
    model = Next({"a": [0.5, 0.5]})
    for task, rows in ((probe_task(model), [edit(1, "a")]), (probe_task(model, model), [edit(1)])):
        (found,) = probing.drift(task, edits=write_records(rows))
        assert math.isnan(found.value) and (found.n, found.low, found.high) == (0, None, None)


def test_a_served_model_has_not_drifted_from_itself_and_another_has(
    tiny_version, make_tiny, probe_task, write_records, tmp_path
):
    plugins = host.load([])
    one, other = open_version(tiny_version, plugins), open_version(make_tiny(tmp_path / "other", 1), plugins)
    edits = write_records([edit(1, "The quick", "Ada lives in"), edit(2, "The capital is")])
    assert probing.drift(probe_task(one, one), edits=edits)[0].value == 0.0
    assert probing.drift(probe_task(one, other), edits=edits)[0].value > 0.01
