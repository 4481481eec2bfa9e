"""The measurements of a student beside its teacher: what each takes, and what reads it."""

from __future__ import annotations

from collections.abc import Iterable

import amends
from amends import Probe, ProbeTask, Reading, Records


@amends.probe("distillation.fidelity", memory_gb=3.0)
def fidelity(task: ProbeTask, *, text: Records, most: int = 64, length: int = 128) -> list[Reading]:
    """Read the student's perplexity over its teacher's, their divergence a token, and how often they choose alike."""
    from .fidelity import read_fidelity

    return read_fidelity(task, text, most=most, length=length)


@amends.probe("distillation.size", memory_gb=3.0)
def size(task: ProbeTask) -> list[Reading]:
    """Read parameters, bytes and tokens a second of a student, and how many times smaller and faster it is."""
    from .size import read_size

    return read_size(task)


@amends.probe("distillation.facts", memory_gb=3.0)
def facts(task: ProbeTask, *, retain: Records, most: int = 64) -> list[Reading]:
    """Read which of the facts that the teacher completes word by word its student completes as well."""
    from .facts import read_facts

    return read_facts(task, retain, most=most)


@amends.probe("distillation.calibration", memory_gb=3.0)
def calibration(task: ProbeTask, *, text: Records, most: int = 64, length: int = 128) -> list[Reading]:
    """Read how far the student's confidence in the next token is from how often it is right, beside its teacher's."""
    from .calibration import read_calibration

    return read_calibration(task, text, most=most, length=length)


@amends.probe("distillation.contamination", memory_gb=3.0)
def contamination(
    task: ProbeTask,
    *,
    forget: Records | None = None,
    control: Records | None = None,
    forbidden: Records | None = None,
    tokens: int = 24,
) -> list[Reading]:
    """Read how much the student has of what its teacher was made to forget or was cured of saying."""
    from .contamination import read_contamination

    return read_contamination(task, forget, control, forbidden, tokens=tokens)


def probes() -> Iterable[Probe]:
    """Return the probes of this package."""
    return (fidelity, facts, calibration, size, contamination)
