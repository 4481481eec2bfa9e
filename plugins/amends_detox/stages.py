"""Report several stages of one task as one count that only rises."""

from __future__ import annotations

from amends import Task
from amends_detox.passes import Heed


def stage(task: Task, message: str, before: int, own: int, total: int) -> Heed:
    """Return what to tell of one stage's own count; it raises where the task is to stop.

    Args:
        task: The task.
        message: What is done in this stage.
        before: What the stages before it count for.
        own: What this one counts for.
        total: What all of them do.
    """
    return lambda done, of: task.progress(before + own * done // max(of, 1), total, message)
