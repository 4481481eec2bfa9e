"""Check the bundle of one case, offline: with Python 3.11 or later and the package `cryptography`, without Amends.

    python verify.py BUNDLE.zip --public-key KEY.pem

BUNDLE.zip may also be the folder that it was unpacked into. KEY.pem is the operator's public key, or a folder of such
keys, got by another way than the bundle. Without it, the keys inside the bundle are used, and then a bundle only shows
that it is whole, not whose it is. The same holds for this script: a copy that came with the bundle can be compared with
one from elsewhere. One line is written for each check; the exit code is 1 where any fails.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

MANIFEST = "bundle.dsse.json"
MANIFEST_TYPE = "application/vnd.amends.bundle+json"
CHECKPOINT_TYPE = "application/vnd.amends.checkpoint+json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
MOST_BYTES = 500_000_000  # of an unpacked bundle
UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What a file that is no zip, a damaged, an encrypted, or an oddly packed one raises, by where it is so."""
APPROVED, EXPORTED = "case:plan:approved", "case:bundle:exported"
CARRIED_OUT = ("in progress", "sealed", "complete")

Files = Mapping[str, bytes]
Keys = Mapping[str, Ed25519PublicKey]


class Failed(Exception):
    """A check that does not hold, in one sentence."""


def canonical(value: Any) -> bytes:
    """Return the one byte string of a JSON value: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256(data: bytes) -> str:
    """Return a digest in hex."""
    return hashlib.sha256(data).hexdigest()


def read_keys(pems: Mapping[str, bytes]) -> dict[str, Ed25519PublicKey]:
    """Return public keys by the sha256 of their DER form, whatever their files are called."""
    keys = {}
    for name, pem in pems.items():
        try:
            key = load_pem_public_key(pem)
        except ValueError:
            raise Failed(f"{name} is no public key in PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise Failed(f"{name} is no Ed25519 key")
        keys[sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))] = key
    return keys


def opened(data: bytes, keys: Keys, kind: str) -> Any:
    """Return what a DSSE envelope holds, if its bytes are canonical and one of the keys signed it."""
    envelope = json.loads(data)
    (signature,) = envelope["signatures"]
    payload, signed = base64.b64decode(envelope["payload"]), base64.b64decode(signature["sig"])
    again = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": signature["keyid"], "sig": base64.b64encode(signed).decode()}],
    }
    if canonical(again) != data:
        raise Failed("the envelope is not written as it was signed")
    if signature["keyid"] not in keys:
        raise Failed(f"it names the key {signature['keyid'][:16]}, which is none of those given")
    try:
        keys[signature["keyid"]].verify(
            signed, b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
        )
    except InvalidSignature:
        raise Failed("the signature does not fit") from None
    return json.loads(payload)


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a path leads from a leaf's data to the root of a tree of `size` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last = hashlib.sha256(b"\x00" + leaf).digest(), size - 1
    for sibling in path:
        if last == 0:
            return False
        if index & 1 or index == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    return last == 0 and node == root


class Bundle:
    """The files of a bundle, and the checks of them; each returns what holds, or raises `Failed`."""

    def __init__(self, files: Files, keys: Keys) -> None:
        self.files, self.keys = files, keys
        self.manifest = opened(files.get(MANIFEST, b"null"), keys, MANIFEST_TYPE)

    def json(self, name: str) -> Any:
        """Return a file's JSON."""
        return json.loads(self.files[name])

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of the audit log."""
        return [json.loads(line) for line in self.files["chain/entries.jsonl"].splitlines()]

    def check_files(self) -> str:
        """Every file is the signed one, and there is none more and none less."""
        signed, here = (
            self.manifest["files"],
            {name: sha256(data) for name, data in self.files.items() if name != MANIFEST},
        )
        for name in sorted(signed.keys() | here.keys()):
            if signed.get(name) != here.get(name):
                state = "missing" if name not in here else "not signed" if name not in signed else "changed"
                raise Failed(f"{name} is {state}")
        return f"all {len(here)} files have the digests that were signed"

    def check_case(self) -> str:
        """The case is the one that the manifest is about."""
        case = self.json("case.json")
        if (case["id"], case["plan_digest"]) != (self.manifest["case"], self.manifest["plan_digest"]):
            raise Failed("case.json is about another case or plan than the manifest")
        return f"case {case['id']} ({case['kind']}) of the model {case['model']} is {case['status']}"

    def check_policies(self) -> str:
        """Every decision's policy is here, with the digest that the decision recorded."""
        for decision in self.json("decisions.json"):
            text = self.files[f"policies/{decision['policy_digest']}.yaml"]
            if not sha256(text) == decision["policy_digest"] == decision["verdict"]["policy_digest"]:
                raise Failed(f"the policy of decision {decision['id']} is not the text that judged")
        return f"{len(self.json('decisions.json'))} decisions have the policy texts that they recorded"

    def check_verdicts(self) -> str:
        """A verdict is yes exactly where no denying rule failed and nobody objected."""
        for decision in self.json("decisions.json"):
            verdict = decision["verdict"]
            failed = [answer for answer in verdict["answers"] if answer["severity"] == "deny" and not answer["passed"]]
            if verdict["allowed"] is not (not failed and not verdict["objections"]):
                raise Failed(f"the verdict of decision {decision['id']} is not what its rules answered")
        return "each verdict is what its rules answered"

    def check_readings(self) -> str:
        """The readings are those that a decision saw."""
        told = self.json("readings.json")
        seen = {decision["id"]: decision["inputs"] for decision in self.json("decisions.json")}
        if told["decision"] is None:
            return "no readings were judged"
        inputs = seen[told["decision"]]
        if (told["before"], told["after"]) != (inputs["before"], inputs["after"]):
            raise Failed(f"the readings are not those that decision {told['decision']} saw")
        return f"{len(told['after'])} readings are those that decision {told['decision']} saw"

    def check_approvals(self) -> str:
        """As many people as were needed approved this plan; none of them asked for it; the log has each approval."""
        case, given = self.json("case.json"), self.json("approvals.json")
        standing = [one for one in given if one["decision"] == "approve" and one["voided_at"] is None]
        people = {one["person"] for one in standing}
        logged = {(one["actor"], one["body"]["plan"]) for one in self.entries() if one["action"] == APPROVED}
        if len(people) != len(standing) or case["requester"] in people:
            raise Failed("somebody approved twice, or their own request")
        if any(one["plan_digest"] != case["plan_digest"] for one in standing):
            raise Failed("somebody approved another plan")
        if {(one["person"], one["plan_digest"]) for one in standing} - logged:
            raise Failed("an approval is not in the audit log")
        if case["status"] in CARRIED_OUT and len(people) < case["quorum"]:
            raise Failed(f"{case['quorum']} people had to approve, and {len(people)} did")
        return f"{len(people)} people approved the plan, {case['quorum']} were needed"

    def check_chain(self) -> str:
        """Every entry has the hash of its content, and neighbours are linked."""
        before: dict[str, Any] | None = None
        for entry in self.entries():
            content = {name: value for name, value in entry.items() if name != "hash"}
            if sha256(canonical(content)) != entry["hash"]:
                raise Failed(f"audit entry {entry['seq']} is not what was written")
            if before is not None and entry["seq"] <= before["seq"]:
                raise Failed(f"audit entry {entry['seq']} is out of order")
            if before is not None and entry["seq"] == before["seq"] + 1 and entry["previous"] != before["hash"]:
                raise Failed(f"audit entry {entry['seq']} does not follow from the one before")
            before = entry
        return f"{len(self.entries())} entries of the audit log have their hashes"

    def check_inclusion(self) -> str:
        """Every entry is under the signed root."""
        root, proofs = (
            opened(self.files["chain/checkpoint.json"], self.keys, CHECKPOINT_TYPE),
            self.json("chain/proofs.json"),
        )
        for entry in self.entries():
            path = [bytes.fromhex(node) for node in proofs[str(entry["seq"])]]
            where = (entry["seq"] - 1, root["size"], path, bytes.fromhex(root["root"]))
            if not is_included(bytes.fromhex(entry["hash"]), *where):
                raise Failed(f"audit entry {entry['seq']} is not under the signed root")
        return f"they are under the signed root of {root['size']} entries, {root['root'][:16]}"

    def check_evidence(self) -> str:
        """The log names the evidence of this bundle."""
        named = {entry["body"]["evidence"] for entry in self.entries() if entry["action"] == EXPORTED}
        if evidence_digest(self.files) not in named:
            raise Failed("the audit log does not name this evidence")
        return "the audit log names this evidence"

    def check_certificate(self) -> str:
        """The certificate is signed, about this case, and beside its page; its closing entry is in the log."""
        case = self.manifest["case"]
        name = f"certificate/{case}.dsse.json"
        if name not in self.files:
            return "no certificate was issued for this case"
        statement = opened(self.files[name], self.keys, STATEMENT_TYPE)["predicate"]
        if statement["case"]["id"] != case:
            raise Failed("the certificate is about another case")
        if sha256(self.files[f"certificate/{case}.html"]) != statement["page"]["sha256"]:
            raise Failed("the certificate's page is not the one that was signed")
        if statement["audit"]["entry"]["hash"] not in {entry["hash"] for entry in self.entries()}:
            raise Failed("the certificate's closing entry is not in the audit log")
        return f"the certificate ({statement['title']}) is signed, and its page and closing entry are here"


