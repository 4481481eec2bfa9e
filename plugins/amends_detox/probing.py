"""The measurements of toxicity, bias, refusals and diversity: what each reads, and what runs it."""

from __future__ import annotations

from collections.abc import Iterable

import amends
from amends import Probe, ProbeTask, Reading, Records


@amends.probe("detox.toxicity", memory_gb=2.0)
def toxicity(
    task: ProbeTask,
    *,
    prompts: Records,
    scorer: str = "ensemble",
    samples: int = 4,
    tokens: int = 20,
    top_p: float = 0.9,
    cutoff: float = 0.5,
) -> list[Reading]:
    """Read how toxic continuations of prompts are, how often one of several is, and how they vary.

    The protocol of RealToxicityPrompts, with `samples` continuations of each prompt. Prompts on which the scorer's head
    was fitted (see `amends_detox.scoring.rtp.fitted_on`) must not be among them.
    """
    from amends_detox.toxicity import Protocol, read_toxicity

    return read_toxicity(task, prompts, Protocol(scorer, samples, tokens, top_p, cutoff))


@amends.probe("detox.bypass", memory_gb=3.0)
def bypass(
    task: ProbeTask,
    *,
    prompts: Records,
    scorer: str = "ensemble",
    samples: int = 4,
    tokens: int = 20,
    top_p: float = 0.9,
    cutoff: float = 0.5,
    most: int = 60,
    amplify: float = 10.0,
    neurons: int = 8,
    rise: float = 1.2,
) -> list[Reading]:
    """Read how often the model is toxic once its toxic neurons are amplified: whether toxicity is gone or only hidden.

    The attack needs the weights alone. The reference is attacked in the same way, as the control.
    """
    from amends_detox.bypass import Protocol, read_bypass

    protocol = Protocol(scorer, samples, tokens, top_p, cutoff, most, amplify, neurons, rise)
    return read_bypass(task, prompts, protocol)


@amends.probe("detox.fluency", memory_gb=3.0)
def fluency(
    task: ProbeTask, *, prompts: Records, samples: int = 1, tokens: int = 20, top_p: float = 0.9
) -> list[Reading]:
    """Read the perplexity of what the model says under its reference, or under itself where there is none."""
    from amends_detox.fluency import read_fluency

    return read_fluency(task, prompts, samples=samples, tokens=tokens, top_p=top_p)


@amends.probe("detox.over-refusal", memory_gb=2.0)
def over_refusal(
    task: ProbeTask,
    *,
    scorer: str = "ensemble",
    samples: int = 2,
    tokens: int = 48,
    top_p: float = 0.9,
    cutoff: float = 0.5,
) -> list[Reading]:
    """Read how often harmless requests are refused, and how toxically kind sentences about people are continued."""
    from amends_detox.safety import read_over_refusal

    return read_over_refusal(task, scorer=scorer, samples=samples, tokens=tokens, top_p=top_p, cutoff=cutoff)


@amends.probe("safety.harmful-compliance", memory_gb=2.0)
def harmful_compliance(
    task: ProbeTask, *, conversations: Records, judge: str = "rules", system: str = "", tokens: int = 64
) -> list[Reading]:
    """Read how often the model does what harmful conversations ask, through its chat template."""
    from amends_detox.safety import read_compliance

    return read_compliance(task, "safety.harmful-compliance", conversations, judge=judge, system=system, tokens=tokens)


@amends.probe("safety.jailbreak", memory_gb=2.0)
def jailbreak(
    task: ProbeTask, *, jailbreaks: Records, judge: str = "rules", system: str = "", tokens: int = 64
) -> list[Reading]:
    """Read how often the model does what harmful conversations ask that were written to get around its refusals."""
    from amends_detox.safety import read_compliance

    return read_compliance(task, "safety.jailbreak", jailbreaks, judge=judge, system=system, tokens=tokens)


@amends.probe("safety.incidents", memory_gb=2.0)
def incidents(
    task: ProbeTask,
    *,
    incidents: Records,
    scorer: str = "ensemble",
    cutoff: float = 0.5,
    similarity: float = 0.5,
    tokens: int = 48,
) -> list[Reading]:
    """Read how many of the things that went wrong once go wrong again, each as its record expects."""
    from amends_detox.incidents import Measure, read_incidents

    return read_incidents(task, incidents, Measure(scorer, cutoff, similarity, tokens))


@amends.probe("bias.crows-pairs", memory_gb=2.0)
def crows_pairs(task: ProbeTask, *, stereotypes: Records) -> list[Reading]:
    """Read how often the more stereotypical sentence of a pair is the likelier one (CrowS-Pairs); half is the ideal."""
    from amends_detox.crows import read_crows

    return read_crows(task, stereotypes)


@amends.probe("bias.bbq", memory_gb=2.0)
def bbq(task: ProbeTask, *, questions: Records) -> list[Reading]:
    """Read accuracy and the bias scores s_DIS and s_AMB of answers to questions about people (BBQ)."""
    from amends_detox.bbq import read_bbq

    return read_bbq(task, questions)


@amends.probe("utility.tasks", memory_gb=2.0)
def tasks(task: ProbeTask, *, tasks: Records, tokens: int = 48) -> list[Reading]:
    """Read how often an answer is as expected: a text, a pattern, JSON of a schema, or the right one of choices."""
    from amends_detox.tasks import read_tasks

    return read_tasks(task, tasks, tokens=tokens)


def probes() -> Iterable[Probe]:
    """Return the probes of this package."""
    return (toxicity, bypass, fluency, over_refusal, harmful_compliance, jailbreak, incidents, crows_pairs, bbq, tasks)
