"""Try a policy's candidates from one parent, each measured on the records that are searched on, and take the best.

What was tried stays in the journal: operation, parameters, seed, readings, and why it was not taken. Of the versions
themselves only the best so far is kept, for each is as large as the model. Nothing is measured twice: a restart,
another attempt or a later case on the same parent takes the readings there are, and asks its own budget about them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amends.errors import Denied, Refused
from amends.governor.judging import find_policy
from amends.governor.models.recipes import read_recipe
from amends.governor.proof.frontier import Point, frontier_svg
from amends.governor.proof.plots import thresholds_of
from amends.governor.work.leftovers import TRY, drop_built
from amends.governor.work.piece import Result, Work, earlier, plan_of, stopper, wait
from amends.governor.work.replaying import state_beside
from amends.governor.work.running import Step, finish, operate
from amends.governor.work.running import measure as submit
from amends.governor.workspace import Workspace
from amends.ledger import cases, journal
from amends.policy import Policy, Search, judge
from amends.records import Reading, digest_of
from amends.scheduler.jobs import reading_from_json, reading_to_json

if TYPE_CHECKING:
    from amends.scheduler import Handle

PARENT = "parent"
PICTURES = "frontiers"


@dataclass(frozen=True)
class Bench:
    """What every candidate is tried with.

    Args:
        workspace: Where.
        work: For which case.
        plan: What was approved.
        policy: What judges it in the end, with its search.
        parent: Tree digest of the champion.
        records: Digests of what is searched on, by name.
    """

    workspace: Workspace
    work: Work
    plan: Mapping[str, Any]
    policy: Policy
    parent: str
    records: Mapping[str, str]

    @property
    def search(self) -> Search:
        """What the policy says of the search."""
        assert self.policy.search is not None  # the plan has candidates
        return self.policy.search

    @property
    def seed(self) -> int:
        """Of the measurements, the same for every candidate of every case on this parent."""
        return int(self.parent[:8], 16)

    def key(self, candidate: Mapping[str, Any] | None) -> str:
        """Return what names a trial: parent, operation, records, parameters, seed, how it is measured, by what code."""
        told = {**candidate, "seed": self.plan["seed"]} if candidate else PARENT
        probes = {name: dict(settings) for name, settings in self.search.within.probes.items()}
        run = (*probes, str(candidate["operation"])) if candidate else tuple(probes)
        code = {name: self.workspace.host.source_of(name).version for name in run}
        return TRY + digest_of([self.parent, told, probes, code, dict(self.records)])[:24]

    def step(self, candidate: Mapping[str, Any]) -> Step:
        """Return a candidate as a step of a recipe."""
        return Step(candidate["operation"], candidate["records"], candidate["parameters"], self.plan["seed"])


def bench_of(workspace: Workspace, work: Work) -> Bench:
    """Return what the candidates of an approved case are tried with."""
    plan, prepared = plan_of(workspace, work), earlier(workspace, work, "prepare")
    policy = find_policy(workspace, plan["policy"])
    if policy.search is None:
        raise Denied(f"the {policy.name} policy has no search any more; run `amends cases replan {work.lead}`")
    return Bench(workspace, work, plan, policy, prepared["parent"]["digest"], prepared["records"])


def try_candidates(workspace: Workspace, work: Work) -> Result:
    """Try every candidate that is not known yet, and draw what they cost against what they bring.

    Raises:
        TaskFailed: A worker gave up for good; what was tried before stays known.
    """
    bench = bench_of(workspace, work)
    if _known(bench, None) is None:
        _keep(bench, None, {"readings": _read(bench, bench.parent, "parent")})
    best: Result = {}
    for some in _trials(bench):
        found = [best, *some] if best else some
        best = min(found, key=lambda told: _merit(bench, told))
        drop_built(workspace, work.lead, [told for told in found if told is not best], keep=best)
    return {name: best[name] for name in ("digest", "state") if name in best} | {"picture": _draw(bench)}


def choose(workspace: Workspace, work: Work) -> Result:
    """Return the candidate with the least reading of those within the budget, made again where it is not there.

    Raises:
        Denied: None stays within the budget.
    """
    bench, kept = bench_of(workspace, work), earlier(workspace, work, "try")
    allowed = [(candidate, told) for candidate, told in tried(bench) if math.isfinite(_merit(bench, told))]
    if not allowed:
        raise Denied(f"none of the {len(bench.plan['candidates'])} candidates stays within the budget: {_why(bench)}")
    candidate, told = min(allowed, key=lambda pair: (_merit(bench, pair[1]), bench.key(pair[0])))
    state, lineage = state_beside(workspace, work.model, bench.parent)
    if "digest" in told and told["digest"] == kept.get("digest"):
        built = {name: told[name] for name in ("digest", "state", "fingerprint", "seconds", "recipe")}
    else:  # another case tried it, or the machine lost it
        handle = operate(workspace, f"{work.lead}-apply", bench.step(candidate), source=bench.parent, state=state,
                         lineage=lineage)  # fmt: skip
        recipe = read_recipe(workspace, bench.parent)
        built = finish(workspace, handle, bench.step(candidate), recipe, stopper(workspace, work)).to_json()
    return {**built, "between": [], "lineage": lineage, "operation": candidate["operation"],
            "parameters": candidate["parameters"], "records": candidate["records"]}  # fmt: skip


def tried(bench: Bench) -> list[tuple[Mapping[str, Any], Result]]:
    """Return each candidate of the plan with what trying it gave, in the plan's order."""
    found = [(candidate, _known(bench, candidate)) for candidate in bench.plan["candidates"]]
    return [(candidate, told) for candidate, told in found if told is not None]


