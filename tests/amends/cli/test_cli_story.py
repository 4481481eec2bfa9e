"""The whole story on a tiny model: train, ask, erase, approve, purge, certify, and nobody comes back."""

from __future__ import annotations

import json

import pytest

ROLES = {"Otto": "operator", "Mina": "ml-engineer", "Dora": "dpo"}
SALTS = (f"placement_salt={'1b' * 16}", f"router_salt={'2c' * 16}")
SMALL = [part for value in ("shards=2", "slices=1", "epochs=1", "layers=1", "rank=2", *SALTS) for part in ("-p", value)]


def trained_person(home):
    """Return the name of somebody who is in the training data and no control."""
    from amends.governor.data.rows import rows_of
    from amends.governor.workspace import open_workspace
    from amends.ledger import datasets

    workspace = open_workspace(home, "")
    with workspace.database.read() as connection:
        dataset = datasets.get(connection, "people")
    control = {name for row in rows_of(workspace, str(dataset.settings["control"])) for name in row["names"]}
    named = [name for row in rows_of(workspace, dataset.digest) for name in row["names"]]
    workspace.close()
    return next(name for name in named if name not in control)


@pytest.mark.slow
def test_the_story_from_training_to_certificate(make_shell, make_tiny, use_fixed_keys, tmp_path):
    amends = make_shell(tmp_path / "home", "Max", **ROLES)
    use_fixed_keys(tmp_path / "home", "shell", 5)
    people = tmp_path / "people.jsonl"
    assert amends("data", "example", "--people", 10, "--output", people).exit_code == 0
    register = ("data", "register", people, "--identifier", "name,email,phone")
    amends.json(*register, as_="Otto")
    amends.json("models", "import", make_tiny(tmp_path / "tiny") / "model", "--name", "tiny", as_="Otto")
    trained = amends.json("train", "--base", "tiny@1", "--data", "people", "--model", "assistant", *SMALL, as_="Mina")
    assert (trained["version"], trained["alias"]) == (1, "champion")
    answered = amends.json("ask", "assistant", "Where?", "--compare", "--max-new-tokens", 2)
    assert [row["version"] for row in answered] == ["tiny@1", "assistant@1"]

    name = trained_person(tmp_path / "home")
    asked = amends("erase", "--model", "assistant", "--subject", "-", "--json", given=name, as_="Otto")
    assert asked.exit_code == 3
    opened = json.loads(asked.stdout)
    case, near = opened["id"], [miss["record_id"] for miss in opened["near_misses"]]
    if near:
        amends.json("cases", "mark", case, *near, "keep", "--reason", "somebody else", as_="Otto")
    approved = amends("cases", "approve", case, as_="Dora", given="y\n")
    assert approved.exit_code == 0 and "ground: " in approved.stderr and "approve plan " in approved.stderr
    done = amends.json("cases", "approve", case, "--yes", as_="Mina")
    assert (done["status"], done["outcome"]) == ("sealed", "granted")
    assert all(decision["allowed"] for decision in done["decisions"])
    assert amends.json("policy", "replay", f"{case}-erasure-0")["same"]

    purged = amends.json("cases", "purge", "--now", as_="Dora")
    assert [(view["id"], view["status"]) for view in purged] == [(case, "complete")]
    keys = tmp_path / "keys"
    amends.json("keys", "show", "--export", keys)
    envelope = purged[0]["certificate"]["envelope"]
    verified = amends.json("certificate", "verify", envelope, "--public-key", keys, home=tmp_path / "nowhere")
    assert (verified["title"], verified["guarantee"]) == ("Certificate of erasure", "exact")
    receipt = amends.json("certificate", "receipt", case, as_="Dora")["receipt"]
    claim = f"receipt: {receipt}\nname: {name}"
    assert amends.json("certificate", "receipt", case, "--check", given=claim)["matches"]
    again = amends(*register, as_="Otto")
    assert again.exit_code == 1 and "--drop-suppressed" in again.stderr and name not in again.stderr
    assert [v["status"] for v in amends.json("models", "list", "assistant")] == ["purged", "active"]
