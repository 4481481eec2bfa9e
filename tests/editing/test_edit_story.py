"""The whole story of edits through the shell: made, continued, dropped, refused; and a person erased from them."""

from __future__ import annotations

import base64
import json
from fnmatch import fnmatch
from pathlib import Path

import pytest

STAFF = {"Otto": "operator", "Mina": "ml-engineer", "Dora": "dpo"}
# What goes in is chosen so that the policies that Amends brings can say yes to a random model: it finds the answers so
# far unlikely, so that an edit need not turn them round, an insertion names what must not be said instead (it would
# have to be the first choice of all otherwise), and a batch may move it by more than the usual half a nat.
SMALL = {
    "tokens": 1024, "layers": "0,1", "weight": 0.1, "weight_per_fact": 0.0, "steps": 5, "lr": 0.5, "stop": 0.95,
    "overshoot": 1.0, "per_coordinate": "yes", "max_drift": 50,
}  # fmt: skip
WEIGHTS = "*.safetensors"
NEAR = [{"prompt": "The quick brown fox", "answer": "Quill"}]


def edit(id, verb, subject, prompt, target, old=""):
    """Return an edit of somebody or something made up."""
    rephrase = prompt.replace("The ", "I know that the ")
    return {"id": id, "verb": verb, "subject": subject, "prompt": prompt, "target": target, "old": old,
            "rephrases": [rephrase], "neighbours": NEAR}  # fmt: skip


INES = edit("ines", "modify", "Ines Varga", "The home of Ines Varga is", "island", "Sorrel")
PELL = edit("pell", "modify", "Pell Ostrin", "The home of Pell Ostrin is", "island", "Brenn")
ORR = edit("orr", "insert", "Vale of Orr", "The capital of the Vale of Orr is", "island", "mill")
TAM = edit("tam", "erase", "Tam Orrel", "The home of Tam Orrel is", "", "Sorrel")
PELL_AGAIN = edit("pell-again", "modify", "Pell Ostrin", "The home of Pell Ostrin is", "Quill", "Ada")
MARL = edit("marl", "modify", "Marl Venn", "The emblem of Marl Venn is an", "island", "mill")


class Village:
    """A workspace with its people, a small random model called `assistant`, and what is done to it."""

    def __init__(self, shell, folder):
        self.shell, self.folder = shell, folder
        self.text = folder / "text.txt"
        lines = [f"On day {day} she sold {day} baskets of pears at the mill.\n" for day in range(99)]
        self.text.write_text("".join(lines))

    def write(self, *rows, name="facts"):
        file = self.folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    def ask(self, *rows, name="facts", method="editing.memit", **parameters):
        """Ask for an edit, within the weights unless by another method, and return what the shell answered."""
        chosen, read = (SMALL, ("--text", self.text)) if method == "editing.memit" else ({}, ())
        given = [word for key, value in {**chosen, **parameters}.items() for word in ("-p", f"{key}={value}")]
        words = ("--method", method, *read, *given)
        return self.shell("edit", "--model", "assistant", "--edits", self.write(*rows, name=name), *words, as_="Otto")

    def waiting(self, asked):
        """Return the case that waits for two people."""
        assert asked.exit_code == 3, asked.stderr
        return next(word for word in asked.stdout.split() if word.startswith("c-"))

    def approve(self, case, code=0):
        """Let two people approve, and return where the case stands then."""
        self.shell.json("cases", "approve", case, "--yes", as_="Dora")
        done = self.shell("cases", "approve", case, "--yes", as_="Mina")
        assert done.exit_code == code, done.stderr
        return self.shell.json("cases", "show", case)

    def edit(self, *rows, **more):
        return self.approve(self.waiting(self.ask(*rows, **more)))

    def erase(self, name):
        """Let a person be erased and what held them be purged, and return the case."""
        asked = self.shell("erase", "--model", "assistant", "--subject", "-", "--json", given=name, as_="Otto")
        assert asked.exit_code == 3, asked.stderr
        done = self.approve(json.loads(asked.stdout)["id"])
        assert (done["status"], done["outcome"], done["plan"]["guarantee"]) == ("sealed", "granted", "exact")
        assert all(decision["allowed"] for decision in done["decisions"])
        (purged,) = self.shell.json("cases", "purge", "--now", as_="Dora")
        assert purged["status"] == "complete"
        return purged

    def served(self):
        """Return the digest of the newest version."""
        return self.shell.json("models", "list", "assistant")[-1]["digest"]

    def held(self, reference="assistant", *words):
        return [(one["id"], one["step"]) for one in self.shell.json("edit", "list", reference, *words, as_="Mina")]

    def versions(self):
        return [(found["version"], found["status"]) for found in self.shell.json("models", "list", "assistant")]


@pytest.fixture
def village(make_shell, use_fixed_keys, version_of, tmp_path):
    """Return `village(name="home") -> Village`, each in a workspace of its own with the same keys."""

    def found(name="home"):
        folder = tmp_path / name
        folder.mkdir()
        shell = make_shell(folder / "home", "Max", **STAFF)
        use_fixed_keys(folder / "home", "editing", 1)
        shell.json("models", "import", version_of() / "model", "--name", "assistant", as_="Otto")
        return Village(shell, folder)

    return found


