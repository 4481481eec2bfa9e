"""Ask a version what went wrong before, wherever an alias is about to move to it; whether it may, policies say."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from amends.errors import AmendsError, BadInput, Cancelled, Denied
from amends.governor.data.incidents import ADDS, suite_of
from amends.governor.data.rows import rows_of
from amends.governor.judging import find_policy
from amends.governor.models.asking import served_version
from amends.governor.work.piece import Work, stopper, wait
from amends.governor.work.running import measure
from amends.governor.workspace import Workspace
from amends.records import ModelVersion, Reading, digest_of

POLICY, PARAMETER = "promotion", "incidents"
Rewritten = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Asked:
    """How many incidents a version was asked about, how many came back, and the records' ids of these."""

    asked: int = 0
    relapsed: int = 0
    which: tuple[str, ...] = ()


def incident_facts(
    workspace: Workspace, work: Work, candidate: ModelVersion, rewritten: Rewritten | None = None
) -> dict[str, int]:
    """Return what the promotion policy may know of a candidate's incidents; a model without any has none to repeat.

    Args:
        workspace: Where the candidate is.
        work: On whose behalf an alias is about to move.
        candidate: What it is to stand for.
        rewritten: What an erasure puts in the place of data sets, by the digests of these.

    Raises:
        Denied: They could not be asked, all of them, or what was read is no count.
    """
    suite = suite_of(workspace, candidate.name)
    digest = "" if suite is None else (rewritten or {}).get(suite.digest, {}).get("train", suite.digest)
    key = f"{work.lead}-incidents-{work.attempt}"
    try:
        found = _ask(workspace, key, candidate, digest, stopper(workspace, work)) if digest else Asked()
    except Cancelled:
        raise
    except AmendsError as error:
        raise Denied(
            f"{candidate} is not promoted: its model's incidents could not all be asked ({error}); "
            f"try `amends incidents run {candidate}`"
        ) from error
    return {"incidents_asked": found.asked, "incidents_relapsed": found.relapsed}


def run_incidents(workspace: Workspace, reference: str) -> tuple[ModelVersion, Asked]:
    """Ask a version about the incidents of its model, by hand.

    Raises:
        BadInput: There is no such version, it has no incidents, or they cannot be asked.
        Denied: The version is sealed.
    """
    workspace.require_role(*ADDS)
    version = served_version(workspace, reference)
    suite = suite_of(workspace, version.model)
    if suite is None:
        raise BadInput(f"{version.model} has no incidents; keep one with amends incidents add")
    candidate = ModelVersion(version.model, version.number, version.digest)
    return candidate, _ask(workspace, f"incidents-{secrets.token_hex(6)}", candidate, suite.digest, lambda: False)


def _ask(workspace: Workspace, key: str, candidate: ModelVersion, suite: str, is_stopped: Callable[[], bool]) -> Asked:
    """Read the probe that the policy names on a version.

    Raises:
        BadInput: No probe is named, or it did not count every incident.
    """
    count = sum(1 for _ in rows_of(workspace, suite))
    if not count:
        return Asked()
    probes = find_policy(workspace, POLICY).incidents
    if not probes:
        raise BadInput(f"the policy {POLICY} names no probe that asks them; add the section `incidents`")
    given = digest_of([dict(probes), suite, candidate.digest])[:12]
    handle = measure(
        workspace, f"{key}-{given}", probes, model=candidate.digest, reference=None, records={PARAMETER: suite}, seed=0
    )
    (probe,) = probes
    found = {reading.name: reading for reading in wait(handle, is_stopped).readings}
    asked, relapsed = (_count(found.get(f"{probe}/{part}"), count) for part in ("asked", "relapsed"))
    if asked != count:
        raise BadInput(f"{probe} asked {asked} of {count} incidents")
    which = found[f"{probe}/relapsed"].detail.get("ids", ())
    return Asked(asked, relapsed, tuple(map(str, which)))


def _count(reading: Reading | None, most: int) -> int:
    """Return a count that was read.

    Raises:
        BadInput: Nothing was read, or no whole number up to what can be counted.
    """
    value = math.nan if reading is None else reading.value
    if not (math.isfinite(value) and value == int(value) and 0 <= value <= most):
        raise BadInput("the probe that asks them did not read whole numbers for asked and relapsed")
    return int(value)
