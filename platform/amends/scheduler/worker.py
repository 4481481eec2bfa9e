"""The process of a fresh job: `python -m amends.scheduler.worker CACHE GRACE` with the job on standard input."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from amends.errors import TaskFailed
from amends.scheduler.failures import outcome_of
from amends.scheduler.jobs import Job, JobResult
from amends.scheduler.quiet import quiet
from amends.scheduler.runner import run_job


def main() -> None:
    """Run the job that stands on standard input; stop when that is closed, for then nobody waits any more."""
    cache_directory, grace_seconds = Path(sys.argv[1]), float(sys.argv[2])
    job = Job.from_json(sys.stdin.readline())
    with quiet() as out:
        stopped = threading.Event()
        threading.Thread(target=_listen, args=(stopped, grace_seconds), daemon=True).start()

        def report(done: int, total: int, message: str) -> None:
            _say(out, json.dumps({"progress": [done, total, message]}))

        try:
            outcome: JobResult | TaskFailed = run_job(job, cache_directory, report, stopped.is_set)
        except TaskFailed as failure:
            outcome = failure
        _say(out, outcome_of(outcome))


def _listen(stopped: threading.Event, grace_seconds: float) -> None:
    sys.stdin.read()
    stopped.set()
    time.sleep(grace_seconds)
    if os.getpgrp() == os.getpid():  # a group of its own: what the plugin started goes with it
        os.killpg(0, signal.SIGKILL)
    os._exit(70)


def _say(out: TextIO, line: str) -> None:
    out.write(line + "\n")
    out.flush()


if __name__ == "__main__":
    main()
