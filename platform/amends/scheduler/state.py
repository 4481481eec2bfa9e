"""The lineage's state as a task sees it: blobs that leave this process only sealed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from amends.errors import BadInput
from amends.store import Blobs
from amends.vault.ciphers import seal, unseal

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,199}")


class SealedState:
    """Named blobs, sealed with AES-256-GCM under the lineage's key; `digests` says what there is now."""

    def __init__(self, blobs: Blobs, digests: Mapping[str, str], key: str) -> None:
        self.digests = dict(digests)
        self._blobs = blobs
        self._key = bytes.fromhex(key)

    def __repr__(self) -> str:
        return f"SealedState({', '.join(self.names())})"

    def names(self) -> tuple[str, ...]:
        """Return the names of the blobs, sorted."""
        return tuple(sorted(self.digests))

    def get(self, name: str) -> bytes:
        """Return one blob's bytes; `KeyError` if there is none."""
        return unseal(self._checked_key(), self._blobs.get(self.digests[name]), f"state:{name}")

    def put(self, name: str, data: bytes) -> None:
        """Seal a blob and keep it under a name, replacing an earlier one."""
        if not _NAME.fullmatch(name):
            raise BadInput(f"{name[:80]!r} is not a name for state; use letters, digits and ._/-")
        self.digests[name] = self._blobs.put_bytes(seal(self._checked_key(), data, f"state:{name}"))

    def drop(self, name: str) -> None:
        """Forget a blob; its bytes go when the governor purges what no state names."""
        self.digests.pop(name, None)

    def _checked_key(self) -> bytes:
        if not self._key:
            raise BadInput("this job may keep no state: it came without its lineage's key; give the job one")
        return self._key
