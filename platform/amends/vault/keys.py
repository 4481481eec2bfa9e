"""The keyring of a workspace: every secret it has, in files that only their owner can read.

::

    signing/current           the name of the key that signs now
    signing/KEYID.pem         that key, Ed25519
    public/KEYID.pem          its public half and those of every key before it
    pseudonym index suppression shards
                              32 bytes each, for keyed hashes; `suppression` outlives everything else
    vault                     32 bytes that wrap the keys of cases and lineages
    cases/ID.key lineages/NAME.key
                              wrapped keys; destroying one shreds whatever it sealed
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amends.errors import BadInput, Tampered
from amends.vault.ciphers import KEY_BYTES, new_key
from amends.vault.hashes import keyed_hash
from amends.vault.keyfiles import (
    check_private,
    check_tree,
    destroy_unfinished,
    locked,
    make_private,
    overwrite,
    sync,
    write_private,
)
from amends.vault.public import write_public_keys
from amends.vault.signers import SigningKeys
from amends.vault.wrapped import WrappedKeys

PURPOSES = ("pseudonym", "index", "suppression", "shards")
_FOLDERS = ("signing", "public", "cases", "lineages")


class Keyring:
    """The secrets of one workspace; make it with `create`, get it back with `open`."""

    def __init__(self, directory: Path, mac_keys: Mapping[str, bytes]) -> None:
        self.directory = directory
        self._mac_keys = dict(mac_keys)
        self._signing = SigningKeys(directory)
        self._cases = WrappedKeys(directory / "cases", "case")
        self._lineages = WrappedKeys(directory / "lineages", "lineage")

    def __repr__(self) -> str:
        return f"Keyring({str(self.directory)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring never leaves its process; send the one key or hash that is needed")

    @classmethod
    def create(cls, directory: Path) -> Keyring:
        """Make a keyring with fresh keys, whole or not at all.

        Raises:
            BadInput: There is something in the directory already.
        """
        if directory.exists() and any(directory.iterdir()):
            raise BadInput(f"{directory} is not empty; open the keys that are there, or name another directory")
        directory.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".keys-", dir=directory.parent))  # mkdtemp makes it 0700
        try:
            _fill(draft)
            draft.replace(directory)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        sync(directory.parent)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path) -> Keyring:
        """Open a keyring and finish what a crash interrupted.

        Raises:
            BadInput: A key is missing, or others could read it; the sentence names the file and the command.
        """
        check_private(directory)
        with locked(directory):
            for name in (*_FOLDERS, *PURPOSES, "vault", "signing/current"):
                check_private(directory / name)
            check_tree(directory)
            keyring = cls(directory, {name: _read_key(directory / name) for name in PURPOSES})
            keyring._tidy()
        return keyring

    def mac(self, purpose: str, *parts: str) -> str:
        """Return the hex HMAC-SHA256 of `parts` under a purpose's own key.

        Args:
            purpose: `pseudonym`, `index`, `suppression` or `shards`, or a use of one of them such as `index/record`;
                the same parts give unrelated results for two purposes.
            parts: Strings, framed by their lengths, so that `("ab", "c")` differs from `("a", "bc")`.

        Raises:
            BadInput: No key is for that purpose.
        """
        key = self._mac_keys.get(purpose.partition("/")[0])
        if key is None:
            raise BadInput(f"no key is for the purpose {purpose!r}; use {', '.join(PURPOSES)}, or one of them/detail")
        return keyed_hash(key, purpose, *parts)

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the private key that signs now."""
        with locked(self.directory):
            return self._signing.private()

    def public_keys(self) -> dict[str, str]:
        """Return the PEM public key of every key that ever signed, by its name."""
        return self._signing.public()

    def public_directory(self, destination: Path) -> Path:
        """Write every public key as `KEYID.pem` into `destination`, for whoever verifies without this keyring."""
        return write_public_keys(self.public_keys(), destination)

    def rotate_signing(self) -> tuple[str, str]:
        """Sign with a new key from now on; the old public key stays, the old private key is destroyed.

        Returns:
            The names of the old and the new key.
        """
        with locked(self.directory):
            old, new = self._signing.current, self._signing.renew()
            self._signing.destroy_retired()
        return old, new

    def rotate_vault(self) -> None:
        """Wrap every case's and lineage's key under a new vault key; interrupted, the next use finishes it.

        Raises:
            Tampered: A wrapped key was changed; nothing was rotated.
        """
        with self._vault() as vault:
            for keys in (self._cases, self._lineages):
                for name in keys.names():
                    keys.get(name, vault)
            write_private(self.directory / "vault.next", new_key())
            self._finish_vault()

    def new_case_key(self, case_id: str) -> bytes:
        """Return the case's key, made if there is none yet.

        Raises:
            BadInput: It was destroyed.
        """
        with self._vault() as vault:
            return self._cases.create(case_id, vault)

    def case_key(self, case_id: str) -> bytes:
        """Return the case's key.

        Raises:
            BadInput: It was destroyed or never made.
        """
        with self._vault() as vault:
            return self._cases.get(case_id, vault)

    def destroy_case_key(self, case_id: str) -> None:
        """Destroy the case's key for good; done twice, it changes nothing."""
        with locked(self.directory):
            self._cases.destroy(case_id)

    def lineage_key(self, name: str) -> bytes:
        """Return the lineage's key, made if there is none yet.

        Raises:
            BadInput: It was destroyed.
        """
        with self._vault() as vault:
            return self._lineages.create(name, vault)

    def destroy_lineage_key(self, name: str) -> None:
        """Destroy the lineage's key for good; done twice, it changes nothing."""
        with locked(self.directory):
            self._lineages.destroy(name)

    @contextmanager
    def _vault(self) -> Iterator[bytes]:
        """Hold the lock and lend the vault key, after finishing an interrupted rotation."""
        with locked(self.directory):
            self._finish_vault()
            yield _read_key(self.directory / "vault")

    def _finish_vault(self) -> None:
        current, following = self.directory / "vault", self.directory / "vault.next"
        if not following.exists():
            return
        for keys in (self._cases, self._lineages):
            keys.rewrap(_read_key(current), _read_key(following))
        with current.open("r+b") as retired:  # stays reachable through this handle when its name goes
            following.replace(current)
            sync(self.directory)
            overwrite(retired.fileno())

    def _tidy(self) -> None:
        """Destroy what a crash left: half-written files, retired private keys, keys marked as destroyed."""
        for folder in (self.directory, *(self.directory / name for name in _FOLDERS)):
            destroy_unfinished(folder)
        self._signing.destroy_retired()
        self._cases.finish_destroying()
        self._lineages.finish_destroying()
        self._finish_vault()


def _fill(directory: Path) -> None:
    """Write fresh keys of every kind into an empty private directory."""
    for folder in _FOLDERS:
        make_private(directory / folder)
    for name in (*PURPOSES, "vault"):
        write_private(directory / name, new_key())
    SigningKeys(directory).renew()


def _read_key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise Tampered(f"{path} has {len(key)} bytes and a key has {KEY_BYTES}; restore it from a backup")
    return key
