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

from amends.errors import AmendsError, Waiting
from amends.governor import applying, attesting, measuring, purging, replacing, training
from amends.governor.applying import Result, Work
from amends.governor.workspace import Workspace
from amends.ledger import cases, journal
from amends.ledger.actions import Action
from amends.records import CaseStatus

logger = logging.getLogger(__name__)

Run = Callable[[Workspace, Work], Result]
ERASURE: Mapping[str, Run] = {
    "prepare": applying.prepare,
    "rebuild": applying.rebuild,
    "counterfactual": applying.counterfactual,
    "compare": applying.compare,
    "measure": measuring.measure,
    "judge": measuring.judge,
    "register": replacing.register,
    "promote": replacing.promote_candidate,
    "seal": purging.seal,
}
PURGE: Mapping[str, Run] = {
    "inventory": purging.inventory_of,
    "purge": purging.purge,
    "scan": purging.scan_workspace,
    "attest": attesting.attest,
}
TRAINING: Mapping[str, Run] = {
    "train": training.train,
    "measure": training.measure_training,
    "register": training.register_training,
    "promote": training.promote_training,
}
KINDS: Mapping[str, Mapping[str, Run]] = {"erasure": ERASURE, "purge": PURGE, "training": TRAINING}
ENDS: Mapping[str, CaseStatus] = {
    "erasure": CaseStatus.SEALED,
    "purge": CaseStatus.COMPLETE,
    "training": CaseStatus.COMPLETE,
}

_WORKSPACE: list[Workspace] = []
Watch = Callable[[str, str, float], None]


@contextmanager
def executor(workspace: Workspace) -> Iterator[None]:
    """Be the one executor of a workspace while the body lasts; what a crash interrupted is begun again.

    Raises:
        Waiting: Another process executes this workspace's cases.
    """
    from dbos import DBOS, DBOSPortableJSONSerializer

    with (workspace.home / "executor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Waiting("another process carries out this workspace's cases; wait for it, or ask it") from None
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
            }
        )
        _WORKSPACE.append(workspace)
        try:
            DBOS.launch()
            yield
        finally:
            _WORKSPACE.clear()
            DBOS.destroy()


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
                    return "failed"
            finish(_WORKSPACE[0], kind, Work(lead, tuple(others), model, attempt))
            return "done"

        _REGISTERED.append(work)
    return _REGISTERED[0]


def carry_out(workspace: Workspace, kind: str, work: Work) -> str:
    """Run a piece of work to its end, or join it where it was begun already; returns `done` or `failed`."""
    from dbos import DBOS, SetWorkflowID

    begin(workspace, kind, work)
    with SetWorkflowID(f"{kind}-{work.lead}-{work.attempt}"):
        handle = DBOS.start_workflow(_register_workflow(), kind, work.lead, work.model, list(work.cases), work.attempt)
    return str(handle.get_result())


def begin(workspace: Workspace, kind: str, work: Work) -> None:
    """Bring the cases of a piece of work to `in progress`."""
    with workspace.database.transaction() as connection:
        for case in work.cases:
            found = cases.get(connection, case)
            cases.set_status(connection, case, CaseStatus.IN_PROGRESS)
            body = {"kind": kind, "lead": work.lead, "attempt": work.attempt}
            key = f"{case}:started:{kind}:{work.attempt}"
            workspace.record(connection, key, Action.CASE_STARTED, body, found.requester)


def run_step(workspace: Workspace, kind: str, work: Work, name: str) -> bool:
    """Run one step unless its result is in the journal; a failure for good is written into the cases."""
    key = name if kind != "purge" else f"purge:{name}"
    with workspace.database.read() as connection:
        known = journal.step_result(connection, work.lead, key)
    if known is not None:
        return True
    started = time.monotonic()
    workspace.say(f"step {name}")
    try:
        result = KINDS[kind][name](workspace, work)
    except AmendsError as error:
        fail(workspace, kind, work, name, str(error))
        return False
    except Exception as error:
        logger.error("step %s of case %s failed with %s", name, work.lead, type(error).__name__)
        if os.environ.get("AMENDS_DEBUG"):
            raise
        fail(workspace, kind, work, name, f"step {name!r} failed unexpectedly ({type(error).__name__}); see the log")
        return False
    with workspace.database.transaction() as connection:
        journal.record_step(connection, work.lead, key, {**result, "step_seconds": time.monotonic() - started})
    return True


def fail(workspace: Workspace, kind: str, work: Work, step: str, reason: str) -> None:
    """Leave the cases failed with a reason that a person understands; the champion is where it was."""
    with workspace.database.transaction() as connection:
        for case in work.cases:
            found = cases.get(connection, case)
            if found.status == CaseStatus.IN_PROGRESS:
                cases.set_status(connection, case, CaseStatus.FAILED, reason=reason)
            key = f"{case}:failed:{kind}:{work.attempt}"
            workspace.record(connection, key, Action.CASE_FAILED, {"step": step}, found.requester)


def finish(workspace: Workspace, kind: str, work: Work) -> None:
    """Bring the cases to where this kind of work ends, and tell the plugins."""
    with workspace.database.transaction() as connection:
        for case in work.cases:
            found = cases.get(connection, case)
            if found.status == CaseStatus.IN_PROGRESS:
                outcome = "granted" if kind != "training" else None
                cases.set_status(connection, case, ENDS[kind], outcome=outcome, reason="")
    workspace.tell()
