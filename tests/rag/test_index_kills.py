"""A process that is killed in the middle of a change leaves an index whose passages are all there, or all replaced."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from amends.governor.workspace import open_workspace
from amends.ledger import audit
from amends_rag.building import add_documents
from amends_rag.live import held
from amends_rag.store import Indexes

BOUNDARIES = [("begin", "after"), ("add", "after"), ("delete", "before"), ("delete", "after"), ("card", "before")]
HERS = {"name": "Ines Varga", "email": "ines.varga@example.org"}
RACE = "Ines Varga and Tobin Hale won the regatta of 1998."
LEFT = "[redacted] and Tobin Hale won the regatta of 1998."


@pytest.fixture
def killed(grown, tmp_path):
    """Return `killed(change, boundaries, settings="") -> [(boundary, workspace)]`, in each of which a change died."""

    def run(change, boundaries, settings=""):
        homes = [tmp_path / f"home-{number}" for number in range(len(boundaries))]
        for home in homes:
            shutil.copytree(grown.home, home)
            (home / "rag.toml").write_text(settings)
        token = grown.tokens["Otto"]
        jobs = [[str(home), token, *boundary] for home, boundary in zip(homes, boundaries, strict=True)]
        command = [sys.executable, Path(__file__).with_name("killed.py"), json.dumps(change), json.dumps(jobs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return [(boundary, open_workspace(home, token)) for boundary, home in zip(boundaries, homes, strict=True)]

    return run


def texts(workspace):
    with held(workspace.home, "village") as index:
        assert index.lexical.count == len(index.rows.passages) == index.card.count
        return sorted(passage.text for passage in index.rows.passages)


@pytest.mark.slow
def test_a_passage_of_two_people_is_never_lost_to_a_kill_while_one_of_them_is_erased(killed, disclosed):
    person = disclosed(email=HERS["email"])
    for boundary, workspace in killed({"verb": "erase", "identifiers": HERS}, BOUNDARIES, 'shared = "rewrite"\n'):
        with closing(workspace):
            found = texts(workspace)
            assert (RACE in found) != (LEFT in found), boundary  # one of them, never both
            assert len([text for text in found if "Varga" in text]) in (0, 2), boundary
            Indexes(workspace).erase(person)
            assert [text for text in texts(workspace) if "regatta" in text] == [LEFT], boundary
            assert list(Indexes(workspace).verify(person)) == [], boundary


@pytest.mark.slow
def test_a_document_that_is_added_again_is_the_old_one_or_the_new_one_after_a_kill(killed, documents):
    now = "Tobin Hale keeps goats in Sorrel."
    file = documents([{"id": "bees", "text": now, "subjects": ["Tobin Hale"]}], "goats.jsonl")
    boundaries = [*BOUNDARIES, ("card", "after")]
    for boundary, workspace in killed({"verb": "add", "documents": str(file)}, boundaries):
        with closing(workspace):
            found = texts(workspace)
            assert ("Tobin Hale keeps bees in Sorrel." in found) != (now in found) and len(found) == 5, boundary
            assert add_documents(workspace, "village", [file]).passages == 5, boundary
            assert now in texts(workspace), boundary
            with workspace.database.read() as connection:
                entries = [e.body["version"] for e in audit.entries(connection) if e.action == "data:index:changed"]
            assert entries == [1, 2], boundary
