"""A piece of work: cases on one model that are carried out together, step by step, with one journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from amends.errors import AmendsError, BadInput, Cancelled, TaskFailed
from amends.governor.workspace import Workspace
from amends.ledger import cases, journal
from amends.records import CaseStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.scheduler import Handle, JobResult

POLL_SECONDS = 0.5
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """What is being carried out: cases on one model, approved, with the first of them lending its journal.

    Args:
        lead: The case whose journal holds the steps.
        cases: Every case, the lead first.
        model: The model's name.
        attempt: Counts how often these cases were begun; what an earlier attempt still says is not heard.
    """

    lead: str
    cases: tuple[str, ...]
    model: str
    attempt: int = 0


class OneFailed(TaskFailed):
    """One case of several cannot go on; the others can."""

    def __init__(self, case: str, reason: str) -> None:
        super().__init__(reason)
        self.case = case


@contextmanager
def blaming(case: str) -> Iterator[None]:
    """Make any failure of the body that of one case.

    Raises:
        OneFailed: The body failed.
    """
    try:
        yield
    except (Cancelled, OneFailed):
        raise
    except AmendsError as error:
        raise OneFailed(case, str(error)) from error


def earlier(workspace: Workspace, work: Work, step: str) -> Result:
    """Return what an earlier step of this work left in the journal."""
    with workspace.database.read() as connection:
        found = journal.step_result(connection, work.lead, step)
    if found is None:
        raise BadInput(f"case {work.lead} has not done {step!r} yet; run its steps in order")
    return found


def age_days(workspace: Workspace, work: Work, step: str) -> int:
    """Return how many full days ago a step finished.

    Raises:
        BadInput: It has not finished.
    """
    with workspace.database.read() as connection:
        at = journal.step_at(connection, work.lead, step)
    if at is None:
        raise BadInput(f"case {work.lead} has not done {step!r} yet; run its steps in order")
    return (datetime.now(UTC) - at).days


def plans_of(workspace: Workspace, work: Work) -> list[Mapping[str, Any]]:
    """Return the approved plan of every case of this work."""
    with workspace.database.read() as connection:
        plans = [cases.get(connection, case).plan for case in work.cases]
    return [plan for plan in plans if plan is not None]


def plan_of(workspace: Workspace, work: Work) -> Mapping[str, Any]:
    """Return the approved plan of the leading case.

    Raises:
        BadInput: It has none.
    """
    with workspace.database.read() as connection:
        plan = cases.get(connection, work.lead).plan
    if plan is None:
        raise BadInput(f"case {work.lead} has no plan; open a new one")
    return plan


def requester_of(workspace: Workspace, work: Work) -> str:
    """Return who is answerable for what the governor does: whoever asked for the leading case."""
    with workspace.database.read() as connection:
        return cases.get(connection, work.lead).requester


def probed(plan: Mapping[str, Any], records: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the records that a change's probes are given: those that judge in place of those it was made with.

    Args:
        plan: The change's.
        records: What it was made with, where that is not what the plan saw.
    """
    return {**(plan["records"] if records is None else records), **plan.get("judging", {})}


def beside(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return the trees of the versions that a change's operation was given beside its source, by parameter."""
    return {name: str(version["digest"]) for name, version in plan.get("models", {}).items()}


def compared(plan: Mapping[str, Any]) -> str | None:
    """Return the tree that a change is compared with: its parent, or the teacher where an operation makes a model."""
    began = plan["parent"]
    taught = beside(plan).values() if plan.get("makes_model") else ()
    return next(iter(taught), None if began is None else str(began["digest"]))


def operation_of(plan: Mapping[str, Any], applied: Result) -> str:
    """Return which operation made a change's candidate: the plan's, or what a search chose."""
    return str(applied.get("operation", plan["operation"]))


def is_current(connection: Connection, work: Work) -> bool:
    """Whether every case of this work is still being carried out, by this attempt and no later one."""
    for case in work.cases:
        beside = cases.detail(connection, case)
        if (beside.get("lead"), beside.get("attempt")) != (work.lead, work.attempt):
            return False
        if cases.get(connection, case).status != CaseStatus.IN_PROGRESS:
            return False
    return True


def stopper(workspace: Workspace, work: Work) -> Callable[[], bool]:
    """Return what says whether somebody cancelled a case of this work meanwhile."""

    def is_stopped() -> bool:
        with workspace.database.read() as connection:
            return not is_current(connection, work)

    return is_stopped


def wait(handle: Handle, is_stopped: Callable[[], bool]) -> JobResult:
    """Wait for a job, and cancel it as soon as nobody wants its result any more.

    Raises:
        TaskFailed: It failed for good.
        Cancelled: It was stopped.
    """
    while True:
        try:
            return handle.result(POLL_SECONDS)
        except TimeoutError:
            if is_stopped():
                handle.cancel()
