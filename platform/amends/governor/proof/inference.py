"""Say in sentences how sure a comparison can be: the reference, the chance of a false pass, the power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amends.governor.proof.comparisons import Comparison, comparisons_of, decided_by_rules, is_number
from amends.governor.proof.plots import number

Told = Mapping[str, Any]
REFERENCE = (
    "There is no gold model here, one that was trained again without this person. The reference is the people who were "
    "withheld from training, measured in the same way, and the model as it was before any of this training."
)
STRANGERS = (
    "There is no gold model here, and nobody was withheld from these records. The reference is made-up people in the "
    "same sentences, and the model as it was before any of this training."
)
REBUILT = "The reference is the gold model itself: what a fresh process built by the same plan without the records."
RECOMPUTED = (
    "The reference is the same plan, run again from the last state that was free of the records; the readings are "
    "alarms beside it."
)
NOTHING = "No reading here compares forgotten people with people whom the model never saw."


def inference_of(
    guarantee: str | None, readings: Told, answers: Sequence[Told], *, judged: int, is_strange: bool
) -> dict[str, Any]:
    """Return the sentences of a statement on its inference: `reference`, `errors` and `power`.

    Args:
        guarantee: What is promised or was tried for; None where nothing was.
        readings: `before` and `after`, as a statement has them.
        answers: What the rules of the policy answered.
        judged: How many methods the policy judged, this one included.
        is_strange: Whether made-up people stand for the people who were withheld.
    """
    found = comparisons_of(readings["after"], readings["before"])
    exact = {"exact": REBUILT, "exact by data flow": RECOMPUTED}.get(guarantee or "")
    if exact or not found:
        return {"reference": exact or (NOTHING if readings["after"] else ""), "errors": [], "power": ""}
    return {
        "reference": STRANGERS if is_strange else REFERENCE,
        "errors": [*_rungs(found, judged), *_family(found, answers)],
        "power": _power(found),
    }


def _rungs(found: Sequence[Comparison], judged: int) -> list[str]:
    """Say what it costs that any of several methods may pass."""
    settings = {tuple(comparison.detail.get(name) for name in ("rungs", "alpha", "level")) for comparison in found}
    known = sorted({tuple(value for value in setting if is_number(value)) for setting in settings})
    whole = [setting for setting in known if len(setting) == 3]
    said = [_correction(int(rungs), alpha, level) for rungs, alpha, level in whole]
    if len(whole) < len(settings):
        said.append("Some comparisons do not say at which level they were tested; nothing is claimed for these.")
    if whole and judged > min(setting[0] for setting in whole):
        said.append(f"{judged} methods were judged, more than the intervals allow for: the chance is larger than that.")
    return said


def _correction(rungs: int, alpha: float, level: float) -> str:
    many = "One method could be tried" if rungs == 1 else f"Any of {rungs} methods could have passed"
    each = f"at {alpha:g}" if rungs == 1 else f"at {alpha:g} / {rungs} = {alpha / rungs:.3g} (Bonferroni)"
    return (
        f"{many}, so each one-sided test was made {each}, and the intervals of the comparisons cover "
        f"{100 * level:.4g} %. The chance that any method passes although one of its comparisons truly lies at or "
        f"beyond the policy's limit is held to {100 * alpha:g} %, as far as the intervals keep their coverage."
    )


def _family(found: Sequence[Comparison], answers: Sequence[Told]) -> list[str]:
    """Say why scores and attacks need no correction of their own: all that decide have to pass."""
    decide = decided_by_rules(found, answers)
    if not decide:
        return ["No denying rule reads the interval of a comparison: they are shown, and decided nothing."]
    attacks = sum(comparison.is_attack for comparison in decide)
    said = (
        f"Comparisons that decide: {len(decide)}, of which attacks: {attacks}. Within one method all of them have to "
        "lie within the limits at once: a further one can only make a pass harder, so neither scores nor attacks "
        "need a correction for one another (intersection-union test; Berger, 1982)."
    )
    rest = len(found) - len(decide)
    return [said, *([f"Comparisons that are shown and decided nothing: {rest}."] if rest else [])]


def _power(found: Sequence[Comparison]) -> str:
    """Say what these people could have shown."""
    people = [float(comparison.n) for comparison in found]
    powers = [comparison.power for comparison in found if is_number(comparison.power)]
    known = [least for comparison in found if is_number(least := comparison.detail.get("least_margin"))]
    said = [f"On the smaller side of a comparison n = {_span(people, whole=True)} people."]
    if powers:
        said.append(f"Where nothing differs, a comparison would have passed with probability {_span(powers)}.")
    if known:
        said.append(f"The smallest margin that so many people pass with probability 0.8 is {_span(known)}.")
    if len(known) < len(found):
        said.append(f"Comparisons with too few people for any margin: {len(found) - len(known)}.")
    return " ".join(said)


def _span(values: Sequence[float], *, whole: bool = False) -> str:
    least, most = (f"{value:g}" if whole else number(value) for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"
