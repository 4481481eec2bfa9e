"""Exporting for others: PEFT's layout, loadable by plain PEFT, and a router without anybody's name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from amends.errors import BadInput
from amends.operation.files import load_model
from amends.records import canonical_json
from amends.serving import export_peft
from amends.store import read_manifest

ROUTER = {
    "template": "t",
    "salt": "5a17",
    "names": {"ab12": [0]},
    "mentions": {"cd34": [1]},
    "centroids": [{"shard": 0, "vector": [0.6, 0.8]}],
    "threshold": 0.5,
}


@pytest.fixture
def sharded(tiny_version, tmp_path):
    """Return a version with two adapters and a router on a base by reference, as `training.shards` writes it."""
    version = tmp_path / "version"
    home = version / "attachments" / "shards"
    (version / "model").mkdir(parents=True)
    (version / "model" / "reference.json").write_bytes(canonical_json({"base": "0" * 64}))
    (version / "base").symlink_to(tiny_version / "model", target_is_directory=True)
    for index in range(2):
        torch.manual_seed(index)
        model, _ = load_model(tiny_version)
        adapter = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
        adapter.save_pretrained(home / f"shard-{index:02d}")
    (home / "router.json").write_bytes(canonical_json(ROUTER))
    (home / "index.json").write_text('{"records": ["secret-id"]}')
    (version / "attachments" / "order.json").write_text('["shards"]')
    return version


def test_plain_peft_loads_an_export(sharded, tmp_path, tiny_version, monkeypatch):
    export = export_peft(sharded, tmp_path / "export")
    monkeypatch.chdir(export)
    code = (export / "README.md").read_text().split("```python\n")[1].split("```")[0]
    said: dict = {}
    exec(code, said)
    ids = torch.tensor([[3, 5, 7]])
    logits = []
    for name in ("shard-00", "shard-01"):
        base = AutoModelForCausalLM.from_pretrained(tiny_version / "model")
        expected = PeftModel.from_pretrained(base, sharded / "attachments" / "shards" / name)
        said["model"].set_adapter(name)
        logits.append(said["model"](ids).logits)
        assert torch.equal(logits[-1], expected(ids).logits)
    assert not torch.equal(*logits)
    config = json.loads((export / "adapters" / "shard-00" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"


def test_an_export_holds_adapters_byte_for_byte_and_no_hash_of_a_name(sharded, tmp_path, tiny_version):
    export = export_peft(sharded, tmp_path / "export")
    for name in ("shard-00", "shard-01"):
        original = sharded / "attachments" / "shards" / name / "adapter_model.safetensors"
        assert (export / "adapters" / name / "adapter_model.safetensors").read_bytes() == original.read_bytes()
    assert read_manifest(export / "base") == read_manifest(tiny_version / "model")
    router = json.loads((export / "router.json").read_text())
    assert router == {key: ROUTER[key] for key in ("template", "centroids", "threshold")}
    everything = b"".join(file.read_bytes() for file in export.rglob("*.*") if file.suffix in (".json", ".md"))
    assert not any(secret in everything for secret in (b"ab12", b"cd34", b"5a17", b"secret-id"))
    assert not any(path.is_symlink() for path in export.rglob("*"))


def test_an_export_says_what_it_leaves_out(sharded, tmp_path):
    (sharded / "attachments" / "guard").mkdir()
    (sharded / "attachments" / "order.json").write_text('["shards","guard"]')
    export = export_peft(sharded, tmp_path / "export")
    assert "no such part: guard" in (export / "README.md").read_text()
    AutoModelForCausalLM.from_pretrained(export / "base")
    AutoTokenizer.from_pretrained(export / "base")


def test_what_would_be_the_bare_base_is_not_exported(tiny_version, tmp_path):
    version = Path(shutil.copytree(tiny_version, tmp_path / "version"))
    (version / "attachments" / "guard").mkdir(parents=True)
    (version / "attachments" / "order.json").write_text('["guard"]')
    with pytest.raises(BadInput, match=r"lies in guard, .* would be the bare base"):
        export_peft(version, tmp_path / "export")
    assert not list(tmp_path.glob("*export*"))


def test_two_kinds_with_adapters_of_one_name_are_kept_apart(sharded, tmp_path):
    shutil.copytree(sharded / "attachments" / "shards" / "shard-00", sharded / "attachments" / "taught" / "shard-00")
    (sharded / "attachments" / "order.json").write_text('["shards","taught"]')
    export = export_peft(sharded, tmp_path / "export")
    assert sorted(path.name for path in (export / "adapters").iterdir()) == ["shard-00", "shard-01", "taught-shard-00"]


def test_an_export_never_overwrites_and_is_whole_or_absent(sharded, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="name a new one"):
        export_peft(sharded, tmp_path / "export")
    (sharded / "attachments" / "shards" / "shard-01" / "adapter_model.safetensors").unlink()
    with pytest.raises(BadInput, match="cannot write"):
        export_peft(sharded, tmp_path / "other")
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["mine.txt"]
    assert not list(tmp_path.glob("*other*"))
