"""Measurements of edits: does the new fact hold, is everything else as it was, and is an erased one gone?"""

from __future__ import annotations

from collections.abc import Iterable

import amends
from amends import Probe, ProbeTask, Reading, Records

NAMES = (
    "Orlan Vesk, Tamsil Brode, Yevra Quillon, Maddoc Thelby, Ishra Penvale, Corwen Dask, Lunet Harrowmere, "
    "Pell Ostravane"
)


@amends.probe("editing.outcome", memory_gb=2.0)
def outcome(task: ProbeTask, *, edits: Records) -> list[Reading]:
    """Read how often an edit did what it was to do, whatever its verb, and left its neighbours alone."""
    from amends_editing.outcome import read_outcome

    return read_outcome(task, edits)


@amends.probe("editing.success", memory_gb=2.0)
def success(task: ProbeTask, *, edits: Records) -> list[Reading]:
    """Read how often the new answer is likelier than the old, and the neighbours' own than the new (CounterFact)."""
    from amends_editing.success import read_success

    return read_success(task, edits)


@amends.probe("editing.accuracy", memory_gb=2.0)
def accuracy(task: ProbeTask, *, edits: Records) -> list[Reading]:
    """Read how often every token of the right answer is the model's first choice."""
    from amends_editing.success import read_accuracy

    return read_accuracy(task, edits)


@amends.probe("editing.generation", memory_gb=2.0)
def generation(task: ProbeTask, *, edits: Records, tokens: int = 12) -> list[Reading]:
    """Read how often what the model says by itself begins with the right answer."""
    from amends_editing.success import read_generation

    return read_generation(task, edits, tokens=tokens)


@amends.probe("editing.portability", memory_gb=2.0)
def portability(task: ProbeTask, *, edits: Records) -> list[Reading]:
    """Read how questions that follow from the edits are answered, and those about the subject's other relations."""
    from amends_editing.portability import read_portability

    return read_portability(task, edits)


@amends.probe("editing.reverse", memory_gb=2.0)
def reverse(task: ProbeTask, *, edits: Records) -> list[Reading]:
    """Read whether the edited facts are known from their other end."""
    from amends_editing.portability import read_reverse

    return read_reverse(task, edits)


@amends.probe("editing.fluency", memory_gb=2.0)
def fluency(task: ProbeTask, *, edits: Records, most: int = 32, tokens: int = 64) -> list[Reading]:
    """Read the variety of what the model says after the prompts, and its likeness to texts about the target.

    At most `most` records of as many people as possible are asked, for `tokens` tokens each.
    """
    from amends_editing.fluency import read_fluency

    return read_fluency(task, edits, most=most, tokens=tokens)


@amends.probe("editing.drift", memory_gb=2.0)
def drift(task: ProbeTask, *, edits: Records) -> list[Reading]:
    """Read how far the next token after the neighbours' prompts moved from the reference's."""
    from amends_editing.drift import read_drift

    return read_drift(task, edits)


@amends.probe("editing.erasure", memory_gb=3.0)
def erasure(
    task: ProbeTask,
    *,
    edits: Records,
    names: str = NAMES,
    tokens: int = 16,
    relearned: int = 16,
    steps: int = 5,
    lr: float = 5e-5,
    layers: int = 4,
) -> list[Reading]:
    """Read whether erased answers are as likely as for subjects that nobody knows, and whether they come back.

    Records bring `unknown` prompts about comparable subjects, or one of `names` takes the subject's place. `relearned`
    facts are taught again by `steps` of Adam on the last `layers` layers; the model is given back as it was.
    """
    from amends_editing.erasure import Settings, read_erasure
    from amends_editing.relearning import Training

    return read_erasure(task, edits, Settings(names, tokens, relearned, Training(steps, lr, layers)))


def probes() -> Iterable[Probe]:
    """Return the probes of this package."""
    return (outcome, success, accuracy, generation, portability, reverse, fluency, drift, erasure)
