"""Name people by keyed hashes: pseudonyms, an index that finds them, and a list that keeps the erased away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amends.errors import BadInput
from amends.vault.forms import Family, family, forms, identity, windows
from amends.vault.keys import Keyring

Identifiers = Mapping[str, Sequence[str]]

LONGEST = 4
_PRIMARY = (Family.NAME, Family.EMAIL, Family.PHONE, Family.TEXT)
_PSEUDONYM_DIGITS = 24


def primary(identifiers: Identifiers) -> str:
    """Return the form of the identifier that names the person everywhere.

    It is the first value of `person` if there is one, else of a name, an e-mail address, a telephone number, or
    anything else, so that a person whom another's record mentions by name gets the same pseudonym as in their own.

    Raises:
        BadInput: No identifier has a letter or a digit.
    """
    ranked = sorted(identifiers, key=lambda kind: (kind != "person", _PRIMARY.index(family(kind)), kind))
    for kind in ranked:
        for value in identifiers[kind]:
            if found := identity(kind, value):
                return found
    raise BadInput("a data subject needs an identifier with a letter or a digit; give a name, e-mail address or number")


def pseudonym(keyring: Keyring, identifiers: Identifiers) -> str:
    """Return the subject's pseudonym: `s_` and 24 hex digits that only this keyring can compute.

    Raises:
        BadInput: No identifier has a letter or a digit.
    """
    return f"s_{keyring.mac('pseudonym', primary(identifiers))[:_PSEUDONYM_DIGITS]}"


def index_entries(keyring: Keyring, identifiers: Identifiers) -> list[tuple[str, str]]:
    """Return (kind, hash) for every form of every identifier, for the index that locates a subject."""
    return _entries(keyring, "index", identifiers)


def suppression_entries(keyring: Keyring, identifiers: Identifiers) -> list[tuple[str, str]]:
    """Return (kind, hash) under the suppression key, which outlives case and data; the kind tells how sure a hit is."""
    return _entries(keyring, "suppression", identifiers)


def text_macs(keyring: Keyring, purpose: str, text: str) -> set[str]:
    """Return the hashes of every window of a text; a table of entries with one of them names somebody in it.

    Args:
        keyring: The keys that made the table.
        purpose: `index` or `suppression`, as the table.
        text: Free text, or one identifier of a row.
    """
    return {keyring.mac(purpose, window) for window in set(windows(text, LONGEST))}


def _entries(keyring: Keyring, purpose: str, identifiers: Identifiers) -> list[tuple[str, str]]:
    found = {
        (kind, keyring.mac(purpose, _cut(form)))
        for kind, values in identifiers.items()
        for value in values
        for form in forms(kind, value)
    }
    return sorted(found)


def _cut(form: str) -> str:
    """Return the words of a form that the longest window can hold: a longer name is found by its beginning."""
    return " ".join(form.split()[:LONGEST])
