"""What an editing operation writes and keeps: whole weights, and in the state the edit's numbers and no text."""

import json

import pytest
import torch

from amends import BadInput

METHODS = ("editing.rome", "editing.memit", "editing.alphaedit", "editing.rls", "editing.ft", "editing.ultraedit")


def test_an_edit_without_subjects_keeps_no_keys_of_the_edits_before_it(run_within, row_about, edits_of):
    done = run_within("editing.memit", [row_about()])
    after = run_within("editing.ultraedit", [row_about(target="Brenn")], done.output, done.state)
    assert {"keys.0", "keys.1"} <= edits_of(after)[0].keys()
    assert not [name for name in edits_of(after)[1] if name.startswith("keys")]


@pytest.mark.parametrize("name", METHODS)
def test_weights_differ_by_the_factors_in_the_state_and_by_nothing_else(
    run_within, row_about, version_of, opened, name, edits_of
):
    rows = [row_about(target="Brenn"), row_about(subject="Pell Ostrin")]  # the first has several tokens
    by_one = {} if name == "editing.rome" else {"batch": 1}
    task = run_within(name, rows, **by_one)
    (blob,) = edits_of(task)
    before, after = (dict(opened(version)[0].named_parameters()) for version in (version_of(), task.output))
    for weight in before:
        layer = weight.split(".")[2] if "down_proj" in weight else ""
        if f"left.{layer}" in blob:
            update = blob[f"left.{layer}"] @ blob[f"right.{layer}"].T
            assert update.any()
            torch.testing.assert_close(after[weight], before[weight] + update, atol=1e-5, rtol=1e-4)
        else:
            assert torch.equal(after[weight], before[weight])


def test_the_state_holds_numbers_and_no_text(run_within, row_about, tokenizer):
    row = row_about(subject="Ruvo Tanniker")
    task = run_within("editing.memit", [row])
    assert task.state.names() == ("editing-edit-0000", "editing-moments")
    for name in task.state.names():
        blob = task.state.get(name)
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        assert header.pop("__metadata__", {}).keys() <= {"about", "seen", "facts"}
        assert all(part["dtype"] == "F32" for part in header.values())  # token ids are whole numbers
        assert not [word for word in ("Ruvo", "Tanniker", "home", "pears") if word.encode() in blob]


def test_what_is_kept_of_one_edit_is_under_a_hundredth_of_smollm2(run_within, row_about, edits_of):
    """Its size is known from its shapes: checked on the tiny model, worked out for SmolLM2's 135 million weights."""

    def floats(width, inner, layers, keys):
        return layers * keys * (width + inner + inner)  # left, right and each key of one fact

    task = run_within("editing.memit", [row_about()])
    blob = task.state.get("editing-edit-0000")
    keys = edits_of(task)[0]["keys.0"].shape[1]
    assert keys <= 2 and len(blob) == 8 + int.from_bytes(blob[:8], "little") + 4 * floats(32, 48, 2, keys)
    model = 4 * 134_515_008
    assert 4 * floats(576, 1536, 5, keys=2) + 4096 < 0.0004 * model
    full_rank = 576 * 576 + 576 * 1536  # what fine-tuning keeps
    task = run_within("editing.ft", [row_about()])
    assert sum(part.numel() for part in edits_of(task)[0].values()) == 32 * 32 + 32 * 48
    assert 4 * full_rank + 4096 < 0.01 * model


def test_no_weight_goes_further_than_fine_tunings_limit(run_within, row_about, version_of, opened):
    task = run_within("editing.ft", [row_about()], layers="1", lr=1e-2, limit=3e-3)
    name = "model.layers.1.mlp.down_proj.weight"
    before, after = (opened(version)[0].get_parameter(name) for version in (version_of(), task.output))
    assert ((before - 3e-3 <= after) & (after <= before + 3e-3)).all()
    assert ((after == before + 3e-3) | (after == before - 3e-3)).any()


def test_an_edit_without_text_is_refused_until_the_lineage_has_statistics(run_within, row_about, edits_of):
    with pytest.raises(BadInput, match="needs running text once for each lineage"):
        run_within("editing.memit", [row_about()], text=None)
    done = run_within("editing.memit", [row_about()])
    after = run_within("editing.memit", [row_about()], done.output, done.state, text=None)
    assert len(edits_of(after)) == 2
    with pytest.raises(BadInput, match="needs running text"):
        run_within("editing.memit", [row_about()], done.output, done.state, text=None, layers="2")


@pytest.mark.parametrize(("layers", "said"), [("1,x", "numbers with commas"), ("3", "0 to 2")])
def test_layers_that_are_none_are_refused(run_within, row_about, layers, said):
    with pytest.raises(BadInput, match=said):
        run_within("editing.ft", [row_about()], layers=layers)


def test_no_edit_is_refused(run_within):
    with pytest.raises(BadInput, match="there is no edit"):
        run_within("editing.ft", [])


def test_statistics_are_read_once_for_a_model_a_layer_and_a_text(
    run_within, row_about, version_of, monkeypatch, tmp_path
):
    from amends.store import Computed
    from amends_editing import applying

    passes, read = [], applying.read_moments
    monkeypatch.setattr(applying, "read_moments", lambda *given: passes.append(given[3]) or read(*given))
    digest = "ab" * 32

    def edit(layers, digest=digest, **more):
        computed = Computed(tmp_path / "cache", {})
        beside = {"source_digest": digest, "memory": computed}
        task = run_within("editing.memit", [row_about()], task=beside, layers=layers, **more)
        computed.flush()
        return (task.output / "model" / "model.safetensors").read_bytes()

    first = edit("0,1")
    assert edit("0,1") == first and passes == [(0, 1)]
    edit("1")
    assert passes == [(0, 1)]
    edit("0,1", digest="cd" * 32)
    edit("0,1", tokens=1100)
    assert passes == [(0, 1)] * 3
