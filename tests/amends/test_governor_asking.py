"""Asking a version by hand: from checked bytes, or not at all."""

from __future__ import annotations

import pytest

from amends.errors import BadInput, Denied, DigestMismatch, UnknownModel
from amends.governor.models.asking import ask, compare
from amends.ledger import aliases, lineage
from amends.serving import open_version
from amends.store.trees import fetch_manifest

PROMPTS = ["Where does Ada Quill live?", "What is the capital of the island?"]


@pytest.fixture
def champion(small_workspace, put_version):
    """Return a champion that refers to its base."""
    base = put_version(small_workspace, "tiny", 1)
    version = put_version(small_workspace, "assistant", 1, based_on=base, steps=[{"operation": "x.y"}])
    with small_workspace.database.transaction() as connection:
        aliases.move(connection, model="assistant", alias="champion", expected=None, new=1, actor="p-1")
    return version


def weights_blob(workspace, version):
    found = fetch_manifest(workspace.blobs, version.digest).files
    return workspace.blobs.root / "sha256" / (d := found["model/model.safetensors"].sha256)[:2] / d


def test_a_version_answers_as_its_bytes_do(small_workspace, champion, tiny_version):
    answers = ask(small_workspace, "assistant@champion", PROMPTS, max_new_tokens=6)
    served = open_version(small_workspace.cache.tree(champion.digest), small_workspace.host)
    assert answers == served.generate(PROMPTS, 6)
    assert ask(small_workspace, "assistant", PROMPTS, 6) == ask(small_workspace, "assistant@1", PROMPTS, 6) == answers


def test_versions_and_their_base_answer_side_by_side(small_workspace, champion, put_version):
    put_version(small_workspace, "assistant", 2)
    put_version(small_workspace, "assistant", 3)
    with small_workspace.database.transaction() as connection:
        lineage.set_status(connection, "assistant", 2, "sealed")
        lineage.set_status(connection, "assistant", 3, "purged")
    rows = compare(small_workspace, "assistant", PROMPTS[:1], max_new_tokens=4)
    assert [row["version"] for row in rows] == ["tiny@1", "assistant@1", "assistant@2"]
    assert [row["is_base"] for row in rows] == [True, False, False]
    assert rows[1]["aliases"] == ["champion"]
    assert rows[0]["answers"] == rows[1]["answers"] is not None
    assert rows[2]["answers"] is None
    assert rows[2]["reason"]


def test_a_tampered_weight_file_is_refused_and_set_aside(small_workspace, champion, put_version):
    version = put_version(small_workspace, "assistant", 2)
    ask(small_workspace, "assistant@2", PROMPTS, 2)  # a sound copy is in the cache from now on
    blob = weights_blob(small_workspace, version)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(DigestMismatch, match="set aside"):
        ask(small_workspace, "assistant@2", PROMPTS, 2)
    assert small_workspace.blobs.quarantined() == (blob.name,)
    assert not blob.exists()


def test_a_tampered_base_is_refused_too(small_workspace, champion):
    with small_workspace.database.read() as connection:
        base = aliases.resolve(connection, "tiny@1")
    blob = weights_blob(small_workspace, base)
    blob.write_bytes(b"\0" * blob.stat().st_size)
    with pytest.raises(DigestMismatch):
        ask(small_workspace, "assistant@champion", PROMPTS, 2)


def test_a_tampered_copy_is_never_served(small_workspace, champion):
    sound = ask(small_workspace, "tiny@1", PROMPTS, 4)
    with small_workspace.database.read() as connection:
        copy = small_workspace.cache.tree(aliases.resolve(connection, "tiny@1").digest) / "model/model.safetensors"
    copy.chmod(0o644)
    copy.write_bytes(b"\0" * copy.stat().st_size)
    assert ask(small_workspace, "tiny@1", PROMPTS, 4) == sound


@pytest.mark.parametrize(
    ("reference", "prompts", "length", "error"),
    [
        ("assistant@9", PROMPTS, 4, UnknownModel),
        ("nobody@champion", PROMPTS, 4, UnknownModel),
        ("assistant@1", [], 4, BadInput),
        ("assistant@1", ["  "], 4, BadInput),
        ("assistant@1", PROMPTS, 0, BadInput),
        ("assistant@1", PROMPTS, 10_000, BadInput),
    ],
)
def test_what_cannot_be_asked_is_refused(small_workspace, champion, reference, prompts, length, error):
    with pytest.raises(error):
        ask(small_workspace, reference, prompts, length)
    with pytest.raises(UnknownModel):
        compare(small_workspace, "nobody", PROMPTS)


@pytest.mark.parametrize(("status", "error"), [("sealed", Denied), ("purged", BadInput)])
def test_what_is_sealed_or_purged_does_not_answer(small_workspace, champion, status, error):
    with small_workspace.database.transaction() as connection:
        lineage.set_status(connection, "assistant", 1, status)
    with pytest.raises(error, match="assistant@1"):
        ask(small_workspace, "assistant@champion", PROMPTS)
