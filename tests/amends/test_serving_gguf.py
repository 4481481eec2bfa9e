"""Importing GGUF files: the same weights as transformers reads, converted once, whole or not at all."""

from __future__ import annotations

import json
import resource
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
    cached_base,
    fetch_base,
    find_packaged,
    import_gguf,
)


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


def test_a_base_is_fetched_from_a_file_or_a_directory(tiny_gguf, tiny_version, tmp_path):
    from_file = fetch_base(str(tiny_gguf), tmp_path)
    assert from_file.directory == tmp_path / from_file.sha256
    assert (from_file.directory / "model.safetensors").exists() and from_file.origin == "local file tiny.gguf"
    assert fetch_base(str(tiny_version / "model"), tmp_path).directory == tiny_version / "model"


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
