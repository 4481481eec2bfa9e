"""Let a policy judge, and record the decision so that anyone can replay it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amends.errors import Tampered
from amends.governor.workspace import Workspace
from amends.ledger import cases, decisions
from amends.ledger.approvals import counting
from amends.policy import Policy, inputs_to_json, judge, load_policy, replay
from amends.records import Change, Reading, Verdict

Approvals = Iterable[Mapping[str, Any]]


def find_policy(workspace: Workspace, name: str) -> Policy:
    """Return a policy: the workspace's own, or the one that Amends brings."""
    return load_policy(name, workspace.home)


def decide(
    workspace: Workspace,
    policy_name: str,
    id: str,
    case: str,
    change: Change,
    facts: Mapping[str, Any],
    approvals: Approvals = (),
    champion: Sequence[Reading] = (),
) -> Verdict:
    """Judge a change by a policy and record policy, inputs and every rule's answer; once per id.

    Args:
        workspace: Whose policies and reviewers.
        policy_name: Such as `erasure`.
        id: The decision's id; the same id returns the recorded verdict.
        case: The case it belongs to.
        change: Parent, candidate and readings.
        facts: What the governor knows, by the names that policies may read.
        approvals: Who approved the plan.
        champion: What was read on the version that the alias stands for.
    """
    with workspace.database.read() as connection:
        for known in decisions.find(connection, case):
            if known.id == id:
                return known.verdict
    policy, said = find_policy(workspace, policy_name), workspace.host.review(change)
    return _recorded(workspace, policy, id, case, change, facts, list(approvals), said, champion)


def decide_finding(workspace: Workspace, policy: Policy, case: str, asked: Change) -> tuple[str, Verdict]:
    """Judge what a model answered about somebody whom no record names, and record it; returns the decision's id.

    Reviewers are not asked: nothing is promoted. Asking again is another decision.
    """
    with workspace.database.read() as connection:
        before = [known for known in decisions.find(connection, case) if known.policy == policy.name]
    id = f"{case}-{policy.name}-{len(before)}"
    return id, _recorded(workspace, policy, id, case, asked, {}, [], ())


def _recorded(
    workspace: Workspace,
    policy: Policy,
    id: str,
    case: str,
    change: Change,
    facts: Mapping[str, Any],
    approvals: Sequence[Mapping[str, Any]],
    objections: Iterable[str],
    champion: Sequence[Reading] = (),
) -> Verdict:
    said = list(objections)
    verdict = judge(policy, change.before, change.after, facts, approvals, said, champion=champion)
    inputs = inputs_to_json(change.before, change.after, facts, approvals, said, champion)
    with workspace.database.transaction() as connection:
        decisions.record(connection, id, case=case, policy_text=policy.text, inputs=inputs, verdict=verdict)
    return verdict


def approvals_for_policy(workspace: Workspace, work: Sequence[str]) -> list[dict[str, str]]:
    """Return who approved the plans of these cases, as policies read it: only people who approved every one."""
    lead = work[0]
    with workspace.database.read() as connection:
        by_case = {case: counting(connection, case) for case in work}
        requester = cases.get(connection, lead).requester
    everywhere = set.intersection(*({a.person for a in given} for given in by_case.values()))
    return [
        {"user": a.person, "role": str(a.role), "requester": requester} for a in by_case[lead] if a.person in everywhere
    ]


def replay_decision(workspace: Workspace, id: str) -> tuple[Verdict, bool]:
    """Judge a recorded decision again and return the verdict and whether it is the recorded one.

    Raises:
        Tampered: The recorded policy's text is not what its digest says.
    """
    with workspace.database.read() as connection:
        decision = decisions.get(connection, id)
    verdict = replay(decision.policy_text, decision.inputs)
    if verdict.policy_digest != decision.policy_digest:
        raise Tampered(f"decision {id!r}: the recorded policy text does not have the recorded digest")
    return verdict, verdict == decision.verdict
