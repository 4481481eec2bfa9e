"""How fast a model reads on the machine that will work on it: what a plan's cost is reckoned with."""

from __future__ import annotations

import statistics
import time

import torch

from amends import ProbeTask, Reading

PASSES = 5
TOKENS = 64  # about as long as a record; much longer passes would promise more than short ones keep


@torch.no_grad()
def read_throughput(task: ProbeTask) -> list[Reading]:
    """Read how many tokens a second pass forward through the whole model: the median of some passes after a first.

    The interval is the slowest and the fastest pass.
    """
    model = task.model.hf_model
    ids = torch.arange(TOKENS, device=model.device)[None] % model.config.vocab_size
    speeds = []
    for number in range(PASSES + 1):
        task.progress(number, PASSES + 1, "timing a pass")
        began = time.perf_counter()
        float(model(input_ids=ids, use_cache=False).logits[0, -1, 0])  # reading one number waits for the device
        speeds.append(TOKENS / (time.perf_counter() - began))
    kept = speeds[1:]
    return [
        Reading(
            "utility.throughput/forward", statistics.median(kept), min(kept), max(kept), PASSES, "tokens per second",
            detail={"layers": model.config.num_hidden_layers},
        )
    ]  # fmt: skip
