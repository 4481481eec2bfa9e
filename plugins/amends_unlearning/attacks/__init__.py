"""Attacks that void the evidence of shallow forgetting: each a probe, so that a policy can say what it may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import amends
from amends import ProbeTask, Reading, Records

if TYPE_CHECKING:
    from .judging import Sides

Half = Literal["audit", "method", "all"]


@amends.probe("unlearning.attack-paraphrase", memory_gb=2.0)
def attack_paraphrase(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Ask about forgotten and never-seen people in other words."""
    from . import paraphrase

    return paraphrase.run(_sides(task, "paraphrase", forget, control, None, most, half, margin, rungs))


@amends.probe("unlearning.attack-format", memory_gb=2.0)
def attack_format(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Ask about forgotten and never-seen people in other formats than the one that was trained."""
    from . import formats

    return formats.run(_sides(task, "format", forget, control, None, most, half, margin, rungs))


@amends.probe("unlearning.attack-prefix", memory_gb=2.0)
def attack_prefix(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Begin the answers about forgotten and never-seen people for the model."""
    from . import prefix

    return prefix.run(_sides(task, "prefix", forget, control, None, most, half, margin, rungs))


@amends.probe("unlearning.attack-few-shot", memory_gb=2.0)
def attack_few_shot(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    retain: Records | None = None,
    shots: int = 3,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Show retained people's answers before asking about forgotten and never-seen people."""
    from . import shots as showing

    return showing.run(_sides(task, "few-shot", forget, control, retain, most, half, margin, rungs), shots)


@amends.probe("unlearning.attack-language", memory_gb=2.0)
def attack_language(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    retain: Records | None = None,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Ask about forgotten and never-seen people in the frame of other languages; retained people are the check."""
    from . import language

    asked = _sides(task, "language", forget, control, retain, most, half, margin, rungs)
    return language.run(asked)


@amends.probe("unlearning.attack-sampling", memory_gb=3.0)
def attack_sampling(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    samples: int = 100,
    tokens: int = 24,
    temperature: float = 1.0,
    most: int = 8,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Sample many answers about forgotten and never-seen people, and bound the chance that one tells."""
    from . import sampling

    asked = _sides(task, "sampling", forget, control, None, most, half, margin, rungs)
    return sampling.run(asked, samples, tokens, temperature)


@amends.probe("unlearning.attack-quantisation", memory_gb=3.0)
def attack_quantisation(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    group: int = 64,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Ask about forgotten and never-seen people with the weights rounded to 8 and to 4 bits."""
    from . import quantisation

    return quantisation.run(_sides(task, "quantisation", forget, control, None, most, half, margin, rungs), group)


@amends.probe("unlearning.attack-relearn", memory_gb=3.0)
def attack_relearn(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    people: int = 8,
    steps: int = 5,
    lr: float = 1e-4,
    batch: int = 4,
    layers: int = 8,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Teach one record of each of some people again, and ask for the rest of theirs; the same with control people.

    The weights of the top `layers` layers are trained, and given back bit for bit.
    """
    from . import relearning

    asked = _sides(task, "relearn", forget, control, None, most, half, margin, rungs)
    return relearning.run(asked, relearning.Training(steps, lr, batch, layers), people)


@amends.probe("unlearning.attack-lora-relearn", memory_gb=3.0)
def attack_lora_relearn(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    people: int = 8,
    steps: int = 5,
    lr: float = 2e-3,
    batch: int = 4,
    layers: int = 8,
    rank: int = 8,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Teach one record of each of some people again with a low-rank adapter, and ask for the rest of theirs."""
    from . import relearning

    asked = _sides(task, "lora-relearn", forget, control, None, most, half, margin, rungs)
    return relearning.run(asked, relearning.Training(steps, lr, batch, layers, max(rank, 1)), people)


@amends.probe("unlearning.attack-benign-relearn", memory_gb=3.0)
def attack_benign_relearn(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    retain: Records | None = None,
    lessons: int = 8,
    steps: int = 5,
    lr: float = 1e-4,
    batch: int = 4,
    layers: int = 8,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Teach some retained people's records again, and ask about forgotten and never-seen people."""
    from . import relearning

    asked = _sides(task, "benign-relearn", forget, control, retain, most, half, margin, rungs)
    return relearning.run_benign(asked, relearning.Training(steps, lr, batch, layers), lessons)


@amends.probe("unlearning.attack-soft-prompt", memory_gb=3.0)
def attack_soft_prompt(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    length: int = 4,
    steps: int = 5,
    lr: float = 1.0,
    most: int = 8,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Search free vectors that draw out an answer, with the same budget for forgotten and never-seen facts."""
    from . import soft

    return soft.run(_sides(task, "soft-prompt", forget, control, None, most, half, margin, rungs), length, steps, lr)


@amends.probe("unlearning.attack-inner-layers", memory_gb=3.0)
def attack_inner_layers(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    most: int = 16,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Read whether an inner layer ranks the answers about forgotten people higher than about never-seen people."""
    from . import inner

    return inner.run(_sides(task, "inner-layers", forget, control, None, most, half, margin, rungs))


@amends.probe("unlearning.attack-two-version", memory_gb=2.0)
def attack_two_version(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    most: int = 64,
    half: Half = "audit",
    margin: float = 0.1,
    rungs: int = 1,
) -> list[Reading]:
    """Read whether what this version lost against the reference tells who was erased; many at once hide each other."""
    from . import versions

    return versions.run(_sides(task, "two-version", forget, control, None, most, half, margin, rungs))


def _sides(
    task: ProbeTask,
    name: str,
    forget: Records,
    control: Records,
    retain: Records | None,
    most: int,
    half: str,
    margin: float,
    rungs: int,
) -> Sides:
    from ..equivalence import Margin
    from .judging import Choice, sides

    choice = Choice(Margin(margin, rungs), half, most)
    return sides(task, f"unlearning.attack-{name}", choice, forget, control, retain)


PROBES = (
    attack_paraphrase,
    attack_format,
    attack_prefix,
    attack_few_shot,
    attack_language,
    attack_sampling,
    attack_quantisation,
    attack_relearn,
    attack_lora_relearn,
    attack_benign_relearn,
    attack_soft_prompt,
    attack_inner_layers,
    attack_two_version,
)
