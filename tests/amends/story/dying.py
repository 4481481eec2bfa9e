"""Run in a process of its own: carries a case on in children, each of which kills itself where the next boundary is.

`python dying.py HOME TOKEN CASE` prints what each child did as one JSON line. The parent has imported everything, so
that a child costs only its work; it holds no thread and no open database when it forks.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import dbos
import holidays
import mlflow
import peft
import safetensors.torch
import scipy.stats
import sentence_transformers
import torch
import transformers
from cel_expr_python import cel

from amends.governor.work import batches, durable
from amends.governor.work.carrying import carry, purge_due, resume
from amends.governor.workspace import open_workspace
from amends.ledger import cases, journal

IMPORTED = (cel, dbos, holidays, mlflow, peft, safetensors, scipy, sentence_transformers, torch, transformers)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dying_steps(step, when):
    """Return the steps of each kind, of which one kills its process: before it does anything, or after all of it."""

    def wrapped(name, run):
        def do(workspace, work):
            if name == step and when == "before":
                die()
            result = run(workspace, work)
            if name == step and when == "after":
                die()
            return result

        return do

    return {
        kind: {name: wrapped(name if kind != "purge" else f"purge:{name}", run) for name, run in steps.items()}
        for kind, steps in durable.KINDS.items()
    }


def die_between(name, when):
    """Kill the process where one status follows another."""
    if name == "begin" and when == "after":
        inner = batches.begin

        def begin(*arguments):
            work = inner(*arguments)
            arguments[1].commit()
            die()
            return work

        batches.begin = begin
    if name == "finish":
        inner_finish = durable.finish

        def finish(*arguments):
            if when == "after":
                inner_finish(*arguments)
            die()

        durable.finish = finish


def die_inside(place, when):
    """Kill the process before or after the first call of `module:name` or `module:class.name`."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    inner = getattr(owner, name)

    def dying(*arguments, **named):
        if when == "after":
            inner(*arguments, **named)
        die()

    setattr(owner, name, dying)


def in_training(workspace, after):
    """Kill the process in the middle of an operation, at a report of progress."""
    told = []

    def bar(done, total, message):
        if message.startswith("shard"):
            told.append(done)
            if len(told) > after:
                die()

    workspace.bar = bar


def child(home, token, case, boundary):
    """Carry the case on until the boundary kills this process, or it ends."""
    workspace = open_workspace(home, token)
    step, when = boundary
    if step == "training":
        in_training(workspace, int(when))
    elif step in ("begin", "finish"):
        die_between(step, when)
    elif step.startswith("amends."):
        die_inside(step, when)
    elif step:
        durable.KINDS = dying_steps(step, when)
    with workspace.database.read() as connection:
        status = cases.get(connection, case).status
    if status == "awaiting approval":
        carry(workspace, case)
    elif status == "sealed":
        purge_due(workspace, now=True)
    else:
        resume(workspace)
    workspace.close()


def main():
    home, token, case = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    for boundary in json.loads(sys.argv[4]):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                child(home, token, case, boundary)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        workspace = open_workspace(home, "")
        with workspace.database.read() as connection:
            stands = str(cases.get(connection, case).status)
            steps = list(journal.steps_of(connection, case))
        workspace.close()
        ended = "killed" if killed else "ended" if status == 0 else "failed"
        sys.stdout.write(json.dumps({"boundary": boundary, "ended": ended, "status": stands, "steps": steps}) + "\n")


if __name__ == "__main__":
    main()
