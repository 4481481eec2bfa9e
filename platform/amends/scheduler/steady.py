"""Make a process compute the same bits twice, for as long as a job runs."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def needs_torch(trees: Iterable[Path], makes_a_model: bool) -> bool:
    """Whether a job will surely compute: it reads weights, its base's included, or makes a model from nothing."""
    places = (place for tree in trees for place in (tree, tree / "base"))  # a walk does not follow the link to a base
    return makes_a_model or any(next(place.rglob("*.safetensors"), None) is not None for place in places)


@contextlib.contextmanager
def steady(threads: int, seed: int, torch_needed: bool) -> Iterator[None]:
    """Give torch this many threads and deterministic algorithms, seed every generator, and undo the settings after.

    Operations draw from `task.seed`; the seeds here only keep a forgotten global draw from differing between runs.
    torch is imported only where it is needed; if an operation imports it later, the environment carries the threads.
    """
    with _environment(OMP_NUM_THREADS=str(threads), **dict([_WORKSPACE])):
        if torch_needed:
            importlib.import_module("torch")
        seed_generators(seed)
        if "torch" in sys.modules:
            with _torch(threads):
                yield
        else:
            yield


def seed_generators(seed: int) -> None:
    """Seed the global generator of every library that is loaded."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@contextlib.contextmanager
def _torch(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
