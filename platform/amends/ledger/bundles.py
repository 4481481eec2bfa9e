"""The audit log as one file that anyone can check offline, with nothing but a public key."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from amends.errors import BadInput, Tampered
from amends.ledger import audit, checkpoints
from amends.ledger.checkpoints import Checkpoint
from amends.records import AuditEntry, canonical_json

ENTRIES, CHECKPOINTS, KEYS = "entries.jsonl", "checkpoints.jsonl", "public-keys"
_Line = TypeVar("_Line", AuditEntry, Checkpoint)


@dataclass(frozen=True)
class BundleReport:
    """What a bundle was found to hold: all of it chained, the first `signed` entries under a signed root."""

    entries: int
    checkpoints: int
    signed: int
    root: str


def export_bundle(connection: Connection, path: Path, public_keys: Mapping[str, str]) -> BundleReport:
    """Write the log, its checkpoints and the public keys as a zip file, whole or not at all.

    The keys are there to be compared: a verifier uses those it got by another way.

    Raises:
        BadInput: Nothing is signed yet.
        Tampered: The log is not what was signed.
    """
    last = checkpoints.latest(connection)
    if last is None:
        raise BadInput("nothing of the audit log is signed yet; sign a checkpoint first")
    count = checkpoints.verify_checkpoints(connection, public_keys)
    draft = Path(tempfile.mkstemp(prefix=".bundle-", dir=path.parent)[1])
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as bundle:
            _write(bundle, ENTRIES, (asdict(entry) for entry in audit.entries(connection)))
            _write(bundle, CHECKPOINTS, (asdict(made) for made in checkpoints.every(connection)))
            for keyid, pem in sorted(public_keys.items()):
                bundle.writestr(f"{KEYS}/{keyid}.pem", pem)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return BundleReport(audit.head(connection)[0], count, last.size, last.root)


def verify_bundle(path: Path, public_keys: Mapping[str, str]) -> BundleReport:
    """Check a bundle with public keys that were got by another way; needs neither database nor network.

    Raises:
        BadInput: The file is no bundle.
        Tampered: An entry or a checkpoint was changed, removed or inserted, or nothing is signed.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            entries, signed = list(_read(bundle, ENTRIES, AuditEntry)), list(_read(bundle, CHECKPOINTS, Checkpoint))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path.name} is no audit bundle; write one with amends audit export") from error
    audit.check_links(iter(entries))
    checkpoints.check_signed(entries, signed, public_keys)
    if not signed:
        raise Tampered(f"{path.name} holds no signed checkpoint, so it proves nothing; export it again")
    return BundleReport(len(entries), len(signed), signed[-1].size, signed[-1].root)


def _write(bundle: zipfile.ZipFile, name: str, rows: Iterator[dict[str, Any]]) -> None:
    with bundle.open(name, "w", force_zip64=True) as lines:
        for row in rows:
            lines.write(canonical_json(row) + b"\n")


def _read(bundle: zipfile.ZipFile, name: str, kind: type[_Line]) -> Iterator[_Line]:
    with bundle.open(name) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield kind(**json.loads(line))
            except (TypeError, ValueError):
                raise Tampered(f"{name}, line {number} of the bundle is not what was written; get it again") from None
