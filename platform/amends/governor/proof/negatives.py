"""Sign a negative finding: nothing is held about a person whom nobody could find."""

from __future__ import annotations

from datetime import UTC, datetime

from amends.errors import Denied
from amends.governor.models.promoting import standing
from amends.governor.models.recipes import read_recipe
from amends.governor.proof.closing import close_case, issue_certificate, issued_before, receipt_of
from amends.governor.proof.evidence import NO_DATA_HELD, Asked, Evidence
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets
from amends.ledger.actions import Action
from amends.policy import read_deadline
from amends.records import Case, CaseStatus, ModelVersion


def is_attested(workspace: Workspace, case: str) -> bool:
    """Whether the finding of a case was signed already, by a process that was killed before it closed the case."""
    return issued_before(workspace, case, receipt_of(workspace, case)[1]) is not None


def attest_negative(workspace: Workspace, case: str, asked: Asked | None = None) -> Case:
    """Sign a finding that nothing is held about a person nobody could find, and close the case.

    Args:
        workspace: Where the case is.
        case: Its id.
        asked: What the model answered; only a finding that was signed before needs none.

    Raises:
        Denied: The model was not asked, or the policy does not allow the finding.
    """
    commitment = receipt_of(workspace, case)[1]
    if issued_before(workspace, case, commitment) is None:
        if asked is None or not asked.is_allowed:
            raise Denied(
                f"the model said nothing that allows a finding in case {case}; run `amends cases replan {case}`"
            )
        _sign_negative(workspace, case, commitment, asked)
    with workspace.database.transaction() as connection:
        return cases.set_status(connection, case, CaseStatus.NEGATIVE, outcome=NO_DATA_HELD, reason="")


def _sign_negative(workspace: Workspace, case: str, commitment: str, asked: Asked) -> None:
    with workspace.database.read() as connection:
        found = cases.get(connection, case)
        due = read_deadline(cases.detail(connection, case)["deadline"])
        alive = [dataset for dataset in datasets.find(connection) if dataset.status != "purged"]
    searched = standing(workspace, found.model)
    was_trained_here = searched is not None and bool(read_recipe(workspace, searched.digest).get("steps"))
    body = {"outcome": NO_DATA_HELD, "commitment": commitment, "decision": asked.decision}
    entry, inclusion = close_case(workspace, case, Action.CASE_NEGATIVE, body)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    evidence = Evidence(
        case=case,
        model=found.model,
        outcome=NO_DATA_HELD,
        commitment=commitment,
        regime=due.rule,
        received_at=found.received_at.isoformat(),
        due_at=found.due_at.isoformat(),
        completed_at=now,
        issued_at=now,
        lineage="observed" if was_trained_here else "declared",
        before=searched or ModelVersion(found.model, 0, "0" * 64),
        searched=(
            "The keyed index of identifiers.",
            f"The text of every registered record, in {len(alive)} data sets, spelling variants included.",
        ),
        asked=asked,
        entry=entry,
        inclusion=inclusion,
    )
    issue_certificate(workspace, evidence)
