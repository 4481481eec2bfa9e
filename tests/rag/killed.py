"""Run in a process of its own: changes copies of a workspace's index in children, each of which kills itself halfway.

`python killed.py CHANGE JOBS`, where a job is `[HOME, TOKEN, PLACE, WHEN]`: the place is one of those below, and the
child dies before or after it. The parent has imported everything and holds no open table when it forks.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from amends.governor.workspace import open_workspace
from amends.records import DataSubject, Disclosure
from amends.vault.subjects import pseudonym
from amends_rag import live
from amends_rag.building import add_documents
from amends_rag.store import Indexes
from amends_rag.table import Table

PLACES = {
    "begin": (live, "begin"),
    "add": (Table, "add"),
    "delete": (Table, "delete"),
    "card": (live, "write_card"),
}


def die_at(place, when):
    owner, name = PLACES[place]
    inner = getattr(owner, name)

    def dying(*arguments, **named):
        if when == "after":
            inner(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)


def child(change, home, token, place, when):
    workspace = open_workspace(Path(home), token)
    die_at(place, when)
    if change["verb"] == "erase":
        identifiers = {kind: (value,) for kind, value in change["identifiers"].items()}
        Indexes(workspace).erase(Disclosure(DataSubject(pseudonym(workspace.keyring, identifiers)), identifiers))
    else:
        add_documents(workspace, "village", [Path(change["documents"])])


def main():
    change, jobs = (json.loads(given) for given in sys.argv[1:])
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            try:
                child(change, *job)
            except BaseException:  # told, and ended: a fork never goes on as its parent
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            raise SystemExit(f"the child of {job[2:]} was not killed")


if __name__ == "__main__":
    main()
