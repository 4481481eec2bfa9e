"""Back a workspace up into one file, and bring it back without the people who were erased since."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from amends.errors import BadInput, Denied
from amends.governor.standstill import LOCK, standstill
from amends.governor.upkeep.archives import pack, unpack
from amends.governor.upkeep.erased import Erased, erased_of, read_erased
from amends.governor.upkeep.withholding import ACTOR, withhold
from amends.governor.workspace import Workspace
from amends.ledger import copies
from amends.ledger.actions import Action
from amends.store.digests import digest_file
from amends.store.scratch import remove
from amends.vault.keyfiles import locked

DAYS = 30
SQLITE = b"SQLite format 3\0"
LEFT_OUT = {"cache", LOCK, "blobs/staging", "blobs/quarantine"}
SIDES = ("-wal", "-shm", "-journal")


def backup(workspace: Workspace, file: Path, days: int = DAYS) -> dict[str, Any]:
    """Write everything of a workspace, its private keys too, into one file that its manifest signs.

    The copy is declared in the ledger with its expiry before it appears, so that every certificate prints it.

    Args:
        workspace: What to back up; no case may be running.
        file: A new file outside the workspace.
        days: After how many days it has to be deleted.

    Raises:
        BadInput: The file is there, lies in the workspace, or cannot be written; nothing half-written stays.
        Waiting: A case is being carried out.
    """
    actor = workspace.require_role("operator")
    file = file.expanduser().absolute()
    _check_target(workspace, file, days)
    facts = _facts(workspace, days)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with standstill(workspace), workspace.cache.scratch("backup") as scratch:
            held = _contents(workspace.home, scratch)
            digest = pack(partial, sorted(held.items()), _folders(workspace.home), facts, workspace.keyring)
        body = {"backup": facts["id"], "sha256": digest, "expires_at": facts["expires_at"], "files": len(held)}
        expires = datetime.fromisoformat(facts["expires_at"])
        with workspace.database.transaction() as connection:
            copies.declare(connection, facts["id"], "backup", digest=digest, place=str(file), expires_at=expires)
            workspace.record(connection, f"backup:{facts['id']}", Action.WORKSPACE_BACKED_UP, body, actor.id)
        partial.replace(file)
    except OSError as error:
        raise BadInput(f"{file} cannot be written ({error.strerror}); name another place") from error
    finally:
        partial.unlink(missing_ok=True)
    return {**body, "file": str(file), "bytes": file.stat().st_size, "left_out": facts["left_out"]}


def _facts(workspace: Workspace, days: int) -> dict[str, Any]:
    """Return what a manifest says beside its files."""
    now = datetime.now(UTC)
    return {
        "schema": 1,
        "id": f"b-{secrets.token_hex(5)}",
        "at": now.isoformat(),
        "expires_at": (now + timedelta(days=days)).isoformat(),
        "home": str(workspace.home),
        "left_out": _elsewhere(workspace),
    }


def _check_target(workspace: Workspace, file: Path, days: int) -> None:
    if file.exists() or file.is_symlink():
        raise BadInput(f"{file} is there already; name a new file")
    if file.resolve().is_relative_to(workspace.home.resolve()):
        raise BadInput(f"{file} lies in the workspace itself; name a place outside {workspace.home}")
    if days < 1:
        raise BadInput(f"a backup is kept for 1 day or more, not {days}")


def _elsewhere(workspace: Workspace) -> list[str]:
    """Return the settings that name a place outside the workspace, which somebody else has to back up."""
    settings = workspace.settings
    places = {name: getattr(settings, name) for name in ("database", "workflows", "mlflow", "artifacts", "blobs")}
    if settings.mlflow.startswith(("http://", "https://")):
        del places["artifacts"]
    within = str(workspace.home)
    plain = {name: place.removeprefix("sqlite:///").removeprefix("file://") for name, place in places.items()}
    return sorted(name for name, place in plain.items() if not place.startswith(within + "/"))


def _contents(home: Path, scratch: Path) -> dict[str, Path | bytes]:
    """Return what goes into a backup by name: databases first, so that every blob they name is there later.

    Keys are read into memory while nobody changes them; a file that an interrupted write left stays out.
    """
    databases = {name: _snapshot(home / name, scratch) for name in sorted(_files(home)) if _is_database(home, name)}
    held: dict[str, Path | bytes] = {name: home / name for name in _files(home) if not name.startswith("keys/")}
    with locked(home / "keys"):
        held |= {name: (home / name).read_bytes() for name in _files(home) if name.startswith("keys/")}
    return held | databases


def _files(home: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(home):
        here = Path(folder).relative_to(home)
        folders[:] = [name for name in folders if (here / name).as_posix() not in LEFT_OUT]
        for name in names:
            path = (here / name).as_posix()
            if path not in LEFT_OUT and not path.endswith((*SIDES, ".partial", ".lock")):
                yield path


def _folders(home: Path) -> list[str]:
    """Return the directories that must be there even if they are empty."""
    return ["keys", *(f"keys/{path.name}" for path in sorted((home / "keys").iterdir()) if path.is_dir())]


def _is_database(home: Path, name: str) -> bool:
    if name.startswith(("blobs/", "keys/")):
        return False
    with (home / name).open("rb") as file:
        return name.endswith(".db") or file.read(len(SQLITE)) == SQLITE


def _snapshot(source: Path, scratch: Path) -> Path:
    """Copy an SQLite database as it is at one moment, whoever writes to it, its write-ahead log included."""
    copy = scratch / f"{secrets.token_hex(8)}.db"
    with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(copy)) as kept:
        live.backup(kept)
        kept.execute("PRAGMA journal_mode = DELETE")
    return copy


def restore(file: Path, home: Path, suppressed_from: Path | None = None) -> dict[str, Any]:
    """Make a workspace from a backup, without the people who were erased after it was made.

    Args:
        file: What `backup` wrote.
        home: A new or empty directory; it appears whole or not at all.
        suppressed_from: Who knows the people that were erased since: the workspace the backup was made from, a newer
            one made from it, or a suppression list exported from either. By default the workspace is looked for
            where it was. The backup itself says that nobody was erased since.

    Raises:
        BadInput: The home is not empty, or the file is no backup.
        Denied: Nobody can be asked who was erased since.
        Tampered: The backup or the list was changed.
    """
    file, home = file.expanduser().absolute(), home.expanduser().absolute()
    if home.is_symlink() or (home.exists() and (not home.is_dir() or any(home.iterdir()))):
        raise BadInput(f"{home} is not an empty directory; name a new one")
    draft = home.with_name(f".{home.name}.{secrets.token_hex(4)}.restoring")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        facts = unpack(file, draft)
        told = _settle(draft, file, facts, suppressed_from)
        _relocate(draft, Path(facts["home"]), home)
        draft.replace(home)
    except OSError as error:
        raise BadInput(f"{home} cannot be written ({error.strerror}); name another place") from error
    finally:
        remove(draft)
    return {"home": str(home), **told}


def _settle(draft: Path, file: Path, facts: dict[str, Any], suppressed_from: Path | None) -> dict[str, Any]:
    """Keep the erased people out of a workspace that nobody sees yet, and write down that it was restored."""
    workspace = Workspace(draft)
    try:
        erased, source = _who(workspace, file, facts, suppressed_from)
        withheld = withhold(workspace, erased)
        expires = datetime.fromisoformat(facts["expires_at"])
        body = {
            "backup": facts["id"], "made_at": facts["at"], "suppressed": len(erased.identifiers), "asked": source,
            "records": withheld.records, "sealed": list(withheld.sealed),
        }  # fmt: skip
        with workspace.database.transaction() as connection:
            copies.declare(
                connection, facts["id"], "backup", digest=digest_file(file), place=str(file), expires_at=expires
            )
            id = f"restore:{facts['id']}:{secrets.token_hex(4)}"
            workspace.record(connection, id, Action.WORKSPACE_RESTORED, body, ACTOR)
    finally:
        workspace.close()
    sentences = list(withheld.sentences)
    if expires < datetime.now(UTC):
        sentences.append(f"the backup should have been deleted on {expires:%Y-%m-%d}; delete {file} now")
    if facts["left_out"]:
        sentences.append(f"not in the backup and used where they are: {', '.join(facts['left_out'])}")
    return {**body, "datasets": list(withheld.datasets), "left_out": facts["left_out"], "sentences": sentences}


def _who(workspace: Workspace, file: Path, facts: dict[str, Any], given: Path | None) -> tuple[Erased, str]:
    """Return who must not come back: whoever the backup knows of, and whoever was erased since."""
    own, origin = erased_of(workspace), Path(facts["home"])
    if given is not None and given.exists() and given.samefile(file):
        return own, "nobody"
    if given is None and not (origin / "keys").is_dir():
        raise Denied(
            f"the workspace of this backup is not at {origin} any more, so nobody knows who was erased since "
            f"{facts['at'][:10]}; name a newer workspace or an exported suppression list, or the backup itself "
            "if nobody was erased since"
        )
    since = read_erased(given or origin, workspace.keyring)
    return own + since, "a workspace" if (given or origin).is_dir() else "a suppression list"


def _relocate(draft: Path, old: Path, new: Path) -> None:
    """Rewrite where MLflow says that its artifacts lie; it keeps absolute addresses."""
    for database in sorted(draft.glob("*.db")):
        with closing(sqlite3.connect(database)) as connection, connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            names = {name for (name,) in tables}
            wanted = sorted(names) if "alembic_version" in names else ["versions"] if "versions" in names else []
            for table in wanted:
                for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                    _rewrite(connection, table, before, after)


def _rewrite(connection: sqlite3.Connection, table: str, before: str, after: str) -> None:
    for column in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
        name = f'"{column[1]}"'
        connection.execute(
            f'UPDATE "{table}" SET {name} = ? || substr({name}, ?) '
            f"WHERE typeof({name}) = 'text' AND substr({name}, 1, ?) = ?",
            (after, len(before) + 1, len(before) + 1, f"{before}/"),
        )
