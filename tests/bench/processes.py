"""How long whole processes take, from nothing to their end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from figures import Reading, median, read, titled

Command = tuple[Sequence[str], Path | None]


def amends(*arguments: str) -> list[str]:
    """Return the command line of `amends`, as its entry point runs it."""
    return [sys.executable, "-m", "amends", *arguments]


def timed(commands: Mapping[str, Command], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Run commands in turn, once to warm the disk's cache and then so often, each in its workspace.

    Returns:
        Of each command the seconds on the clock (`s`) and on the cores (`CPU-s`) of every run.
    """
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for number in range(repeats + 1):
        for name, (command, home) in commands.items():
            found = run(command, home)
            if number:
                taken[name].append(found)
    return taken


def run(command: Sequence[str], home: Path | None) -> dict[str, float]:
    """Run one command whose output nobody reads."""
    environment = {**os.environ, **({"AMENDS_HOME": str(home)} if home else {})}
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return {"s": time.perf_counter() - began, "CPU-s": usage.ru_utime + usage.ru_stime}


def help_screen(repeats: int) -> list[Reading]:
    """Show `amends --help`, beside a Python that does nothing."""
    taken = timed({"help": (amends("--help"), None), "pass": ([sys.executable, "-c", "pass"], None)}, repeats)
    readings = []
    for unit in ("CPU-s", "s"):
        value, among = median([found[unit] for found in taken["help"]])
        baseline = median([found[unit] for found in taken["pass"]])[0]
        name = titled("amends --help, beside python -c pass", unit)
        readings.append(read(name, value, unit, repeats, among, baseline=baseline))
    return readings
