"""Where the time of one edit goes, and how far it is from the products of matrices that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from editing_runs import Setting, Write, one_at_a_time
from figures import Reading, read
from harness import gemm
from torch.utils.flop_counter import FlopCounterMode

from amends_editing import alphaedit, targets
from amends_editing.facts import Fact

STEPS = (
    ("passes below and up to the subject, run once", targets, "prepare"),
    ("search: steps forward and back on the tails", targets._Group, "search"),
    ("keys of each layer as the one before it is edited", targets.Solved, "read"),
    ("blocks left behind", targets.Solved, "advance"),
    ("low-rank solves in the null space", alphaedit, "projected"),
)


def measure(setting: Setting, write: Write, facts: Sequence[Fact]) -> Iterator[Reading]:
    """Edit some facts one at a time, with a clock at each step; then count what their passes multiply."""
    spent = dict.fromkeys((name for name, _, _ in STEPS), 0.0)
    with ExitStack() as stack:
        for name, owner, attribute in STEPS:
            timed = _timed(getattr(owner, attribute), name, spent)
            stack.enter_context(patch.object(owner, attribute, timed))
        whole = one_at_a_time(setting, facts, write).cpu_seconds
    for name, seconds in spent.items():
        yield read(f"one edit: {name}", seconds / len(facts), "CPU-s", len(facts))
    yield read("one edit: everything else", (whole - sum(spent.values())) / len(facts), "CPU-s", len(facts))
    flops = _products(setting, write, facts)
    floor = flops / 1e9 / gemm()
    yield read("one edit: products of matrices in its passes", flops / 1e9 / len(facts), "GFLOP", len(facts))
    yield read("one edit: those at this machine's rate of large products", floor / len(facts), "CPU-s", len(facts))
    yield read("one edit: time taken, of that floor", whole / floor, "ratio", len(facts))


def _timed(call: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        try:
            return call(*args, **kwargs)
        finally:
            spent[name] += time.process_time() - began

    return run


def _products(setting: Setting, write: Write, facts: Sequence[Fact]) -> int:
    """Count the floating-point operations of the edits' products; asking afterwards is not in it."""
    counted = 0

    def counting(desk: Any, wishes: Any) -> Any:
        nonlocal counted
        with FlopCounterMode(display=False) as counter:
            made = write(desk, wishes)
        counted += counter.get_total_flops()
        return made

    one_at_a_time(setting, facts, counting)
    return counted
