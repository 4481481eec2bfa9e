"""Run in a process of its own: runs operations in children, each of which may kill itself where it is told to.

`python children.py` takes a job a line, and prints of each how it ended and what it reported. The parent has imported
everything and computed nothing, so that a child is as fresh as a process, and costs only its work.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import safetensors.torch
import torch
from transformers.models.llama import modeling_llama

from amends import Records, Task, host
from amends.operation import files
from amends_unlearning import finetune, shards
from amends_unlearning.methods import gauge
from amends_unlearning.methods.material import Settings

IMPORTED = (safetensors, modeling_llama, files, finetune, shards)


def take_every_step():
    """Put the level out of reach, and let the kept lose what they may, as the fixtures of the same purpose do."""
    gauge.UNKNOWN = -1e3
    fresh = Settings.__init__
    Settings.__init__ = lambda self, *given, **more: fresh(self, *given, **{"spare": 1e3, **more})


def run(job):
    """Run a job's operation, and return its reports; at the one of the number `die_at` the process kills itself."""
    seen = []

    def report(done, total, message):
        seen.append((message, done))
        if len(seen) == job["die_at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(job["threads"])
    output = Path(job["output"])
    task = Task(Path(job["scratch"]), 7, source=Path(job["source"]), output=output, report=report)
    operation = host.load().operation(job["operation"])
    records = {name: Records("", Path(path)) for name, path in job["records"].items()}
    operation(task, **operation.check({**job["parameters"], **records}))
    (output / "state").mkdir()
    for name in task.state.names():
        (output / "state" / name.replace("/", "-")).write_bytes(task.state.get(name))
    return seen


def child(job, end):
    try:
        os.dup2(2, 1)  # what is printed there is the parent's
        if job["operation"].startswith("unlearning."):
            take_every_step()
        with os.fdopen(end, "w") as answer:
            json.dump(run(job), answer)
    except BaseException:  # told, and ended: a fork never goes on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main():
    for line in sys.stdin:
        begin, end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(begin)
            child(json.loads(line), end)
        os.close(end)
        with os.fdopen(begin) as answer:
            seen = answer.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(json.dumps({"code": code, "seen": json.loads(seen or "[]")}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
