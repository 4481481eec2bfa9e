import subprocess
import sys

import pytest
import torch

UNRELATED = "Solve the equation with two unknowns"
HEAVY = ("torch", "transformers", "ray", "mlflow", "sentence_transformers")


def test_listing_what_stands_beside_the_weights_loads_nothing_heavy():
    code = (
        "import sys; from amends_editing import beside; offered = beside.operations(), beside.attachments(); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_is_its_own_rebuild_and_makes_an_attachment_of_its_name():
    from amends_editing import beside

    kinds = [found.kind for found in beside.attachments()]
    assert [operation.name for operation in beside.operations()] == [f"editing.{kind}" for kind in kinds]
    for operation, kind in zip(beside.operations(), kinds, strict=True):
        assert operation.rebuilds == operation.name and operation.guarantee == "exact" and kind in operation.accepts
        assert operation.parameters[0].name == "edits" and operation.parameters[0].is_required


BESIDE = [("grace", family) for family in ("gemma3", "gpt2", "neox", "opt")]
BESIDE += [("wise", family) for family in ("gemma3", "gpt2", "qwen3")]  # random ones whose router tells a fact apart


@pytest.mark.parametrize(("method", "family"), BESIDE)
def test_a_fact_stands_beside_any_architecture_and_nothing_else_moves(
    run_edit, serve, logits_of, facts, version_of, method, family
):
    (fact,) = facts(1)
    model, base = serve(run_edit(method, [fact], source=version_of(family))), serve(version_of(family))
    asked = [(fact["prompt"], fact["target"])]
    before, after = (float(one.score_continuations(asked)[0].logp.mean()) for one in (base, model))
    assert after > before + 1
    assert torch.equal(logits_of(model, UNRELATED), logits_of(base, UNRELATED))