def outcomes(steps: Mapping[str, Result]) -> list[Result]:
    """Return what a case's journal says of every candidate that it tried, in the order in which they were."""
    return [told for name, told in steps.items() if name.startswith(TRY) and "operation" in told]


def _trials(bench: Bench) -> Iterator[list[Result]]:
    """Yield what the candidates give, as many at a time as there are cores; none runs while the caller looks at them.

    Versions share files: while others are made, it cannot be told which of one's are nobody else's.
    """
    at_once = max(1, bench.workspace.settings.cpus)
    candidates = bench.plan["candidates"]
    for start in range(0, len(candidates), at_once):
        some = candidates[start : start + at_once]
        begun = [None if _known(bench, candidate) else _begin(bench, candidate) for candidate in some]
        yield [_told(bench, *pair) for pair in zip(some, begun, strict=True)]


def _told(bench: Bench, candidate: Mapping[str, Any], handle: Handle | None) -> Result:
    known = _known(bench, candidate) if handle is None else _end(bench, candidate, handle)
    assert known is not None  # what was not known was begun
    return known


def _begin(bench: Bench, candidate: Mapping[str, Any]) -> Handle:
    state, lineage = state_beside(bench.workspace, bench.work.model, bench.parent)
    key = f"{bench.work.lead}-{bench.key(candidate).replace(':', '-')}"
    return operate(bench.workspace, key, bench.step(candidate), source=bench.parent, state=state, lineage=lineage)


def _end(bench: Bench, candidate: Mapping[str, Any], handle: Handle) -> Result:
    """Measure what a candidate made; one that cannot be made, or cannot be measured, is none, and says why."""
    recipe, stopped = read_recipe(bench.workspace, bench.parent), stopper(bench.workspace, bench.work)
    built: Result = {}
    try:
        built = finish(bench.workspace, handle, bench.step(candidate), recipe, stopped).to_json()
        readings = _read(bench, str(built["digest"]), bench.key(candidate).replace(":", "-"))
    except Refused as error:
        return _keep(bench, candidate, {**built, "within": False, "reasons": [str(error)], "readings": []})
    return _keep(bench, candidate, {**built, **_judged(bench, readings)})


