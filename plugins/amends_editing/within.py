"""The operations that write facts into the weights themselves: what each takes, and what runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import amends
from amends import Guarantee, Load, Operation, Records, Task
from amends.operation.effort import BACKWARD
from amends.operation.parameters import check_positive

if TYPE_CHECKING:
    from amends_editing.applying import Plan

PER_FACT = 1.5  # λ is at least so much for each fact that a lineage holds
DEEPEST = 0.28  # of the depth: where the last edited layer lies as a rule
ROWS_A_STEP = 2  # the bare prompt and one context
ROWS_ONCE = 24  # strangers after each context, and the contexts' keys at each edited layer
EXPECTED = 0.6  # of the most steps, as a rule
FORGOTTEN_BY = ("memorisation.extraction", "utility.retain", "utility.perplexity")
VERIFIED_BY = ("editing.outcome", "editing.success", "editing.accuracy", "utility.perplexity")


def _offer(name: str, memory_gb: float = 3.0) -> Callable[[Callable[..., None]], Operation]:
    """Declare an operation that is a function of source, state, edits, text, parameters and seed: its own rebuild."""
    return amends.operation(
        name, verified_by=VERIFIED_BY, cpus=2, memory_gb=memory_gb, guarantee=Guarantee.EXACT, rebuilds=name
    )


def _plan(
    steps: int, lr: float, stop: float, overshoot: float, per_coordinate: bool, contexts: int, **more: Any
) -> Plan:
    from .applying import Plan
    from .targets import Solver

    check_positive("editing", steps=steps, lr=lr, overshoot=overshoot, tokens=more["tokens"])
    solver = Solver(
        steps=steps, lr=lr, stop=stop, contexts_per_step=contexts, overshoot=overshoot, per_coordinate=per_coordinate
    )
    return Plan(solver=solver, **more)


@_offer("editing.rome")
def rome(
    task: Task,
    *,
    edits: Records,
    text: Records | None = None,
    layers: str = "",
    tokens: int = 200_000,
    shrinkage: float = 0.01,
    steps: int = 25,
    lr: float = 1.0,
    stop: float = 0.9,
    overshoot: float = 1.5,
    per_coordinate: bool = False,
    contexts: int = 1,
    max_drift: float = 0.5,
) -> None:
    """Write each fact as a rank-one update of one layer (ROME, Meng et al., 2022; R-ROME, Gupta et al., 2024)."""
    from .applying import run
    from .rome import edit

    plan = _plan(
        steps, lr, stop, overshoot, per_coordinate, contexts,
        layers=layers, most_layers=1, batch=1, tokens=tokens, shrinkage=shrinkage, max_drift=max_drift,
    )  # fmt: skip
    run(task, edits, text, plan, lambda desk: edit)


@_offer("editing.memit")
def memit(
    task: Task,
    *,
    edits: Records,
    text: Records | None = None,
    layers: str = "",
    batch: int = 50,
    weight: float = 15.0,
    weight_per_fact: float = PER_FACT,
    remember: bool = True,
    tokens: int = 200_000,
    shrinkage: float = 0.01,
    steps: int = 25,
    lr: float = 1.0,
    stop: float = 0.9,
    overshoot: float = 1.5,
    per_coordinate: bool = False,
    contexts: int = 1,
    max_drift: float = 0.5,
) -> None:
    """Write many facts in one update, spread over a few layers (MEMIT, Meng et al., 2023)."""
    from .applying import run
    from .memit import edit

    plan = _plan(
        steps, lr, stop, overshoot, per_coordinate, contexts,
        layers=layers, batch=batch, tokens=tokens, shrinkage=shrinkage, max_drift=max_drift,
    )  # fmt: skip
    run(task, edits, text, plan, lambda desk: partial(
        edit, weight=desk.counterweight(weight, weight_per_fact), remember=remember
    ))  # fmt: skip


@_offer("editing.alphaedit")
def alphaedit(
    task: Task,
    *,
    edits: Records,
    text: Records | None = None,
    layers: str = "",
    batch: int = 50,
    weight: float = 1.0,
    weight_per_fact: float = PER_FACT,
    threshold: float = 0.7,
    tokens: int = 200_000,
    shrinkage: float = 0.0,
    steps: int = 25,
    lr: float = 1.0,
    stop: float = 0.9,
    overshoot: float = 1.5,
    per_coordinate: bool = False,
    contexts: int = 1,
    max_drift: float = 0.5,
) -> None:
    """Write facts where running text cannot feel them: in the null space of its keys (AlphaEdit, Fang et al., 2025)."""
    from .alphaedit import prepare
    from .applying import run

    plan = _plan(
        steps, lr, stop, overshoot, per_coordinate, contexts,
        layers=layers, batch=batch, tokens=tokens, shrinkage=shrinkage, max_drift=max_drift,
    )  # fmt: skip
    run(task, edits, text, plan, lambda desk: prepare(desk, threshold, weight, weight_per_fact))


@_offer("editing.rls")
def rls(
    task: Task,
    *,
    edits: Records,
    text: Records | None = None,
    layers: str = "",
    batch: int = 50,
    weight: float = 15.0,
    weight_per_fact: float = PER_FACT,
    tokens: int = 200_000,
    shrinkage: float = 0.01,
    steps: int = 25,
    lr: float = 1.0,
    stop: float = 0.9,
    overshoot: float = 1.5,
    per_coordinate: bool = False,
    contexts: int = 1,
    max_drift: float = 0.5,
) -> None:
    """Write facts as recursive least squares: a batch costs the same after a thousand edits (RLSEdit, 2026)."""
    from .applying import run
    from .rls import prepare

    plan = _plan(
        steps, lr, stop, overshoot, per_coordinate, contexts,
        layers=layers, batch=batch, tokens=tokens, shrinkage=shrinkage, max_drift=max_drift,
    )  # fmt: skip
    run(task, edits, text, plan, lambda desk: prepare(desk, desk.counterweight(weight, weight_per_fact)))


@_offer("editing.ultraedit", memory_gb=2.0)
def ultraedit(
    task: Task, *, edits: Records, layers: str = "", batch: int = 50, rate: float = 3e-3, max_drift: float = 0.5
) -> None:
    """Write facts with one forward and backward pass, without subject or statistics (UltraEdit, Gu et al., 2025)."""
    from .applying import Plan, run
    from .ultraedit import DEPTH, prepare

    plan = Plan(
        layers=layers, depth=DEPTH, most_layers=6, batch=batch, tokens=0, max_drift=max_drift,
        knows_no_erasure="editing.ultraedit",
    )  # fmt: skip
    run(task, edits, None, plan, lambda desk: prepare(rate))


@_offer("editing.ft", memory_gb=2.0)
def ft(
    task: Task,
    *,
    edits: Records,
    layers: str = "",
    batch: int = 50,
    steps: int = 25,
    lr: float = 5e-4,
    limit: float = 5e-3,
    max_drift: float = 0.5,
) -> None:
    """Fine-tune one projection with no weight further than a limit from where it was: the control (FT-L)."""
    from .applying import Plan, run
    from .ft import edit

    check_positive("editing.ft", steps=steps, lr=lr, limit=limit)
    plan = Plan(layers=layers, most_layers=1, batch=batch, tokens=0, max_drift=max_drift, knows_no_erasure="editing.ft")
    run(task, edits, None, plan, lambda desk: lambda at, wishes: edit(at, wishes, steps, lr, limit))


def effort_to_forget(loads: Mapping[str, Load], *, steps: int, **more: Any) -> float:
    """Return the passes of an erasure: the kept text up to the last layer, and of each fact strangers, keys, search."""
    lost, kept = loads["forget"], loads["retain"]
    search = EXPECTED * steps * ROWS_A_STEP * (1 - DEEPEST) * (1 + BACKWARD)
    return kept.tokens * DEEPEST + lost.tokens * (ROWS_ONCE + search)


@amends.operation(
    "editing.forget",
    verified_by=FORGOTTEN_BY,
    cpus=2,
    memory_gb=3.0,
    guarantee=Guarantee.APPROXIMATE,
    effort=effort_to_forget,
)
def forget(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    layers: str = "",
    weight: float = 15.0,
    shrinkage: float = 0.1,
    steps: int = 25,
    lr: float = 1.0,
    max_drift: float = 0.5,
) -> None:
    """Erase single facts about a person: each question answered as for somebody unknown (the verb erase, by MEMIT)."""
    from .forgetting import run

    run(task, forget, retain, _plan(
        steps, lr, 0.9, 1.0, False, 1, layers=layers, batch=50, tokens=200_000, shrinkage=shrinkage, max_drift=max_drift
    ), weight)  # fmt: skip


def operations() -> Iterable[Operation]:
    """Return the operations of this module."""
    return (rome, memit, alphaedit, rls, ultraedit, ft, forget)
