"""Keep what a plugin prints out of every log."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def quiet() -> Iterator[TextIO]:
    """Send what anybody prints to nowhere, since it may quote a record, and lend the real standard output."""
    sys.stdout.flush()
    saved = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        with os.fdopen(os.dup(saved[0]), "w") as out:
            yield out
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, handle in enumerate(saved, start=1):
            os.dup2(handle, target)
            os.close(handle)
        os.close(nowhere)
