"""What every way of grounding owes: the base's bits at weight zero, one answer on every path, the same bytes again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from amends.errors import BadInput
from amends.serving.flavors import added_files
from amends.serving.pyfunc import Answering

ROUTES = ("rag.context", "rag.replug", "rag.knn-lm", "rag.memory")
OFF = {
    "rag.context": "context_k",
    "rag.replug": "replug_weight",
    "rag.knn-lm": "knn_weight",
    "rag.memory": "memory_gate",
}
ASKED = "Where does Ada Quill live?"
TEXT = "The capital of the island is Sorrel, and the fox sleeps."
HEAVY = ("torch", "transformers", "ray", "mlflow", "sentence_transformers", "lancedb")


def read(model):
    """Return what a version says and thinks on every path."""
    scores = [*model.score([(ASKED, "In Brenn.")]), *model.score_text([TEXT])]
    scores += model.score_continuations([("The capital of the island", "is Sorrel")])
    logp = [*(score.logp for score in scores), *model.next_token([TEXT])]
    return [*model.generate([ASKED], 8), *model.complete([TEXT], 8)], logp


@pytest.mark.parametrize("name", ROUTES)
def test_with_nothing_mixed_in_it_is_the_base_bit_for_bit(ground, serve, tiny_version, name):
    version, base = serve(ground(name)), serve(tiny_version)
    off = 0 if name == "rag.context" else 0.0
    said, thought = read(version.tuned({OFF[name]: off}))
    plain, plainly = read(base)
    assert said == plain and all(torch.equal(one, other) for one, other in zip(thought, plainly, strict=True))
    _, changed = read(version)
    assert any(not torch.equal(one, other) for one, other in zip(changed, plainly, strict=True))
    assert read(base)[0] == plain  # and nothing is left armed


@pytest.mark.parametrize("name", ROUTES)
def test_scoring_in_one_pass_gives_what_step_after_step_gives(ground, serve, name):
    model = serve(ground(name))
    prompt, answer = "The quick brown", "fox jumps over"
    (whole,) = model.score_continuations([(prompt, answer)])
    ids = model.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]
    asked = model.tokenizer(model.before(prompt), add_special_tokens=False)["input_ids"]
    stepped, cache = [], None
    with torch.inference_mode(), model.armed(prompt):
        fed = torch.tensor([asked])
        for token in ids:
            out = model.hf_model(input_ids=fed, past_key_values=cache, use_cache=True)
            stepped.append(out.logits[0, -1].log_softmax(-1)[token])
            cache, fed = out.past_key_values, torch.tensor([[token]])
    torch.testing.assert_close(whole.logp, torch.stack(stepped), atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", ROUTES)
def test_the_same_documents_give_the_same_bytes_and_a_later_step_adds_to_them(ground, bytes_of, documents, name):
    first, *rest = documents()
    whole = ground(name)
    assert bytes_of(whole) == bytes_of(ground(name, seed=8))
    assert bytes_of(whole) == bytes_of(ground(name, rest, source=ground(name, [first])))
    assert bytes_of(ground(name, rest)) != bytes_of(whole)


@pytest.mark.parametrize("name", ROUTES)
def test_a_stream_is_the_answer_in_pieces(ground, serve, name):
    model = serve(ground(name))
    for length in (1, 12):
        assert "".join(model.stream(ASKED, length)) == model.generate([ASKED], length)[0]


@pytest.mark.parametrize("name", ROUTES)
def test_mlflow_lists_what_may_be_asked_with_and_another_name_is_refused(ground, name):
    version = ground(name)
    settings = json.loads((version / "attachments" / name.replace(".", "-") / "settings.json").read_bytes())
    listed = added_files(version)["MLmodel"].decode()
    assert OFF[name] in settings and all(setting in listed for setting in settings)
    answering = Answering(version)
    assert answering.predict([ASKED], {"max_new_tokens": 2, **settings}) == answering.predict(
        ASKED, {"max_new_tokens": 2}
    )
    with pytest.raises(BadInput, match="no parameter 'nonsense'"):
        answering.predict([ASKED], {"nonsense": 1})
    with pytest.raises(BadInput, match=OFF[name]):
        answering.predict([ASKED], {OFF[name]: 1e9})


@pytest.mark.parametrize("name", ROUTES)
def test_no_documents_and_empty_ones_are_refused_in_a_sentence(ground, name):
    with pytest.raises(BadInput, match="was given no documents"):
        ground(name, [])
    with pytest.raises(BadInput, match="document doc-1 has no text"):
        ground(name, [{"id": "doc-1", "text": " \n", "subjects": []}])


@pytest.mark.parametrize(("name", "enlarged"), [("rag.knn-lm", "norm"), ("rag.memory", "v_proj")])
def test_a_state_that_float16_cannot_say_is_refused_and_not_kept(ground, tiny_version, tmp_path, name, enlarged):
    source = tmp_path / "large"
    shutil.copytree(tiny_version, source)
    file = source / "model" / "model.safetensors"
    large = {key: tensor * (1e6 if enlarged in key else 1) for key, tensor in load_file(file).items()}
    save_file(large, file, metadata={"format": "pt"})
    with pytest.raises(BadInput, match="too large for float16"):
        ground(name, source=source)


def test_several_stand_beside_each_other_in_their_written_order(ground, serve, tiny_version):
    version = tiny_version
    for name in ROUTES:
        version = ground(name, source=version)
    model = serve(version)
    order = json.loads((version / "attachments" / "order.json").read_bytes())
    assert order == [name.replace(".", "-") for name in ROUTES] and len(model.seams) == 4
    assert "".join(model.stream(ASKED, 6)) == model.generate([ASKED], 6)[0]
    off = model.tuned({OFF[name]: 0 if name == "rag.context" else 0.0 for name in ROUTES})
    assert torch.equal(off.next_token([TEXT])[0], serve(tiny_version).next_token([TEXT])[0])


def test_listing_what_stands_beside_the_weights_loads_nothing_heavy():
    code = (
        "import sys; from amends_rag import beside, kinds, measures; "
        "offered = beside.operations(), kinds.attachments(), measures.probes(); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
