"""kNN memory attention by hand, its gates, and the parts of other architectures that it can look into."""

import pytest
import torch
import transformers

from amends.errors import BadInput
from amends_rag.anatomy import attention_of, final_mlp
from amends_rag.memory import Memory

WIDE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 99,
    "attn_implementation": "eager",
}
SMALL = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 99, "n_positions": 64, "attn_implementation": "eager"}


def built(name):
    if name == "GPT2LMHead":
        config = transformers.GPT2Config(**SMALL)
    else:
        more = {"OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32}, "Qwen3": {"head_dim": 8}}.get(name, {})
        kept = {} if name in ("OPT",) else {"intermediate_size": 48}
        grouped = {"num_key_value_heads": 2} if name in ("Llama", "Qwen3") else {}
        config = getattr(transformers, f"{name.removesuffix('ForCausalLM')}Config")(**WIDE, **more, **kept, **grouped)
    kind = "GPT2LMHeadModel" if name == "GPT2LMHead" else f"{name}ForCausalLM"
    return getattr(transformers, kind)(config).eval()


def test_a_head_attends_to_its_nearest_memories_alone():
    keys = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
    values = torch.tensor([[[10.0, 0.0], [0.0, 10.0], [7.0, 7.0]]])
    query = torch.tensor([[[2.0, 1.0], [0.0, -3.0]]])  # one place, two heads that share a group
    found = Memory(keys, values).recall(query, 2)
    first = torch.softmax(torch.tensor([2.0, 1.0]) / 2**0.5, 0)
    torch.testing.assert_close(found[0, 0], first * 10.0)
    hidden = Memory(keys, values).recall(query, 2, slice(0, 1))
    one = torch.softmax(torch.tensor([1.0, -2.0]) / 2**0.5, 0)
    torch.testing.assert_close(hidden[0, 0], one[0] * values[0, 1] + one[1] * values[0, 2])


def test_a_gate_of_one_hands_on_what_was_remembered_alone(ground, serve):
    model = serve(ground("rag.memory", gate=1.0, layer=1))
    (seam,) = model.seams
    seen = []
    hook = seam.attention.output.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    asked = []
    listening = seam.attention.query.register_forward_hook(lambda _, __, out: asked.append(out))
    with model.armed("x"), torch.inference_mode():
        late = seam.attention.output.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        model.hf_model(torch.tensor([[5, 6, 7]]))
    for one in (hook, listening, late):
        one.remove()
    expected = seam.memory.recall(asked[0].view(3, seam.attention.heads, -1), 32)
    torch.testing.assert_close(seen[-1].view_as(expected), expected)
    assert not torch.equal(seen[0], seen[-1])


def test_gates_are_learnt_from_the_other_documents_and_need_some(ground, serve, documents):
    learnt = serve(ground("rag.memory", steps=8, lr=0.5)).seams[0].gates
    assert len(set(learnt.tolist())) > 1 and bool(((learnt > 0) & (learnt < 1)).all())
    with pytest.raises(BadInput, match="two or more"):
        ground("rag.memory", documents()[:1], steps=2)


@pytest.mark.parametrize("name", ["Llama", "Qwen3", "OPT", "GPTNeoX", "GPT2LMHead"])
def test_what_the_last_mlp_reads_is_found_in_any_architecture(name):
    model = built(name)
    found = final_mlp(model)
    seen = []
    hook = found.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(input_ids=torch.tensor([[3, 1, 2]]))
    hook.remove()
    assert seen[0].shape[-1] == 32
    named = {module: path for path, module in model.named_modules()}[found]
    assert named.rpartition(".")[2] in ("mlp", "fc1") and ".2." in named


def test_heads_without_projections_of_their_own_are_refused_with_a_way_out():
    attention = attention_of(built("Qwen3"), 1)
    assert (attention.heads, attention.size) == (4, 8) and type(attention.query).__name__ == "Qwen3RMSNorm"
    with pytest.raises(BadInput, match=r"take rag\.knn-lm"):
        attention_of(built("GPTNeoX"), 1)
    with pytest.raises(BadInput, match="layer must be 0 to 2"):
        attention_of(built("Llama"), 3)
