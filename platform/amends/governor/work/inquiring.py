"""Ask the model in service about somebody whom no record names, before anybody signs that nothing is held.

The questions are personal data. They are written down before they are stored, so that a killed process leaves nothing
that the next one, or whoever cancels the case, would not delete.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from amends.errors import AmendsError, Cancelled
from amends.governor.data.rows import digest_of_rows, put_rows
from amends.governor.judging import decide_finding, find_policy
from amends.governor.models.promoting import standing
from amends.governor.models.recipes import base_of
from amends.governor.proof.evidence import Asked
from amends.governor.subjects.disclosing import disclosure_of
from amends.governor.subjects.questions import Questions, questions_about
from amends.governor.work.leftovers import ASKING, needed, products_of
from amends.governor.work.piece import wait
from amends.governor.work.running import measure
from amends.governor.workspace import Workspace
from amends.ledger import cases, journal
from amends.ledger.actions import Action
from amends.policy import Policy
from amends.records import CaseStatus, Change, ModelVersion, Reading

POLICY = "finding"
NO_MODEL = "no version of it is in service"
NOTHING_TO_ASK = "nothing that could be asked about was given; a name and an e-mail address or phone number are needed"


def ask(workspace: Workspace, case: str) -> Asked:
    """Ask about a case's person and about strangers, and let the policy judge; nothing that was asked stays.

    Raises:
        BadPolicy: The policy has a mistake.
        Cancelled: Somebody cancelled the case meanwhile.
    """
    policy = find_policy(workspace, POLICY)
    with workspace.database.read() as connection:
        target = standing(workspace, cases.get(connection, case).model)
    if target is None:
        return Asked(why_not=NO_MODEL)
    questions = questions_about(workspace, disclosure_of(workspace, case), policy.strangers, case)
    readings, why_not = _read(workspace, case, target, policy, questions) if questions.own else ((), NOTHING_TO_ASK)
    id, verdict = decide_finding(workspace, policy, case, Change("", None, target, after=readings))
    with workspace.database.transaction() as connection:
        body = {"decision": id, "policy": verdict.policy_digest, "allowed": verdict.allowed}
        workspace.record(connection, f"{case}:judged:{id}", Action.CASE_JUDGED, body)
    names = sorted({reading.name.rpartition("/")[0] for reading in readings})
    return Asked(
        kinds=questions.kinds,
        questions=len(questions.own),
        strangers=questions.people,
        readings=readings,
        explanations={name: workspace.host.probe(name).summary for name in names},
        verdict=verdict,
        decision=id,
        why_not=why_not,
    )


def forget_questions(workspace: Workspace, case: str, written: Mapping[str, str] | None = None) -> None:
    """Delete the questions of a case, here and on every node: those that the journal names, unless others are given."""
    with workspace.database.read() as connection:
        given = written or journal.step_result(connection, case, ASKING)
    if given is None:
        return
    gone = products_of(workspace, {ASKING: given}) - needed(workspace)
    for digest in sorted(gone):
        workspace.blobs.delete(digest)
    workspace.cache.purge(gone)
    workspace.scheduler.purge(gone)
    with workspace.database.transaction() as connection:
        journal.forget_steps(connection, case, only=ASKING)


def _read(
    workspace: Workspace, case: str, target: ModelVersion, policy: Policy, questions: Questions
) -> tuple[tuple[Reading, ...], str]:
    """Return what the policy's probes read, or nothing and why; whatever happens, the questions are deleted."""
    workspace.say(f"nothing names this person; asking {target} about them and about {questions.people} made-up people")
    rows = {"forget": questions.own, "strangers": questions.strangers}
    written = {part: digest_of_rows(some) for part, some in rows.items()}
    with workspace.database.transaction() as connection:
        journal.record_step(connection, case, ASKING, written)
    try:
        for some in rows.values():
            put_rows(workspace, some)
        return _measure(workspace, case, target, policy, written), ""
    except Cancelled:
        raise
    except AmendsError as error:  # not to be asked is an answer as well, which the policy judges
        return (), str(error)
    finally:
        forget_questions(workspace, case, written)


def _measure(
    workspace: Workspace, case: str, target: ModelVersion, policy: Policy, written: Mapping[str, str]
) -> tuple[Reading, ...]:
    base = base_of(workspace, target.digest)
    records: dict[str, Any] = {"forget": written["forget"], "control": written["strangers"]}
    handle = measure(
        workspace,
        f"{case}-ask-{secrets.token_hex(6)}",  # of the questions nothing: a digest of them can be guessed
        policy.probes,
        model=target.digest,
        reference=None if base == target.digest else base,
        records=records,
        seed=int(case[2:10], 16),
    )

    def is_stopped() -> bool:
        with workspace.database.read() as connection:
            return cases.get(connection, case).status != CaseStatus.LOCATING

    return wait(handle, is_stopped).readings
