"""Processes of fresh jobs that are forks of one that has imported everything and computed nothing.

A fork of it is as fresh as a process and costs only its work: importing torch and transformers takes four seconds.
`python forking.py FD` is that one; `Forks` starts it, and starts workers as `amends.scheduler.fresh.start_worker` does.
The scheduler's own tests, the main story and whatever dies start real processes.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path

LONGEST = 1 << 20


class Forks:
    """Workers that are forks of one process, which starts with the first of them and ends with this one.

    Args:
        fresh: The module that starts workers.
    """

    def __init__(self, fresh) -> None:
        self.fresh, self.real = fresh, fresh.start_worker
        self._lock, self._asking, self._parent = threading.Lock(), None, None

    @contextmanager
    def used(self):
        """Let workers be forks."""
        self.fresh.start_worker = self.start_worker
        yield
        self.fresh.start_worker = self.real

    @contextmanager
    def apart(self):
        """Let workers be processes of their own for a while."""
        self.fresh.start_worker = self.real
        yield
        self.fresh.start_worker = self.start_worker

    def start_worker(self, cache_directory, grace_seconds):
        """Start a worker with this process's environment and path, so that it finds the same plugins."""
        command = [sys.executable, "-m", "amends.scheduler.worker", str(cache_directory), str(grace_seconds)]
        job_in, job_out = os.pipe()
        told_in, told_out = os.pipe()
        asked = {"command": command, "environment": dict(os.environ), "path": sys.path, "folder": os.getcwd()}
        pid = self._ask({"start": asked}, job_in, told_out)
        for end in (job_in, told_out):
            os.close(end)
        return Forked(self, pid, os.fdopen(job_out, "w"), os.fdopen(told_in))

    def wait(self, pid):
        """Wait for a worker to end."""
        self._ask({"wait": pid})

    def close(self):
        """End the process that forks."""
        if self._parent is not None:
            self._asking.close()
            self._parent.wait()

    def _ask(self, asked, *ends):
        with self._lock:
            if self._parent is None:
                self._asking, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                command = [sys.executable, "-P", str(Path(__file__)), str(other.fileno())]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # a process with threads is none to fork
                self._parent = subprocess.Popen(command, env=environment, pass_fds=[other.fileno()])
                other.close()
            socket.send_fds(self._asking, [json.dumps(asked).encode()], ends)
            return json.loads(self._asking.recv(LONGEST))


class Forked:
    """What the scheduler uses of `subprocess.Popen`."""

    def __init__(self, forks, pid, stdin, stdout) -> None:
        self.forks, self.pid, self.stdin, self.stdout = forks, pid, stdin, stdout

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.stdout.close()
        self.stdin.close()
        self.forks.wait(self.pid)


def import_everything():
    """Import what the worker of a job on a tiny model imports."""
    import numpy
    import peft
    import safetensors.torch
    import torch
    from transformers.models.llama import modeling_llama

    from amends.operation import files
    from amends.scheduler import worker
    from amends_unlearning import shards

    return numpy, peft, safetensors, torch, modeling_llama, files, worker, shards


def become(asked, job_in, told_out):
    """Be a worker: a session of its own, its pipes as standard input and output, and what it was started with."""
    from amends.scheduler import worker

    os.setsid()
    os.dup2(job_in, 0)
    os.dup2(told_out, 1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    for end in (job_in, told_out, nowhere):
        os.close(end)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w", closefd=False)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.path[:] = asked["path"]
    importlib.invalidate_caches()
    sys.argv, sys.orig_argv = asked["command"][2:], asked["command"]
    worker.main()


def main():
    asking = socket.socket(fileno=int(sys.argv[1]))
    import_everything()
    while True:
        said, ends, _, _ = socket.recv_fds(asking, LONGEST, 2)
        if not said:
            return
        asked = json.loads(said)
        if "wait" in asked:
            os.waitpid(asked["wait"], 0)
            asking.send(b"0")
            continue
        pid = os.fork()
        if pid == 0:
            asking.close()
            try:
                become(asked["start"], *ends)
            except BaseException:  # a fork never goes on as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        for end in ends:
            os.close(end)
        asking.send(json.dumps(pid).encode())


if __name__ == "__main__":
    main()
