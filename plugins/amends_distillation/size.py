"""How much smaller and faster a student is than its teacher."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from amends import ProbeTask, Reading
from amends.operation.files import weights_directory
from amends_distillation.beside import both

PASSES = 5
TOKENS = 64


def read_size(task: ProbeTask) -> list[Reading]:
    """Read parameters, bytes and tokens a second of the student, and how many times smaller and faster it is."""
    student, teacher = both(task)
    own, others = (_parameters(model.hf_model) for model in (student, teacher))
    assert task.reference_path is not None  # there is a reference
    size, other = (_bytes(path) for path in (task.model_path, task.reference_path))
    speeds = _speeds(task, student.hf_model, teacher.hf_model)
    faster = [ours / theirs for ours, theirs in speeds]
    quick = [ours for ours, _ in speeds]
    return [
        Reading("distillation.size/parameters", own, n=1, unit="parameters", detail={"teacher": others}),
        Reading("distillation.size/bytes", size, n=1, unit="bytes", detail={"teacher": other}),
        Reading("distillation.size/smaller", others / own, n=1, unit="times"),
        Reading(
            "distillation.size/speed", statistics.median(quick), min(quick), max(quick), PASSES, "tokens per second"
        ),
        Reading("distillation.size/faster", statistics.median(faster), min(faster), max(faster), PASSES, "times"),
    ]


def _parameters(model: Any) -> int:
    """Return how many numbers a model has; tied ones count once."""
    return sum(tensor.numel() for tensor in {id(one): one for one in model.parameters()}.values())


def _bytes(version: Path) -> int:
    return sum(file.stat().st_size for file in weights_directory(version).glob("*.safetensors"))


@torch.inference_mode()
def _speeds(task: ProbeTask, student: Any, teacher: Any) -> list[tuple[float, float]]:
    """Return tokens a second of both models in turn, so that a busy machine slows both; a first pass is left out."""
    found = []
    for number in range(PASSES + 1):
        task.progress(number, PASSES + 1, "timing passes")
        found.append((_speed(student), _speed(teacher)))
    return found[1:]


def _speed(model: Any) -> float:
    ids = torch.arange(TOKENS, device=model.device)[None] % model.config.vocab_size
    began = time.perf_counter()
    float(model(input_ids=ids, use_cache=False).logits[0, -1, 0])  # reading one number waits for the device
    return TOKENS / (time.perf_counter() - began)
