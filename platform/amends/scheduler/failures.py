"""Turn what went wrong in a worker into a sentence that holds no one's data."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from amends.errors import AmendsError, Cancelled, Refused, TaskFailed
from amends.scheduler.jobs import JobResult

_DEEPEST = 8
KINDS = {"cancelled": Cancelled, "refused": Refused, "failed": TaskFailed}  # the most special first


def failure_of(name: str, error: BaseException) -> TaskFailed:
    """Return a failure with the error's type, and its sentence only where Amends wrote it.

    Another error's words may quote a record, so only the places in the code are kept, as a note.
    """
    if isinstance(error, Cancelled):
        return Cancelled(f"{name} was cancelled")
    if isinstance(error, TaskFailed):
        return error
    if isinstance(error, AmendsError):
        return _noted(Refused(f"{name} failed: {type(error).__name__}: {error}"), places_of(error))
    places = places_of(error)
    where = f" at {places[-1]}" if places else ""
    return _noted(TaskFailed(f"{name} failed with {type(error).__name__}{where}; mend it there and retry"), places)


def places_of(error: BaseException) -> tuple[str, ...]:
    """Return `file:line` of the deepest frames, outermost first, without any value."""
    frames = traceback.extract_tb(error.__traceback__)[-_DEEPEST:]
    return tuple(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


def outcome_of(outcome: JobResult | TaskFailed) -> str:
    """Return a result or a failure as JSON, so that no exception is ever pickled."""
    if isinstance(outcome, JobResult):
        return json.dumps({"result": outcome.to_json()})
    notes = list(getattr(outcome, "__notes__", ()))
    kind = next(name for name, known in KINDS.items() if isinstance(outcome, known))
    return json.dumps({"failure": str(outcome), "kind": kind, "notes": notes})


def settle(text: str) -> JobResult:
    """Return the result that `outcome_of` wrote, or raise its failure."""
    body: dict[str, Any] = json.loads(text)
    if "result" in body:
        return JobResult.from_json(body["result"])
    failure = KINDS[body["kind"]](body["failure"])
    for note in body["notes"]:
        failure.add_note(note)
    raise failure


def _noted(failure: TaskFailed, places: tuple[str, ...]) -> TaskFailed:
    failure.add_note(f"at {', '.join(places)}")
    return failure