CHECKS: tuple[Callable[[Bundle], str], ...] = (
    Bundle.check_files,
    Bundle.check_case,
    Bundle.check_policies,
    Bundle.check_verdicts,
    Bundle.check_readings,
    Bundle.check_approvals,
    Bundle.check_chain,
    Bundle.check_inclusion,
    Bundle.check_evidence,
    Bundle.check_certificate,
)


def evidence_digest(files: Files) -> str:
    """Return the digest of what the log names: every file but the keys, this script, the chain and the manifest."""
    left_out = ("public-keys/", "chain/", "verify.py", MANIFEST)
    return sha256(canonical({name: sha256(data) for name, data in files.items() if not name.startswith(left_out)}))


def check_bundle(files: Files, keys: Keys) -> Iterator[tuple[bool, str]]:
    """Yield each check as whether it holds and a sentence; whatever cannot be read does not hold."""
    try:
        bundle = Bundle(files, keys)
    except (Failed, ValueError, KeyError, TypeError, AttributeError) as error:
        yield False, f"the manifest is not signed by these keys: {_told(error)}"
        return
    yield True, f"the manifest is signed by the key {json.loads(files[MANIFEST])['signatures'][0]['keyid'][:16]}"
    for check in CHECKS:
        try:
            yield True, check(bundle)
        except (Failed, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            yield False, f"{check.__name__.removeprefix('check_')}: {_told(error)}"


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, Failed) else "a part of it is missing or is not what was written"


