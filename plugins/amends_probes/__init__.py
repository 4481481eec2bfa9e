"""Measurements that every family needs: is the model still useful, and what does it have by heart?"""

from __future__ import annotations

from collections.abc import Iterable

import amends
from amends import Probe, ProbeTask, Reading, Records


@amends.probe("utility.retain", memory_gb=2.0)
def retain(task: ProbeTask, *, retain: Records, most: int = 64, generated: int = 8) -> list[Reading]:
    """Read how well the model still answers the records it was to keep.

    At most `most` records of as many people as possible are scored, and `generated` of them answered.
    """
    from amends_probes.utility import read_retained

    return read_retained(task, retain, most=most, generated=generated)


@amends.probe("utility.perplexity", memory_gb=2.0)
def perplexity(task: ProbeTask) -> list[Reading]:
    """Read the perplexity of plain English passages, and its ratio to the reference's."""
    from amends_probes.utility import read_perplexity

    return read_perplexity(task)


@amends.probe("memorisation.extraction", memory_gb=2.0)
def extraction(task: ProbeTask, *, forget: Records) -> list[Reading]:
    """Read how much of the forgotten answers the model still completes by heart."""
    from amends_probes.memorisation import read_extraction

    return read_extraction(task, forget)


@amends.probe("utility.throughput", memory_gb=2.0)
def throughput(task: ProbeTask) -> list[Reading]:
    """Read how many tokens a second pass forward through the whole model on this machine."""
    from amends_probes.speed import read_throughput

    return read_throughput(task)


@amends.probe("memorisation.generation", memory_gb=2.0)
def generation(
    task: ProbeTask, *, forget: Records, most: int = 32, given: float = 0.5, tokens: int = 32
) -> list[Reading]:
    """Read how much of the forgotten answers the model says by itself (MUSE's VerbMem and KnowMem).

    At most `most` records of as many people as possible are asked twice, for `tokens` tokens each: once with the
    first `given` of the answer's words, and once with the question alone.
    """
    from amends_probes.saying import read_generation

    return read_generation(task, forget, most=most, given=given, tokens=tokens)


@amends.hookimpl
def amends_probes() -> Iterable[Probe]:
    """Offer the probes of this package."""
    return (retain, perplexity, extraction, generation, throughput)
