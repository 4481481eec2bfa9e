"""Write down each training step before it is taken, and what a run that was killed begins from again.

A step's line is on the disk before its gradient is computed, and each line carries the digest of all before it. After a
kill the last checkpoint stands, and the lines behind it are taken back: those steps are taken anew, to the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from amends.errors import DigestMismatch
from amends.records import canonical_json

from .points import Point, read_point, replace_file
from .schedule import Step

LOG = "steps.jsonl"
POINT = "checkpoint"


def chain_at(steps: Sequence[Step], beginning: str, position: int) -> str:
    """Return the chain after so many steps."""
    return steps[position - 1].chain if position else beginning


def line_of(step: Step) -> bytes:
    """Return a step's line in the log."""
    return canonical_json(step.entry) + b"\n"


class WriteAhead:
    """The log of one run and its last checkpoint, in a directory."""

    def __init__(self, directory: Path, steps: Sequence[Step], beginning: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log, self._point = directory / LOG, directory / POINT
        self._steps, self._beginning = steps, beginning

    def interrupted(self) -> Point | None:
        """Return the checkpoint of an earlier attempt at just these steps, or None.

        Raises:
            DigestMismatch: The log does not hold the steps behind that checkpoint.
        """
        if not self._point.exists():
            return None
        point = read_point(self._point.read_bytes())
        known = point.position <= len(self._steps)
        if not known or point.chain != chain_at(self._steps, self._beginning, point.position):
            return None
        behind = b"".join(line_of(step) for step in self._steps[: point.position])
        if not self._log.exists() or not self._log.read_bytes().startswith(behind):
            raise DigestMismatch(f"the log {self._log.name} is not that of its checkpoint; remove both and train anew")
        return point

    def begin(self, position: int) -> None:
        """Take back every line behind a position, and write those before it that are not there."""
        replace_file(self._log, b"".join(line_of(step) for step in self._steps[:position]))

    def write(self, step: Step) -> None:
        """Put a step on the disk; it may be taken once this returns."""
        with self._log.open("ab") as log:
            log.write(line_of(step))
            log.flush()
            os.fsync(log.fileno())

    def keep(self, point: Point, name: str = POINT) -> None:
        """Replace the last checkpoint, or one that has a name of its own, whole or not at all."""
        replace_file(self._point.with_name(name), point.to_bytes())

    def kept(self, name: str) -> bytes:
        """Return a checkpoint that has a name of its own.

        Raises:
            DigestMismatch: It is gone, or of another training.
        """
        file = self._point.with_name(name)
        data = file.read_bytes() if file.exists() else b""
        if not data or read_point(data).chain not in {step.chain for step in self._steps}:
            raise DigestMismatch(f"the checkpoint {name} is not of this training; remove its directory and train anew")
        return data

    def read(self) -> bytes:
        """Return the log."""
        return self._log.read_bytes()
