"""A thread that starts processes and outlives them.

Linux tells a child of its parent's death when the *thread* that started it ends, and Ray's daemons ask to be killed
then. Work is carried out in threads that come and go, so whoever starts Ray must be one that stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future


class Keeper:
    """A thread of its own that runs one function, and then stays.

    Args:
        start: What it runs; its error is raised here, and the thread ends.
    """

    def __init__(self, start: Callable[[], object]) -> None:
        self._started: Future[object] = Future()
        self._released = threading.Event()
        threading.Thread(target=self._keep, args=(start,), name="amends-keeper", daemon=True).start()
        self._started.result()

    def release(self) -> None:
        """Let the thread end, once what it started has ended."""
        self._released.set()

    def _keep(self, start: Callable[[], object]) -> None:
        try:
            self._started.set_result(start())
        except BaseException as error:  # raised again where the keeper was asked for
            self._started.set_exception(error)
            return
        self._released.wait()