def _judged(bench: Bench, readings: list[dict[str, Any]]) -> Result:
    """Ask this case's budget about a candidate's readings, beside those of the parent."""
    parent = (_known(bench, None) or {})["readings"]
    before, after = ([reading_from_json(value) for value in some] for some in (parent, readings))
    verdict = judge(bench.search.within, before, after, {}, [])
    return {"within": verdict.allowed, "reasons": list(verdict.reasons()), "readings": readings}


def _read(bench: Bench, tree: str, name: str) -> list[dict[str, Any]]:
    handle = submit(
        bench.workspace, f"{bench.work.lead}-read-{name}", bench.search.within.probes, model=tree,
        reference=bench.parent, records=bench.records, seed=bench.seed,
    )  # fmt: skip
    found = wait(handle, stopper(bench.workspace, bench.work)).readings
    return [reading_to_json(reading) for reading in found]


def _known(bench: Bench, candidate: Mapping[str, Any] | None) -> Result | None:
    """Return what this trial gave here, or by the readings of an earlier case on the same parent.

    What an earlier case could not make or measure is tried anew: it may have been its machine.
    """
    key, work = bench.key(candidate), bench.work
    with bench.workspace.database.read() as connection:
        own = journal.step_result(connection, work.lead, key)
        if own is not None:
            return own
        others = cases.find(connection, model=work.model, kind=bench.policy.name, limit=None)
        found = (journal.step_result(connection, case.id, key) for case in others)
        readings = next((told["readings"] for told in found if told and told["readings"]), None)
    if readings is None:
        return None
    return _keep(bench, candidate, {"readings": readings} if candidate is None else _judged(bench, readings))


def _keep(bench: Bench, candidate: Mapping[str, Any] | None, told: Result) -> Result:
    told = {**{name: candidate[name] for name in ("operation", "parameters")}, **told} if candidate else told
    with bench.workspace.database.transaction() as connection:
        return journal.record_step(connection, bench.work.lead, bench.key(candidate), told)


def _merit(bench: Bench, told: Result) -> float:
    """Return the number that is to be least; beyond the budget, not read, or no number, it is infinitely much."""
    return _number(bench.search.least.name, bench.search.least.field, told) if told["within"] else math.inf


def _number(name: str, field: str, told: Result) -> float:
    for value in told.get("readings", ()):
        if value["name"] == name:
            found = getattr(reading_from_json(value), field)
            return float(found) if found is not None and math.isfinite(found) else math.inf
    return math.inf


def _why(bench: Bench) -> str:
    """Say what kept the candidate that came nearest to the aim from being taken."""
    least = bench.search.least
    candidate, told = min(tried(bench), key=lambda pair: _number(least.name, least.field, pair[1]))
    return f"{candidate['operation']} brought the most, but {'; '.join(told['reasons']) or 'it was not read'}"


def _draw(bench: Bench) -> str:
    """Draw the frontier beside the workspace's other pages; return the file's name under the workspace."""
    search, parent = bench.search, _known(bench, None) or {}

    def point(label: str, told: Result) -> Point:
        across, up = (_reading(one.name, told) for one in (search.against, search.least))
        return Point(label, across, up, bool(told.get("within", True)))

    points = [point("the parent", parent), *(point(found["operation"], told) for found, told in tried(bench))]
    before = [reading_from_json(value) for value in parent["readings"]]
    answers = judge(search.within, before, before, {}, []).answers
    drawn = frontier_svg(points, search.against, search.least, thresholds_of(answers, before))
    folder = bench.workspace.home / PICTURES
    folder.mkdir(exist_ok=True)
    file = folder / f"{bench.work.lead}.svg"
    file.write_text(drawn, encoding="utf-8")
    return str(file.relative_to(bench.workspace.home))


def _reading(name: str, told: Result) -> Reading | None:
    found = [reading_from_json(value) for value in told.get("readings", ()) if value["name"] == name]
    return found[0] if found else None
