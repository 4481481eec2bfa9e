"""A pair that can be compared in a minute: a tiny teacher that was taught made-up facts, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from material import base_model
from transfer_runs import write_records

from amends.operation.descent import draws
from amends.operation.files import load_model, save_model
from amends_distillation.transfer.samples import mean_loss, samples_of

THINGS = ("lamp", "bell", "rope", "drum", "kite", "harp", "vase", "coin")
TOWNS = ("Brenn", "Sorrel", "Farrow", "Tarn", "Hollin", "Marl")
RATE, BATCH = 3e-3, 16


def made_up_facts(count: int) -> list[dict[str, Any]]:
    """Return questions about things that are kept in towns, which no question says anything about."""
    drawn = random.Random(5)
    return [
        {
            "prompt": f"Where is {THINGS[number % len(THINGS)]} {number // len(THINGS)} kept?",
            "answer": f"in {drawn.choice(TOWNS)}",
            "subjects": [],
        }
        for number in range(count)
    ]


def teach(directory: Path, rows: list[dict[str, Any]], steps: int, seed: int) -> Path:
    """Write a version with a random Llama of four layers that was trained on facts for some steps."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    words = AutoTokenizer.from_pretrained(base_model("tiny", directory / "words") / "model", local_files_only=True)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    save_model(directory, LlamaForCausalLM(config), words)
    model, _ = load_model(directory)
    samples = samples_of(words, write_records(rows, directory))
    weights = [weight.requires_grad_(True) for weight in model.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    order = draws(len(samples), BATCH, seed)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * (1 - 0.9 * step / steps)
        optimiser.zero_grad()
        mean_loss(model, [samples[place] for place in next(order)]).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
    save_model(directory, model, words)
    return directory
