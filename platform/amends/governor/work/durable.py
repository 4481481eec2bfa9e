"""Durable execution: the steps of a piece of work run in order, each with one result, across crashes.

DBOS remembers which work was begun and begins it again after a crash; the ledger's journal holds what each step
returned. Only ids travel through DBOS, as JSON; a step that was interrupted runs again, and every step is
written so that running again gives the same.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from amends.errors import AmendsError, Cancelled, UnknownCase, Waiting
from amends.governor.standstill import LOCK
from amends.governor.work import (
    applying,
    attesting,
    batches,
    changing,
    climbing,
    families,
    measuring,
    preparing,
    promoting,
    purging,
    replacing,
    retiring,
    scouring,
    searching,
    settling,
    training,
)
from amends.governor.work.piece import OneFailed, Result, Work, is_current
from amends.governor.workspace import Workspace
from amends.ledger import cases, journal, reviews
from amends.records import CaseStatus

logger = logging.getLogger(__name__)

Run = Callable[[Workspace, Work], Result]
ERASURE: Mapping[str, Run] = {
    "prepare": preparing.prepare,
    "rebuild": applying.rebuild,
    "counterfactual": applying.counterfactual,
    "compare": applying.compare,
    "measure": measuring.measure,
    "judge": measuring.judge,
    "register": replacing.register,
    "promote": replacing.promote_candidate,
    "seal": purging.seal,
}
RETIREMENT: Mapping[str, Run] = {
    "prepare": retiring.prepare,
    "withdraw": retiring.withdraw,
    "seal": purging.seal,
}
PURGE: Mapping[str, Run] = {
    "inventory": purging.inventory_of,
    "purge": purging.purge,
    "scan": scouring.scan_workspace,
    "attest": attesting.attest,
}
TRAINING: Mapping[str, Run] = {
    "train": training.train,
    "measure": training.measure_training,
    "register": training.register_training,
    "promote": training.promote_training,
}
CHANGE: Mapping[str, Run] = {
    "prepare": changing.prepare,
    "apply": changing.apply,
    "measure": changing.measure,
    "judge": changing.judge,
    "register": settling.register,
    "promote": settling.promote_change,
}
SEARCH: Mapping[str, Run] = {
    "prepare": changing.prepare,
    "try": searching.try_candidates,
    "apply": searching.choose,
    "measure": changing.measure,
    "judge": changing.judge,
    "register": settling.register,
    "promote": settling.promote_change,
}
PROMOTION: Mapping[str, Run] = {
    "prepare": promoting.prepare,
    "measure": promoting.measure,
    "promote": promoting.promote_version,
}
KINDS: Mapping[str, Mapping[str, Run]] = {
    "erasure": ERASURE,
    "retirement": RETIREMENT,
    "purge": PURGE,
    "training": TRAINING,
    "change": CHANGE,
    "search": SEARCH,
    "promotion": PROMOTION,
}
ENDS: Mapping[str, CaseStatus] = {
    "erasure": CaseStatus.SEALED,
    "retirement": CaseStatus.SEALED,
    "purge": CaseStatus.COMPLETE,
    "training": CaseStatus.COMPLETE,
    "change": CaseStatus.COMPLETE,
    "search": CaseStatus.COMPLETE,
    "promotion": CaseStatus.COMPLETE,
}

GATE = ("purge", "scan")
"""Before which all of a request's family has deleted what held the subject, and what is below a case has closed."""

_WORKSPACE: list[Workspace] = []


