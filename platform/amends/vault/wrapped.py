"""Keys that can be destroyed one by one: each random, in a file of its own, wrapped under the vault key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from amends.errors import BadInput, Tampered
from amends.vault.ciphers import new_key, seal, unseal
from amends.vault.keyfiles import destroy, write_private

_KEY = ".key"
_DESTROYED = ".destroyed"
_LONGEST = 200


@dataclass(frozen=True)
class WrappedKeys:
    """The keys of one kind of thing; whoever calls holds the keyring's lock.

    A destroyed key leaves a mark, so that a resumed step cannot quietly make a new one under its name.

    Args:
        directory: Where the files lie.
        noun: What a key belongs to, for sentences and as part of the sealing context.
    """

    directory: Path
    noun: str

    def create(self, name: str, vault: bytes) -> bytes:
        """Return the key of that name, made at random if there is none yet.

        Raises:
            BadInput: It was destroyed, or the name cannot be a file's.
        """
        self._refuse_destroyed(name)
        if not self._file(name, _KEY).exists():
            write_private(self._file(name, _KEY), seal(vault, new_key(), self._context(name)))
        return self.get(name, vault)

    def get(self, name: str, vault: bytes) -> bytes:
        """Return the key of that name.

        Raises:
            BadInput: It was destroyed or never made.
            Tampered: Its file was changed.
        """
        self._refuse_destroyed(name)
        try:
            blob = self._file(name, _KEY).read_bytes()
        except FileNotFoundError:
            raise BadInput(f"{self.noun} {name} has no key here; make it, or restore the keys from a backup") from None
        return unseal(vault, blob, self._context(name))

    def destroy(self, name: str) -> None:
        """Overwrite and unlink the key, and leave a mark; done twice, it changes nothing."""
        if not self._file(name, _DESTROYED).exists():
            write_private(self._file(name, _DESTROYED), b"")
        destroy(self._file(name, _KEY))

    def finish_destroying(self) -> None:
        """Destroy every key that is marked as destroyed and still there."""
        for mark in self.directory.glob(f"*{_DESTROYED}"):
            destroy(mark.with_name(mark.name.removesuffix(_DESTROYED) + _KEY))

    def names(self) -> Iterator[str]:
        """Yield the name of every key there is, in order."""
        for file in sorted(self.directory.glob(f"*{_KEY}")):
            yield unquote(file.name.removesuffix(_KEY))

    def rewrap(self, old: bytes, new: bytes) -> None:
        """Wrap every key under `new`; a key that already is stays as it is, so that this can be resumed."""
        for name in self.names():
            try:
                self.get(name, new)
            except Tampered:
                write_private(self._file(name, _KEY), seal(new, self.get(name, old), self._context(name)))

    def _refuse_destroyed(self, name: str) -> None:
        if self._file(name, _DESTROYED).exists():
            raise BadInput(f"the key of {self.noun} {name} was destroyed; what it sealed can never be read again")

    def _file(self, name: str, ending: str) -> Path:
        quoted = quote(name, safe="")
        if not 0 < len(quoted) <= _LONGEST:
            raise BadInput(f"a {self.noun}'s name of {len(name)} characters cannot name a key; use 1 to {_LONGEST}")
        return self.directory / f"{quoted}{ending}"

    def _context(self, name: str) -> str:
        return f"key of {self.noun} {name}"
