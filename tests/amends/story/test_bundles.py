"""The bundle of a case: an outside party verifies it with Python and a public key, and finds whatever was changed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from amends.cli.root import root
from amends.errors import BadInput, Denied, Tampered
from amends.governor.proof import standalone
from amends.governor.proof.bundling import export_bundle
from amends.governor.proof.receiving import import_bundle, imported, verify_bundle
from amends.governor.workspace import create_workspace
from amends.ledger import audit, checkpoints, lineage
from amends.records import canonical_json
from amends.vault import signing
from amends.vault.keys import Keyring


@pytest.fixture(scope="module")
def given(erased, told, tmp_path_factory):
    """Return a bundle as an outside party gets it: the file, its parts, the operator's keys by another way."""
    folder = tmp_path_factory.mktemp("given")
    story = told.copied(erased, folder)
    case = (erased / "case").read_text()
    workspace = story.act("dora")
    made = export_bundle(workspace, case, folder / "case.zip")
    keyring = workspace.keyring
    keys = keyring.public_directory(folder / "keys")
    yield SimpleNamespace(
        file=folder / "case.zip", made=made, case=case, keyring=keyring, keys=keys, story=story,
        files=standalone.read_bundle(folder / "case.zip"),
    )  # fmt: skip
    story.close()


def written(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def failures(given, files, keys=None):
    """Return the sentences of the checks that do not hold."""
    pems = keys or given.keyring.public_keys()
    checks = standalone.check_bundle(files, standalone.read_keys({n: pem.encode() for n, pem in pems.items()}))
    return [sentence for holds, sentence in checks if not holds]


def signed_again(given, files, keyring=None):
    """Return files with a manifest over them, as whoever holds the signing key could write it."""
    case = json.loads(files["case.json"])
    digests = {name: standalone.sha256(data) for name, data in files.items() if name != standalone.MANIFEST}
    manifest = {"case": given.case, "plan_digest": case["plan_digest"], "files": digests}
    envelope = signing.sign(keyring or given.keyring, standalone.MANIFEST_TYPE, canonical_json(manifest))
    return {**files, standalone.MANIFEST: canonical_json(envelope)}


def test_a_bundle_has_what_a_verifier_needs_and_every_check_holds(given):
    assert failures(given, given.files) == []
    names = set(given.files)
    assert {"bundle.dsse.json", "verify.py", "case.json", "approvals.json", "decisions.json", "readings.json"} <= names
    assert {f"certificate/{given.case}.dsse.json", f"certificate/{given.case}.html"} <= names
    assert {"chain/entries.jsonl", "chain/proofs.json", "chain/checkpoint.json"} <= names
    assert sum(name.startswith("policies/") for name in names) == 2
    assert sum(name.startswith("public-keys/") for name in names) == 1
    assert len(json.loads(given.files["readings.json"])["after"]) > 3


def test_only_entries_of_the_case_leave_the_house_and_no_name_of_a_person(given, told):
    entries = [json.loads(line) for line in given.files["chain/entries.jsonl"].splitlines()]
    assert len(entries) == given.made["entries"] >= 8
    assert all(given.case in entry["id"] for entry in entries)
    with given.story.workspace.database.read() as connection:
        assert len(entries) < audit.head(connection)[0]
    for name, data in given.files.items():
        found = [person for person in told.PEOPLE if person.encode() in data]
        assert not found, name
        if not name.startswith("certificate/"):  # which names the staff who approved, as it always did
            assert not [who for who in ("dora", "olga") if f'"{who}"'.encode() in data], name


@pytest.fixture
def bare(tmp_path):
    """Return a folder with the one package that the script needs, and nothing else on the search path."""
    site = tmp_path / "site"
    site.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        found = importlib.util.find_spec(name)
        if found is not None and found.origin:
            origin = Path(found.origin)
            source = origin.parent if origin.name == "__init__.py" else origin
            (site / source.name).symlink_to(source)
    return site


def run_alone(bare, script, *arguments):
    """Run a script as somebody without Amends: isolated, without site-packages but for one folder."""
    code = f"import runpy, sys; sys.path.append({str(bare)!r}); sys.argv[0] = {str(script)!r}; "
    code += "exec('try:\\n import amends\\nexcept ImportError: pass\\nelse: sys.exit(7)'); "
    code += f"runpy.run_path({str(script)!r}, run_name='__main__')"
    line = [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})


def test_the_script_verifies_without_amends_from_the_file_and_from_the_folder(given, bare, tmp_path):
    with zipfile.ZipFile(given.file) as archive:
        archive.extractall(tmp_path / "case")
    script = tmp_path / "case" / "verify.py"
    for what in (given.file, tmp_path / "case"):
        told = run_alone(bare, script, what, "--public-key", given.keys)
        assert told.returncode == 0, told.stdout + told.stderr
        assert [line[:4] for line in told.stdout.splitlines()] == ["ok  "] * (1 + len(standalone.CHECKS))
    told = run_alone(bare, script, given.file)
    assert told.returncode == 0 and told.stdout.startswith("NOTE  no key was given")