@contextmanager
def executor(workspace: Workspace) -> Iterator[None]:
    """Be the one executor of a workspace while the body lasts; first, what a crash interrupted is finished.

    Raises:
        Waiting: Another process executes this workspace's cases.
    """
    from dbos import DBOS

    with (workspace.home / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Waiting("another process carries out this workspace's cases; wait for it, or ask it") from None
        _set_up(workspace)
        _WORKSPACE.append(workspace)
        try:
            DBOS.launch()
            _finish_interrupted(workspace)
            yield
        finally:
            DBOS.destroy()
            _WORKSPACE.clear()
    workspace.tell()
    workspace.deliver()


def _set_up(workspace: Workspace) -> None:
    from dbos import DBOS, DBOSPortableJSONSerializer

    _register_workflow()
    logging.getLogger("dbos").setLevel(logging.ERROR)
    DBOS(
        config={
            "name": "amends",
            "system_database_url": workspace.settings.workflows,
            "application_version": "amends-1",
            "executor_id": "workspace",
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "ERROR",
            "enable_otlp": False,
            "notification_listener_polling_interval_sec": 0.05,  # whoever closes it waits so long; nothing notifies
        }
    )


def _finish_interrupted(workspace: Workspace) -> None:
    """Finish what a crash interrupted, and drop what killed workers of ended cases staged."""
    with workspace.database.read() as connection:
        left = batches.interrupted(connection)
    for work in left:
        run(workspace, work)
    workspace.cache.sweep()
    workspace.blobs.sweep()
    for fence in workspace.blobs.fences():
        with workspace.database.read() as connection:
            try:
                cases.get(connection, "-".join(fence.split("-")[:2]))
            except UnknownCase:
                continue  # another workspace shares this store
        workspace.blobs.discard(fence)


_REGISTERED: list[Any] = []


def _register_workflow() -> Any:
    """Declare the workflow to DBOS, once in a process."""
    from dbos import DBOS

    if not _REGISTERED:

        @DBOS.step(name="amends.step")  # type: ignore[untyped-decorator]
        def step(kind: str, lead: str, model: str, others: list[str], attempt: int, name: str) -> bool:
            return run_step(_WORKSPACE[0], kind, Work(lead, tuple(others), model, attempt), name)

        @DBOS.workflow(name="amends.work")  # type: ignore[untyped-decorator]
        def work(kind: str, lead: str, model: str, others: list[str], attempt: int) -> str:
            for name in KINDS[kind]:
                if not step(kind, lead, model, others, attempt, name):
                    return "stopped"
            finish(_WORKSPACE[0], kind, Work(lead, tuple(others), model, attempt))
            return "done"

        _REGISTERED.append(work)
    return _REGISTERED[0]


def run(workspace: Workspace, work: Work) -> None:
    """Run a piece of work to its end, or join it where it runs already, and then whatever took its place."""
    following: Work | None = work
    is_second = False
    while following is not None:
        work = following
        try:
            _run(workspace, work)
        except Exception as error:  # the workflow itself broke, as when its process was told to stop; no step did
            logger.error("the work on case %s broke off with %s", work.lead, type(error).__name__)
            if is_second:
                batches.fail(workspace, work, "", f"it broke off twice ({type(error).__name__}); see the log")
            with workspace.database.transaction() as connection:
                if is_current(connection, work):
                    kind = batches.kind_of(connection, work)
                    batches.begin(workspace, connection, kind, work.model, work.cases)
            is_second = True
        with workspace.database.read() as connection:
            following = batches.following(connection, work)


def _run(workspace: Workspace, work: Work) -> None:
    from dbos import DBOS, SetWorkflowID

    with workspace.database.read() as connection:
        kind = batches.kind_of(connection, work)
    with SetWorkflowID(f"{kind}-{work.lead}-{work.attempt}"):
        handle = DBOS.start_workflow(_register_workflow(), kind, work.lead, work.model, list(work.cases), work.attempt)
    handle.get_result()


def run_step(workspace: Workspace, kind: str, work: Work, name: str) -> bool:
    """Run one step unless its result is in the journal; return whether the next one may follow.

    A failure for good is written into the cases; where it is one case's alone, the others begin again without it.
    """
    key = name if kind != "purge" else f"purge:{name}"
    with workspace.database.read() as connection:
        known = journal.step_result(connection, work.lead, key)
        if not is_current(connection, work):
            return _leave(workspace, work)
        is_early = (kind, name) == GATE and not families.may_attest(connection, work)
    if known is not None:
        return True
    if is_early:
        return _wait_for_family(workspace, work)
    started = time.monotonic()
    workspace.say(f"step {name}")
    try:
        result = KINDS[kind][name](workspace, work)
    except Exception as error:
        return _stopped(workspace, work, name, error)
    with workspace.database.transaction() as connection:
        if is_current(connection, work):
            journal.record_step(connection, work.lead, key, {**result, "step_seconds": time.monotonic() - started})
            return True
    return _leave(workspace, work)


def _wait_for_family(workspace: Workspace, work: Work) -> bool:
    """Leave cases sealed whose family has more to delete: nothing is searched for or attested before that is done."""
    with workspace.database.transaction() as connection:
        if is_current(connection, work):
            for case in work.cases:
                cases.set_status(connection, case, CaseStatus.SEALED)
    return False


def _leave(workspace: Workspace, work: Work) -> bool:
    """Go on without the cases that were cancelled, unless a later attempt has begun already."""
    with workspace.database.read() as connection:
        now = [case for case in work.cases if batches.of(connection, case) == work]
        gone = [case for case in now if cases.get(connection, case).status == CaseStatus.CANCELLED]
    if gone:
        batches.go_on_without(workspace, work, gone)
    return False


def _stopped(workspace: Workspace, work: Work, step: str, error: Exception) -> bool:
    """Write a failure into the cases that it concerns."""
    with workspace.database.read() as connection:
        is_wanted = is_current(connection, work)
    if not is_wanted:
        return _leave(workspace, work)
    if isinstance(error, OneFailed) and len(work.cases) > 1:
        batches.go_on_without(workspace, work, [error.case], step, str(error))
    elif isinstance(error, Cancelled):  # this process is told to stop; who comes next goes on
        raise error
    elif isinstance(error, AmendsError) and climbing.climb(workspace, work, step, error):
        workspace.say(f"{step} refused: the next operation of the plan is tried")
    elif isinstance(error, AmendsError):
        batches.fail(workspace, work, step, f"{error}{climbing.tried_before(workspace, work)}")
    else:
        logger.error("step %s of case %s failed with %s", step, work.lead, type(error).__name__)
        if os.environ.get("AMENDS_DEBUG"):
            raise error
        reason = f"step {step!r} failed unexpectedly ({type(error).__name__}); see the log"
        batches.fail(workspace, work, step, reason)
    return False


def finish(workspace: Workspace, kind: str, work: Work) -> None:
    """Bring the cases to where this kind of work ends, and tell the plugins."""
    with workspace.database.transaction() as connection:
        if is_current(connection, work):
            note = str((journal.step_result(connection, work.lead, "promote") or {}).get("note", ""))
            for case in work.cases:
                outcome = reviews.outcome_of(connection, case) if kind in ("erasure", "retirement", "purge") else None
                cases.set_status(connection, case, ENDS[kind], outcome=outcome, reason=note)
    workspace.tell()
