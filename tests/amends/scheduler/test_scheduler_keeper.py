"""A child that asks to die with its parent's thread lives as long as the keeper."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import threading

import pytest

from amends.scheduler.keeper import Keeper

PR_SET_PDEATHSIG = 1


def tie() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(children: list[subprocess.Popen[bytes]]) -> None:
    children.append(subprocess.Popen(["sleep", "600"], preexec_fn=tie))


def in_a_passing_thread(function) -> None:
    passing = threading.Thread(target=function)
    passing.start()
    passing.join()


def test_a_tied_child_dies_with_the_thread_that_started_it():
    children = []
    in_a_passing_thread(lambda: start(children))
    assert children[0].wait(20) == -signal.SIGKILL


def test_a_child_started_by_a_keeper_lives_until_it_is_released():
    children, keepers = [], []
    in_a_passing_thread(lambda: keepers.append(Keeper(lambda: start(children))))
    with pytest.raises(subprocess.TimeoutExpired):
        children[0].wait(0.5)
    keepers[0].release()
    assert children[0].wait(20) == -signal.SIGKILL


def test_what_fails_on_a_keeper_fails_where_it_was_asked_for():
    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        Keeper(fail)
