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
import tempfile
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path

LONGEST = 1 << 20
IMPORTED = (
    *("numpy", "peft", "safetensors.torch", "torch", "transformers.models.bert.modeling_bert"),
    *("transformers.models.bert.tokenization_bert", "transformers.models.llama.modeling_llama"),
    *("amends.operation.files", "amends.scheduler.worker", "amends_unlearning.routing", "amends_unlearning.shards"),
)
"""What the worker of a job on a tiny model imports."""


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
        try:
            yield
        finally:
            self.fresh.start_worker = self.real

    @contextmanager
    def apart(self):
        """Let workers be processes of their own for a while."""
        self.fresh.start_worker = self.real
        try:
            yield
        finally:
            self.fresh.start_worker = self.start_worker

    def start_worker(self, cache_directory, grace_seconds):
        """Start a worker with this process's environment and path, so that it finds the same plugins."""
        command = [sys.executable, "-m", "amends.scheduler.worker", str(cache_directory), str(grace_seconds)]
        job_in, job_out = os.pipe()
        told_in, told_out = os.pipe()
        asked = {"command": command, "environment": dict(os.environ), "path": sys.path, "folder": os.getcwd()}
        with open(os.devnull, "w") as nowhere:
            pid = self._ask({"start": asked}, job_in, told_out, nowhere.fileno())
        for end in (job_in, told_out):
            os.close(end)
        return Forked(self, pid, os.fdopen(job_out, "w"), os.fdopen(told_in))

    def wait(self, pid):
        """Wait for a process to end, and return its exit code."""
        return self._ask({"wait": pid})

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


def become(asked, ends):
    """Be a process that was started so, with these as standard input, output and errors."""
    from amends.scheduler import worker

    for number, end in enumerate(ends):
        os.dup2(end, number)
        os.close(end)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.path[:] = asked["path"]
    importlib.invalidate_caches()
    tempfile.tempdir = None  # the environment names another
    sys.orig_argv, sys.argv = asked["command"], asked["command"][2:]
    worker.main()


def end(status):
    """End this fork, which never goes on as its parent."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def main():
    asking = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTED:
        importlib.import_module(name)
    while True:
        said, ends, _, _ = socket.recv_fds(asking, LONGEST, 3)
        if not said:
            return
        asked = json.loads(said)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            asking.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            continue
        begun, begin = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for unused in (asking.detach(), begun, begin):
                os.close(unused)
            try:
                become(asked["start"], ends)
            except BaseException:  # whatever it is, a fork ends here, with 1, and never takes its parent's place
                traceback.print_exc()
                end(1)
            end(0)
        os.close(begin)
        os.read(begun, 1)  # ends when the fork has a session of its own, by which it can be killed
        for given in (begun, *ends):
            os.close(given)
        asking.send(json.dumps(pid).encode())


if __name__ == "__main__":
    main()
