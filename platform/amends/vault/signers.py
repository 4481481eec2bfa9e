"""The signing keys of a workspace: one that signs now, and the public halves of all that ever did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from amends.errors import Tampered
from amends.vault.keyfiles import check_private, destroy, write_private
from amends.vault.public import keyid_of, pem_of, read_public_keys


@dataclass(frozen=True)
class SigningKeys:
    """`signing/KEYID.pem` and `signing/current`, `public/KEYID.pem`; whoever calls holds the keyring's lock."""

    directory: Path

    @property
    def current(self) -> str:
        """The name of the key that signs now."""
        return (self.directory / "signing" / "current").read_text(encoding="ascii").strip()

    def private(self) -> Ed25519PrivateKey:
        """Return the key that signs now.

        Raises:
            Tampered: Its file holds another key.
        """
        file = self._private_file(self.current)
        key = load_pem_private_key(file.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey) or keyid_of(key.public_key()) != file.stem:
            raise Tampered(f"{file} is not the key that its name says; restore it from a backup")
        return key

    def public(self) -> dict[str, str]:
        """Return the PEM public key of every key that ever signed, by its name."""
        return read_public_keys(self.directory / "public")

    def renew(self) -> str:
        """Let a fresh key sign from now on and return its name; a crash leaves either the old one or the new one."""
        key = Ed25519PrivateKey.generate()
        name = keyid_of(key.public_key())
        write_private(self.directory / "public" / f"{name}.pem", pem_of(key.public_key()).encode())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(self._private_file(name), pem)
        write_private(self.directory / "signing" / "current", name.encode())
        return name

    def destroy_retired(self) -> None:
        """Destroy every private key but the one that signs now.

        Raises:
            BadInput: That one is missing; nothing was destroyed.
        """
        kept = self._private_file(self.current)
        check_private(kept)
        for file in (self.directory / "signing").glob("*.pem"):
            if file != kept:
                destroy(file)

    def _private_file(self, keyid: str) -> Path:
        return self.directory / "signing" / f"{keyid}.pem"
