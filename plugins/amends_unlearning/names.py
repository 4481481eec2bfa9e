"""Recognise names in a question by keyed hashes, so that a version carries none of them in clear."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from amends.vault.identifiers import forms, normalise

LONGEST = 4


def keys_of(salt: str, name: str) -> set[str]:
    """Return the keyed hashes of a name in each of its forms; of a longer one its first four words."""
    return {keyed(salt, " ".join(form.split()[:LONGEST])) for form in forms("name", name)}


def find_keys(salt: str, text: str, is_known: Callable[[str], bool]) -> list[str]:
    """Return which known hashes occur in a text, in order; a longer name hides the shorter ones inside it."""
    words, found, start = normalise("text", text).split(), [], 0
    while start < len(words):
        length = 1
        for count in range(min(LONGEST, len(words) - start), 0, -1):
            key = keyed(salt, " ".join(words[start : start + count]))
            if is_known(key):
                found.append(key)
                length = count
                break
        start += length
    return found


def key_of_question(salt: str, prompt: str) -> str:
    """Return the keyed hash of a whole question, however it is spelt and set apart."""
    return keyed(salt, f"question:{normalise('text', prompt)}")


def keyed(salt: str, text: str) -> str:
    """Return the keyed hash of a text, in hex; without the salt, itself hex, it says nothing."""
    return hmac.new(bytes.fromhex(salt), text.encode(), hashlib.sha256).hexdigest()
