"""An update that moves what it was not to move is shrunk or refused, and the parent stands."""

import hashlib

import pytest
import torch

from amends import AmendsError, BadInput, Task, host
from amends.operation.files import save_model
from amends_editing.desk import Factors
from amends_editing.facts import Fact
from amends_editing.guarding import Guard, Moved, plain_text
from amends_editing.structure import inspect_model

MEMIT = {"tokens": 1024, "steps": 15, "lr": 5.0, "layers": "0,1", "weight": 1e-6, "weight_per_fact": 0.0}


def files_of(directory):
    return {file: hashlib.sha256(file.read_bytes()).digest() for file in directory.rglob("*") if file.is_file()}


@pytest.fixture
def pushed(build, tokenizer, row_about):
    """Return a guard that allows anything, what pushes the model, and the weights from before."""
    anatomy = inspect_model(build("llama"))
    guard = Guard(anatomy, tokenizer, [Fact.from_row(row_about())], limit=1e9)
    draw = torch.Generator().manual_seed(5)
    made = [Factors(1, torch.randn(32, 1, generator=draw), torch.randn(48, 1, generator=draw))]
    return guard, made, {1: anatomy.projections[1].weight.detach().clone()}


def at(guard, made, weights, scale):
    """Return how far a share of the update moves, with the weights put back."""
    projection = guard.anatomy.projections[1]
    made[0].apply(guard.anatomy, scale)
    moved = guard.moved()
    with torch.no_grad():
        projection.weight.copy_(weights[1])
    return moved


@torch.no_grad()
def test_how_far_is_the_divergence_by_plain_passes(pushed, tokenizer):
    guard, made, _ = pushed
    model = guard.anatomy.model
    lines = [" ".join(part.split()) for part in plain_text()]
    ids = [tokenizer(line, return_tensors="pt", add_special_tokens=False)["input_ids"] for line in lines]
    near = tokenizer("The quick brown fox", return_tensors="pt", add_special_tokens=False)["input_ids"]

    def said():
        return [model(input_ids=one).logits[0].log_softmax(-1) for one in [*ids, near]]

    before = said()
    made[0].apply(guard.anatomy)
    each = [(b.exp() * (b - a)).sum(-1) for b, a in zip(before, said(), strict=True)]
    moved = guard.moved()
    assert moved.text == pytest.approx(float(torch.cat(each[:-1]).mean()), rel=1e-4)
    assert moved.neighbours == pytest.approx(float(each[-1][-1]), rel=1e-4)
    assert moved.most == max(moved.text, moved.neighbours / 4) > 0


def test_an_update_is_halved_until_it_moves_little_enough(pushed):
    guard, made, weights = pushed
    whole, quarter = at(guard, made, weights, 1.0), at(guard, made, weights, 0.25)
    assert quarter.most < at(guard, made, weights, 0.5).most < whole.most
    guard.limit = quarter.most * 1.0001
    made[0].apply(guard.anatomy)
    scale, moved = guard.hold(made, weights)
    assert scale == 0.25 and moved.most == pytest.approx(quarter.most)
    update = made[0].left @ made[0].right.T
    torch.testing.assert_close(guard.anatomy.projections[1].weight, weights[1] + 0.25 * update)


def test_an_update_that_moves_little_is_left_whole(pushed):
    guard, made, weights = pushed
    made[0].apply(guard.anatomy)
    assert guard.hold(made, weights)[0] == 1.0


def test_an_update_that_moves_too_much_even_shrunk_is_taken_back_bit_by_bit(pushed):
    guard, made, weights = pushed
    guard.limit = 1e-9
    made[0].apply(guard.anatomy)
    with pytest.raises(AmendsError, match="max_drift"):
        guard.hold(made, weights)
    assert torch.equal(guard.anatomy.projections[1].weight, weights[1])


def test_a_model_that_says_no_number_moved_infinitely_far(pushed):
    guard, made, weights = pushed
    broken = [Factors(1, made[0].left * torch.nan, made[0].right)]
    broken[0].apply(guard.anatomy)
    assert Moved(0.1, 4.0).most == 1.0  # neighbours may move four times as far
    assert Moved(float("nan"), 0.1).most == guard.moved().most == float("inf")
    with pytest.raises(AmendsError, match="plain text by nan nats"):
        guard.hold(broken, weights)
    assert torch.equal(guard.anatomy.projections[1].weight, weights[1])


@pytest.mark.parametrize(
    ("name", "settings"), [("editing.memit", MEMIT), ("editing.ft", {"layers": "1", "lr": 1.0, "limit": 10.0})]
)
def test_a_reckless_edit_leaves_the_parent_and_writes_nothing(
    run_within, row_about, version_of, tmp_path, name, settings
):
    before = files_of(version_of())
    with pytest.raises(AmendsError, match="max_drift") as failed:
        run_within(name, [row_about()], max_drift=0.001, **settings)
    assert files_of(version_of()) == before and not list(tmp_path.glob("version-*"))
    assert not [word for word in ("Ada", "Quill", "island") if word in str(failed.value)]


def test_a_reckless_edit_is_shrunk_where_an_eighth_of_it_is_little_enough(run_within, row_about, opened, version_of):
    settings = {"layers": "1", "lr": 1e-2, "limit": 0.1}
    name = "model.layers.1.mlp.down_proj.weight"
    versions = [run_within("editing.ft", [row_about()], max_drift=drift, **settings).output for drift in (50.0, 0.05)]
    start, whole, shrunk = (opened(one)[0].get_parameter(name).detach() for one in (version_of(), *versions))
    share = float((shrunk - start).norm() / (whole - start).norm())
    assert any(share == pytest.approx(wanted, rel=1e-3) for wanted in (0.5, 0.25, 0.125))


def test_an_update_that_was_shrunk_is_reported_with_what_was_kept(tmp_path, row_about, version_of, write_records):
    told, operation = [], host.current().operation("editing.ft")
    task = Task(tmp_path, 7, source=version_of(), output=tmp_path / "version")
    task.report = lambda done, total, message: told.append(message)
    given = {"edits": write_records([row_about()]), "layers": "1", "lr": 1e-2, "limit": 0.1, "max_drift": 0.05}
    operation(task, **operation.check(given))
    (said,) = [message for message in told if message.startswith("kept 0.")]
    assert "of an update that moved too much; now it moves plain text by" in said and "Ada" not in said


def test_a_model_with_a_weight_that_is_no_number_is_refused(run_within, row_about, build, tokenizer, tmp_path):
    model = build("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 4] = torch.nan
    save_model(tmp_path / "broken", model, tokenizer)
    with pytest.raises(BadInput, match="NaN or infinite before any edit"):
        run_within("editing.memit", [row_about()], tmp_path / "broken", **MEMIT)
