"""Model stitching: a model on itself, a rotated model, other widths, and what has no common configuration."""

import pytest
import torch

from amends import BadInput
from amends.operation.files import load_model, save_model


def logits_of(version):
    with torch.no_grad():
        return load_model(version)[0](input_ids=torch.arange(3, 19)[None]).logits


def rotated(version, directory):
    """Write the same function in another basis: the gains go into what reads, and an orthogonal map into everything."""
    model, tokenizer = load_model(version)
    width = model.config.hidden_size
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(3))).Q
    with torch.no_grad():
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for norm, readers in (
                (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                for reader in readers:
                    reader.weight.copy_((reader.weight * norm.weight) @ turn.T)
                norm.weight.fill_(1.0)
            for writer in (attention.o_proj, mlp.down_proj):
                writer.weight.copy_(turn @ writer.weight)
        model.model.norm.weight.fill_(1.0)
        model.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight @ turn.T)
    save_model(directory, model, tokenizer)
    return directory


@pytest.fixture(scope="module")
def plain(write_llama, tmp_path_factory):
    """Return a model whose final gain is one, as a rotation needs it for tied embeddings."""
    model, tokenizer = load_model(write_llama(1))
    model.model.norm.weight.data.fill_(1.0)
    directory = tmp_path_factory.mktemp("plain")
    save_model(directory, model, tokenizer)
    return directory


@pytest.mark.parametrize("by", ["lens", "embedding"])
def test_a_model_stitched_onto_itself_says_what_it_said(run_transfer, write_llama, by):
    version = write_llama(1)
    task = run_transfer("transfer.stitch", version, {"upper": version}, below=1, above=2, by=by)
    torch.testing.assert_close(logits_of(task.output), logits_of(version), atol=1e-4, rtol=1e-4)


def test_the_upper_blocks_of_a_rotated_model_fit_as_if_they_were_its_own(run_transfer, plain, tmp_path):
    turned = rotated(plain, tmp_path / "turned")
    torch.testing.assert_close(logits_of(turned), logits_of(plain), atol=1e-4, rtol=1e-4)
    task = run_transfer("transfer.stitch", plain, {"upper": turned}, below=1, above=2)
    torch.testing.assert_close(logits_of(task.output), logits_of(plain), atol=1e-3, rtol=1e-3)


def test_models_of_other_widths_give_one_of_the_lower_width(run_transfer, write_llama):
    other = write_llama(2, hidden_size=48, intermediate_size=64, num_hidden_layers=4, head_dim=8)
    task = run_transfer("transfer.stitch", write_llama(1), {"upper": other}, below=2, above=3)
    config = load_model(task.output)[0].config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (5, 32, 64)
    assert bool(logits_of(task.output).isfinite().all())


def test_models_without_a_common_configuration_are_refused(run_transfer, write_llama):
    other = write_llama(2, num_key_value_heads=4)
    with pytest.raises(BadInput, match="heads or positions"):
        run_transfer("transfer.stitch", write_llama(1), {"upper": other}, below=1, above=1)
    with pytest.raises(BadInput, match="above 9 of 3"):
        run_transfer("transfer.stitch", write_llama(1), {"upper": write_llama(2)}, below=1, above=9)
    with pytest.raises(BadInput, match="each side"):
        run_transfer("transfer.stitch", write_llama(1), {"upper": write_llama(2)}, below=0, above=1)