def test_the_script_leaves_with_one_where_anything_was_changed(given, bare, tmp_path):
    script = tmp_path / "verify.py"
    script.write_bytes(given.files["verify.py"])
    changed = {**given.files, "readings.json": given.files["readings.json"].replace(b"0", b"1", 1)}
    told = run_alone(bare, script, written(tmp_path / "changed.zip", changed), "--public-key", given.keys)
    assert told.returncode == 1 and "FAIL  files: readings.json is changed" in told.stdout
    (tmp_path / "half.zip").write_bytes(given.file.read_bytes()[:-400])
    told = run_alone(bare, script, tmp_path / "half.zip", "--public-key", given.keys)
    assert told.returncode == 1 and told.stdout.startswith("FAIL") and "Traceback" not in told.stderr


def test_a_byte_that_is_flipped_in_any_file_is_found(given, tmp_path):
    for name, data in given.files.items():
        for place in sorted({0, len(data) // 3, len(data) // 2, len(data) - 1}):
            flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            files = standalone.read_bundle(written(tmp_path / "flipped.zip", {**given.files, name: flipped}))
            assert failures(given, files), (name, place)


def test_every_byte_of_the_manifest_counts(given):
    data = given.files[standalone.MANIFEST]
    for place in range(0, len(data), 7):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert failures(given, {**given.files, standalone.MANIFEST: flipped}), place


def test_a_file_more_or_less_is_found(given):
    assert "files: note.txt is not signed" in failures(given, {**given.files, "note.txt": b"hello"})
    assert failures(given, {**given.files, "chain/note.txt": b"hello"}) == ["files: chain/note.txt is not signed"]
    for name in given.files:
        assert failures(given, {other: data for other, data in given.files.items() if other != name}), name


def test_another_key_s_signature_is_none(given, tmp_path):
    other = Keyring.create(tmp_path / "other")
    (failed,) = failures(given, signed_again(given, given.files, other))
    assert "none of those given" in failed
    (failed,) = failures(given, given.files, other.public_keys())
    assert "none of those given" in failed


def test_a_file_that_holds_a_name_twice_is_refused(given, tmp_path):
    shutil.copy(given.file, tmp_path / "twice.zip")
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "twice.zip", "a") as archive:
        archive.writestr("case.json", b"{}")
    with pytest.raises(BadInput, match="is no bundle"):
        verify_bundle(tmp_path / "twice.zip", given.keyring.public_keys())


def test_a_file_that_is_not_there_is_not_called_a_bad_bundle(tmp_path):
    with pytest.raises(BadInput, match=r"there is no file .*absent\.zip; name the bundle"):
        verify_bundle(tmp_path / "absent.zip", {})


def test_an_encrypted_file_is_refused_in_a_sentence(given, tmp_path):
    data = bytearray(given.file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(data)):
            data[found.start() + place] |= 1
    (tmp_path / "closed.zip").write_bytes(data)
    with pytest.raises(BadInput, match="is no bundle"):
        verify_bundle(tmp_path / "closed.zip", given.keyring.public_keys())


def edited(name, change):
    """Return what edits the JSON of a file."""

    def edit(files):
        value = json.loads(files[name])
        change(value)
        return {**files, name: canonical_json(value)}

    return edit


def entries_edited(change):
    def edit(files):
        entries = [json.loads(line) for line in files["chain/entries.jsonl"].splitlines()]
        change(entries)
        return {**files, "chain/entries.jsonl": b"".join(canonical_json(entry) + b"\n" for entry in entries)}

    return edit


def policy_edited(files):
    name = next(name for name in files if name.startswith("policies/"))
    return {**files, name: files[name] + b"# looser\n"}


def rehashed(entries):
    """Give an entry other content and the hash that fits it, which no signed root has."""
    entries[1]["actor"] = "p-nobody"
    content = {name: value for name, value in entries[1].items() if name != "hash"}
    entries[1]["hash"] = standalone.sha256(canonical_json(content))


LIES = {
    "case: ": edited("case.json", lambda case: case.update(id="e-other")),
    "policies: ": policy_edited,
    "verdicts: ": edited("decisions.json", lambda found: found[0]["verdict"].update(allowed=False)),
    "readings: ": edited("readings.json", lambda found: found["after"].pop()),
    "approvals: somebody approved twice": edited("approvals.json", lambda found: found.append(found[0])),
    "approvals: somebody approved another plan": edited("approvals.json", lambda f: f[0].update(plan_digest="0" * 64)),
    "approvals: an approval is not in the audit log": edited("approvals.json", lambda f: f[0].update(person="p-x")),
    "approvals: 2 people had to approve, and 1 did": edited("approvals.json", lambda found: found.pop()),
    "chain: ": entries_edited(lambda entries: entries[1].update(actor="p-nobody")),
    "inclusion: ": entries_edited(rehashed),
    "evidence: ": edited("versions.json", lambda found: found[0].update(status="active, really")),
    "certificate: ": lambda files: {
        name: data + b"<!-- -->" if name.endswith(".html") else data for name, data in files.items()
    },
}


@pytest.mark.parametrize("says", LIES)
def test_each_check_finds_its_own_lie_even_under_a_signature_that_holds(given, says):
    failed = failures(given, signed_again(given, LIES[says](given.files)))
    assert any(sentence.startswith(says) for sentence in failed), failed
    assert not any(sentence.startswith(("files", "the manifest")) for sentence in failed)


def test_a_case_without_certificate_and_approvals_has_a_bundle_too(given, tmp_path):
    workspace = given.story.act("dora")
    with workspace.database.read() as connection:
        training = lineage.get(connection, "assistant", 1).case_id
    export_bundle(workspace, training, tmp_path / "training.zip")
    found = verify_bundle(tmp_path / "training.zip", given.keyring.public_keys())
    assert (found["id"], found["kind"]) == (training, "training")
    assert "no certificate was issued for this case" in found["checks"]
    assert "0 people approved the plan, 0 were needed" in found["checks"]


def test_an_export_is_entered_once_and_needs_a_role(given, told, tmp_path):
    workspace = given.story.act("dora")
    again = export_bundle(workspace, given.case, tmp_path / "again.zip")
    with workspace.database.read() as connection:
        exported = [entry for entry in audit.entries(connection) if entry.action == "case:bundle:exported"]
        entered = [entry for entry in exported if entry.body["case"] == given.case]
        checkpoints.verify_checkpoints(connection, given.keyring.public_keys())
    assert [entry.body["evidence"] for entry in entered] == [given.made["evidence"]] == [again["evidence"]]
    with pytest.raises(Denied):
        export_bundle(given.story.act("max"), given.case, tmp_path / "no.zip")
    with pytest.raises(BadInput, match="name another file"):
        export_bundle(given.story.act("dora"), given.case, tmp_path / "missing" / "no.zip")
    assert not list(tmp_path.glob("no.zip")) and not list(tmp_path.glob(".bundle-*"))


def test_an_air_gapped_workspace_keeps_a_verified_bundle_read_only_and_enters_it(given, tmp_path):
    home = tmp_path / "elsewhere"
    workspace, _ = create_workspace(home)
    with pytest.raises(Tampered, match="none of those given"):
        import_bundle(workspace, given.file, workspace.keyring.public_keys())
    assert imported(workspace) == [] and list((home / "imported").iterdir()) == []
    for _ in range(2):
        kept = Path(import_bundle(workspace, given.file, given.keyring.public_keys())["file"])
    assert kept.read_bytes() == given.file.read_bytes() and kept.stat().st_mode & 0o777 == 0o400
    (entered,) = imported(workspace)
    assert (entered["case"], entered["bundle"], entered["is_sound"]) == (given.case, kept.stem, True)
    kept.chmod(0o600)
    kept.write_bytes(b"something else")
    assert [one["is_sound"] for one in imported(workspace)] == [False]
    with pytest.raises(BadInput, match="is no bundle"):
        import_bundle(workspace, kept, given.keyring.public_keys())
    workspace.close()


def test_the_commands_export_verify_import_and_list(given, tmp_path):
    def amends(*line, home=given.story.home, who="dora", token=None):
        environment = {"AMENDS_HOME": str(home), "AMENDS_TOKEN": token or given.story.tokens[who]}
        return CliRunner().invoke(root, [str(part) for part in line], env=environment)

    file = tmp_path / "case.zip"
    done = amends("bundle", "export", given.case, "--output", file)
    assert done.exit_code == 0 and "amends bundle verify" in done.stdout, done.stderr
    assert amends("bundle", "verify", file).exit_code == 0
    alone = amends("bundle", "verify", file, "--public-key", given.keys, home=tmp_path / "nowhere")
    assert alone.exit_code == 0 and "holds: all" in alone.stdout
    workspace, token = create_workspace(tmp_path / "elsewhere")
    workspace.close()
    there = {"home": tmp_path / "elsewhere", "token": token}
    assert "no bundle was imported yet" in amends("bundle", "list", **there).stdout
    assert amends("bundle", "import", file, **there).exit_code == 1
    assert amends("bundle", "import", file, "--public-key", given.keys, **there).exit_code == 0
    listed = json.loads(amends("bundle", "list", "--json", **there).stdout)
    assert [row["case"] for row in listed] == [given.case]
    refused = amends("bundle", "verify", tmp_path, "--public-key", given.keys)
    assert refused.exit_code == 1 and "Traceback" not in refused.stderr