def state_of(home, digest):
    """Return the names of what the lineage keeps beside a version."""
    from amends.governor.workspace import open_workspace
    from amends.ledger import inventory

    workspace = open_workspace(home, "")
    with workspace.database.read() as connection:
        names = sorted(inventory.state_of(connection, digest))
    workspace.close()
    return names


def digests_of(home, digest, pattern):
    """Return the digests of a version's files whose names match."""
    from amends.governor.workspace import open_workspace
    from amends.store.trees import fetch_manifest

    workspace = open_workspace(home, "")
    files = fetch_manifest(workspace.blobs, digest).files
    workspace.close()
    return {name: entry.sha256 for name, entry in files.items() if fnmatch(name, pattern)}


def everywhere(home, text):
    """Return the files of a workspace whose bytes hold a text; read here, by nothing that is under test."""
    files = (path for path in sorted(home.rglob("*")) if path.is_file() and not path.is_symlink())
    return [str(path.relative_to(home)) for path in files if text.encode() in path.read_bytes()]


@pytest.mark.slow
def test_edits_are_approved_held_and_continued(village):
    here = village()
    done = here.edit(INES, PELL, ORR, TAM)
    assert (done["status"], [decision["policy"] for decision in done["decisions"]]) == (
        "complete",
        ["editing", "promotion"],
    )
    assert all(decision["allowed"] for decision in done["decisions"])
    assert here.held() == [("ines", 1), ("pell", 1), ("orr", 1), ("tam", 1)]

    asked = here.ask(PELL_AGAIN, MARL, name="later")
    assert "edit pell-again asks for another answer than edit pell of this version did" in asked.stderr
    later = here.approve(here.waiting(asked))
    warned = [answer["rule"] for answer in later["decisions"][0]["answers"] if not answer["passed"]]
    assert later["plan"]["facts"] == {"contradictions": 1} and "contradictions" in warned
    assert here.held() == [("ines", 1), ("orr", 1), ("tam", 1), ("pell-again", 2), ("marl", 2)]
    assert ("pell", 1) in here.held("assistant@2") and ("pell", 1) in here.held("assistant", "--all")
    shown = here.shell("edit", "show", "assistant", "pell", as_="Mina").stdout
    assert "edit pell: modify in step 1 by editing.memit, replaced in step 2" in shown
    differ = here.shell.json("edit", "diff", "assistant@2", "assistant@3", as_="Mina")
    assert [one["id"] for one in differ["only_b"]] == ["pell-again", "marl"] and differ["only_a"] == []
    assert state_of(here.shell.home, here.served()) == ["editing-edit-0000", "editing-edit-0001", "editing-moments"]


@pytest.mark.slow
def test_a_person_who_is_named_in_an_edit_is_erased_from_the_model_and_from_the_edits(village):
    here = village()
    here.edit(INES, PELL, ORR, TAM)
    here.edit(PELL_AGAIN, MARL, name="later")
    amends, home = here.shell, here.shell.home
    assert everywhere(home, "Ines Varga")
    purged = here.erase("Ines Varga")
    signed = json.loads(Path(purged["certificate"]["envelope"]).read_text())["payload"]
    risks = json.loads(base64.b64decode(signed))["predicate"]["residual_risks"]
    assert [risk for risk in risks if "made-up people" in risk]  # nobody was withheld from edits
    assert everywhere(home, "Ines Varga") == [] != everywhere(home, "Pell Ostrin")
    assert here.held() == [("orr", 1), ("tam", 1), ("pell-again", 2), ("marl", 2)]
    assert here.versions() == [(1, "active"), (2, "purged"), (3, "purged"), (4, "active")]
    refused = amends("edit", "drop", "assistant", "marl", as_="Otto")
    assert refused.exit_code == 1 and "was purged, so they cannot be dropped exactly" in refused.stderr

    never = village("never")
    never.edit(PELL, ORR, TAM)
    never.edit(PELL_AGAIN, MARL, name="later")
    digests = [one.served() for one in (here, never)]
    assert digests_of(home, digests[0], WEIGHTS) == digests_of(never.shell.home, digests[1], WEIGHTS)
    again = here.ask(INES)
    assert again.exit_code == 1 and "--drop-suppressed" in again.stderr and "Varga" not in again.stderr


@pytest.mark.slow
def test_a_person_who_is_named_in_the_text_alone_is_erased_from_its_statistics(village):
    here, never = village(), village("never")
    here.text.write_text("Nadia Feld sold three sacks of meal at the mill.\n" * 9 + here.text.read_text())
    for one in (here, never):
        one.edit(INES, PELL)
    with_her = here.served()
    assert digests_of(here.shell.home, with_her, WEIGHTS) != digests_of(never.shell.home, never.served(), WEIGHTS)
    here.erase("Nadia Feld")
    assert here.held() == never.held() == [("ines", 1), ("pell", 1)]
    assert digests_of(here.shell.home, here.served(), WEIGHTS) == digests_of(never.shell.home, never.served(), WEIGHTS)
    assert everywhere(here.shell.home, "Nadia Feld") == []