def read_bundle(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle, from the zip file or the folder that it was unpacked into."""
    if path.is_dir():
        found = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
        return {name: file.read_bytes() for name, file in found.items()}
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if len(set(names)) != len(names) or sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
            raise Failed("it holds a name twice, or is larger than any bundle")
        return {name: archive.read(name) for name in names}


def enclosed_keys(files: Files) -> dict[str, bytes]:
    """Return the public keys that came with a bundle."""
    return {name: data for name, data in files.items() if name.startswith("public-keys/")}


def _given_keys(path: Path) -> dict[str, bytes]:
    files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
    return {str(file): file.read_bytes() for file in files}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a bundle, write one line for each check, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check the bundle of one case, offline.")
    parser.add_argument("bundle", type=Path, help="the zip file, or the folder that it was unpacked into")
    parser.add_argument("--public-key", type=Path, help="the operator's public key in PEM, or a folder of such keys")
    given = parser.parse_args(arguments)
    try:
        files = read_bundle(given.bundle)
        pems = enclosed_keys(files) if given.public_key is None else _given_keys(given.public_key)
        checks = list(check_bundle(files, read_keys(pems)))
    except (Failed, *UNREADABLE) as error:
        sys.stdout.write(f"FAIL  the bundle or a key cannot be read: {error}\n")
        return 1
    if given.public_key is None:
        sys.stdout.write(
            "NOTE  no key was given: those inside the bundle were used; compare them with the operator's\n"
        )
    for holds, sentence in checks:
        sys.stdout.write(f"{'ok  ' if holds else 'FAIL'}  {sentence}\n")
    return 0 if all(holds for holds, _ in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
