"""Enter what a change made with its lineage, and move the champion to it as the promotion policy allows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from amends.errors import Denied
from amends.governor.data.rows import rows_of
from amends.governor.judging import approvals_for_policy, find_policy
from amends.governor.models.promoting import CHAMPION, Promotion, promote
from amends.governor.models.verifying import verify_version
from amends.governor.models.versions import Entry, enter, of_case
from amends.governor.work.changing import applied_by, change_of, facts_of
from amends.governor.work.incidents import incident_facts
from amends.governor.work.leftovers import drop_products
from amends.governor.work.piece import Result, Work, age_days, beside, earlier, plan_of
from amends.governor.work.replacing import data_uses, emptied, made_from
from amends.governor.workspace import Workspace
from amends.ledger import datasets, decisions
from amends.ledger.actions import Action
from amends.ledger.datasets import Membership
from amends.ledger.lineage import DataUse, Edge
from amends.policy import Policy
from amends.policy.judging import QUORUM
from amends.records import Change, ModelVersion, Verdict, digest_of


def register(workspace: Workspace, work: Work) -> Result:
    """Enter the candidate with its lineage and state, and drop what was only passed through on the way to it."""
    prepared, built = earlier(workspace, work, "prepare"), earlier(workspace, work, "apply")
    digest, began = str(built["digest"]), prepared["parent"]
    edges, uses = _lineage(workspace, work, prepared)
    entry = Entry(
        key=f"{work.lead}-candidate-{digest[:12]}", model=work.model, digest=digest, recipe=built["recipe"],
        parents=edges, data=uses, state=built["state"], lineage=str(built["lineage"]), case=work.lead,
        tags={"amends.case": work.lead, **({} if began is None else {"amends.parent": str(began["digest"])}),
              "amends.decision": str(earlier(workspace, work, "judge")["decision"])},
    )  # fmt: skip
    version = enter(workspace, entry, Action.MODEL_REGISTERED, str(facts_of(workspace, work)["requester"]))
    drop_products(workspace, work.lead, ("apply",))
    return {"version": version.version, "digest": version.digest}


def _lineage(workspace: Workspace, work: Work, prepared: Result) -> tuple[tuple[Edge, ...], tuple[DataUse, ...]]:
    built = earlier(workspace, work, "apply")
    digest, rewritten, (operation, records) = str(built["digest"]), prepared["datasets"], applied_by(workspace, work)
    if not rewritten:
        uses = tuple(DataUse(digest, name, "train") for name in sorted(set(records.values())))
        return _edges(workspace, work, prepared, digest, operation), uses
    parent = prepared["parent"]["digest"]
    gone = emptied(workspace, rewritten, built["recipe"])
    for old, blobs in rewritten.items():
        if blobs["train"] not in gone:
            _enter_rest(workspace, work, old, blobs["train"])
    with workspace.database.read() as connection:
        edges = made_from(connection, parent, digest, work, list(rewritten))
        uses = data_uses(connection, parent, digest, built["recipe"], rewritten, gone)
    return (*edges, Edge(digest, parent, "rebuilt-from", "observed", operation, work.lead)), uses


def _edges(workspace: Workspace, work: Work, prepared: Result, digest: str, operation: str) -> tuple[Edge, ...]:
    """Return where a candidate comes from: what it began as, and what was beside it."""
    began, taught = prepared["parent"], sorted(set(beside(plan_of(workspace, work)).values()))
    parents = [] if began is None else [(str(began["digest"]), "step")]
    parents += [(tree, "teacher") for tree in taught]
    return tuple(Edge(digest, tree, kind, "observed", operation, work.lead) for tree, kind in parents)


def _enter_rest(workspace: Workspace, work: Work, old: str, new: str) -> None:
    """Register what is left of a data set beside it: nobody was erased, and the version before can be gone back to."""
    rows = list(rows_of(workspace, new))
    counts = Counter(pseudonym for row in rows for pseudonym in row["subjects"])
    actor = str(facts_of(workspace, work)["requester"])
    with workspace.database.transaction() as connection:
        before = datasets.get(connection, old)
        withheld = {m.pseudonym for m in datasets.subjects_of(connection, old) if m.is_control} - set(counts)
        members = [Membership(who, count, False) for who, count in sorted(counts.items())]
        members += [Membership(who, 0, True) for who in sorted(withheld)]
        rest = replace(before, digest=new, parent=None, raw_digest=None, status="active",
                       records=len(rows), subjects=len(members), controls=len(withheld))  # fmt: skip
        if datasets.register(connection, rest, members).status != "active":  # it was here before
            datasets.set_status(connection, new, "active")
        body = {"dataset": new, "from": old, "records": len(rows)}
        key = f"{work.lead}:data:{digest_of([old, new])[:16]}"
        workspace.record(connection, key, Action.DATA_REGISTERED, body, actor)


def promote_change(workspace: Workspace, work: Work) -> Result:
    """Move the champion to the candidate; where only approvals are wanting, it stays registered, with a note.

    Raises:
        Denied: Another rule or a reviewer says no, or somebody else moved the champion.
    """
    prepared, registered = earlier(workspace, work, "prepare"), earlier(workspace, work, "register")
    candidate = ModelVersion(work.model, registered["version"], registered["digest"])
    change, known = change_of(workspace, work, candidate), facts_of(workspace, work)
    facts = {
        **known,
        "evidence_allowed": bool(earlier(workspace, work, "judge")["decision"]),
        "evidence_age_days": age_days(workspace, work, "measure"),
        "digests_verified": verify_version(workspace, candidate),
        **incident_facts(workspace, work, candidate),
    }
    promotion = Promotion(
        change=change, alias=CHAMPION, expected=None if prepared["first"] else prepared["parent"]["version"],
        case=work.lead, attempt=work.attempt, facts=facts, approvals=tuple(approvals_for_policy(workspace, work.cases)),
    )  # fmt: skip
    result: dict[str, Any] = {"alias": CHAMPION, "version": candidate.version, "note": ""}
    try:
        promote(workspace, promotion, str(known["requester"]))
    except Denied:
        verdict = _promotion(workspace, work)
        if verdict is None or not _wants_only_approvals(verdict, find_policy(workspace, "promotion")):
            raise
        result |= {"alias": None, "note": f"registered, not promoted: {'; '.join(verdict.reasons())}"}
    _mirror(workspace, work, change)
    return result


def _promotion(workspace: Workspace, work: Work) -> Verdict | None:
    with workspace.database.read() as connection:
        found = {decision.id: decision.verdict for decision in decisions.find(connection, work.lead)}
    return found.get(f"{work.lead}-promotion-{work.attempt}")


def _wants_only_approvals(verdict: Verdict, policy: Policy) -> bool:
    """Whether every rule that denied is about who approved."""
    about = {rule.id for rule in policy.rules if rule.references.approvals} | {QUORUM}
    failed = {answer.rule for answer in verdict.answers if not answer.passed and answer.severity == "deny"}
    return bool(failed) and failed <= about and not verdict.objections


def _mirror(workspace: Workspace, work: Work, change: Change) -> None:
    """Write the readings into the case's MLflow run, and link the candidate's page to it."""
    policy = str(plan_of(workspace, work)["policy"])
    tags = {"amends.case": work.lead, "amends.candidate": change.candidate.digest}
    registry, candidate = workspace.registry, change.candidate
    run = registry.log_case(
        work.lead, policy, before=change.before, after=change.after, tags=tags, status="FINISHED",
        description=f"Case `{work.lead}` on `{work.model}`; `amends cases show {work.lead}` has everything.",
    )  # fmt: skip
    registry.tag_version(candidate.name, candidate.version, {}, of_case(work.lead, registry.page_of(policy, run)))