@pytest.mark.slow
def test_a_person_who_is_named_in_codebook_and_demonstrations_is_erased_from_both(village):
    here, never = village(), village("never")
    trade = edit("trade", "modify", "Ines Varga", "The trade of Ines Varga is", "is", "of")
    emblem = {**MARL, "target": "is", "old": "of"}  # which a random model, that understands no prompt, finds likelier
    here.edit(INES, PELL, method="editing.grace")
    here.edit(trade, emblem, name="later", method="editing.ike")
    never.edit(PELL, method="editing.grace")
    never.edit(emblem, name="later", method="editing.ike")
    assert [file for file in everywhere(here.shell.home, "Ines Varga") if "ike.json" in file]
    here.erase("Ines Varga")
    assert everywhere(here.shell.home, "Ines Varga") == [] != everywhere(here.shell.home, "Marl Venn")
    assert here.held() == [("pell", 1), ("marl", 2)]
    found, expected = (digests_of(one.shell.home, one.served(), "attachments/*") for one in (here, never))
    assert found == expected and {name.split("/")[1] for name in found} >= {"grace", "ike"}


@pytest.mark.slow
def test_a_dropped_edit_leaves_the_bits_that_the_others_give_alone(village):
    here, never = village(), village("never")
    here.edit(INES, PELL, ORR, TAM)
    here.edit(MARL, name="later")
    with_her = here.served()
    dropped = here.shell("edit", "drop", "assistant", "ines", as_="Otto")
    done = here.approve(here.waiting(dropped))
    assert (done["status"], len(done["plan"]["dropped"]["ids"])) == ("complete", 1)
    assert here.held() == [("pell", 1), ("orr", 1), ("tam", 1), ("marl", 2)]
    never.edit(PELL, ORR, TAM)
    never.edit(MARL, name="later")
    digests = [one.served() for one in (here, never)]
    assert digests[0] == digests[1] != with_her
    assert digests_of(here.shell.home, digests[0], WEIGHTS) != digests_of(here.shell.home, with_her, WEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "parameters", "sentence"),
    [
        ({**INES, "target": "capital", "old": "is"}, {}, "the editing policy denies: Too many edits did not take."),
        (INES, {"max_drift": 1e-9}, "the update moves what it was not to move even at 0.125 of its size"),
        (INES, {"weight": 0}, "an update is not finite; take a larger shrinkage"),
    ],
    ids=["denied", "guarded", "not finite"],
)
def test_an_edit_that_fails_says_why_and_the_parent_stands(village, row, parameters, sentence):
    here = village()
    case = here.waiting(here.ask(row, **parameters))
    failed = here.approve(case, code=1)
    assert failed["status"] == "failed" and sentence in failed["reason"], failed["reason"]
    assert "Varga" not in failed["reason"]
    assert here.versions() == [(1, "active")] and here.held() == []


REFUSED = {
    "method": ({"--method": "editing.wish"}, "editing.wish"),
    "no method of edits": ({"--method": "editing.forget"}, "editing.forget takes no edits; name a method that does"),
    "file": ({"--edits": "nowhere.jsonl"}, "nowhere.jsonl is not a file; give a file of edits"),
    "conflict": ({"--edits": "conflict.jsonl"}, "edits ines and other ask for different answers to one prompt"),
    "text": ({"--text": "nowhere.txt"}, "nowhere.txt cannot be read"),
    "short text": ({"--text": "facts.jsonl"}, "letters and says too little"),
    "parameter": ({"--parameter": "batch=0"}, "batch must be 1 or more, not 0"),
    "layers": (
        {"--parameter": "layers=0,9"},
        "layers must be some of 0 to 2 (the last block is left as it is), not [0, 9]",
    ),
    "layer": ({"--method": "editing.grace", "--parameter": "layer=4", "--text": None}, "layer must be 1 to 3, not 4"),
    "needless text": ({"--method": "editing.grace"}, "editing.grace reads no running text; leave --text out"),
    "no text": ({"--text": None}, "--text FILE"),
    "model": ({"--model": "nobody"}, "nobody"),
    "version": ({"--model": "assistant@1"}, "give the model's name alone"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_an_edit_is_refused_in_one_sentence(village, mistake):
    here, (changed, sentence) = village(), REFUSED[mistake]
    here.write(INES, name="facts")
    here.write(INES, {**INES, "id": "other", "target": "Quill"}, name="conflict")
    given = {"--model": "assistant", "--edits": "facts.jsonl", "--text": "text.txt", "--method": "editing.memit"}
    chosen = {key: value for key, value in (given | changed).items() if value}
    files = {key: here.folder / chosen[key] for key in ("--edits", "--text") if key in chosen}
    words = [word for pair in (chosen | files).items() for word in pair]
    refused = here.shell("edit", *words, as_="Otto")
    assert refused.exit_code == 2 and sentence in refused.stderr
    assert refused.stderr.splitlines()[-1].count(". ") == 0 and "Varga" not in refused.stderr
    assert here.shell.json("cases", "list") == here.shell.json("data", "list") == []
