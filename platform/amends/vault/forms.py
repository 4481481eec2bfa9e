"""What people are called, however it is written: one normal form, and the forms that mean the same.

An e-mail address keeps its tag (`ada+news@…`): two people may share a mailbox, so a tag alone never makes two
addresses one; `amends.vault.identifiers.find` reports the untagged address as a near miss instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import permutations

from amends.vault.words import digits_of, emails_in, phones_in, plain, words_of

_TITLES = frozenset(
    ("mr", "mrs", "ms", "miss", "mx", "dr", "prof", "professor", "sir", "dame", "lord", "lady", "herr", "frau")
)
_APOSTROPHES = str.maketrans("'’ʼ`´‘", "      ")
_HYPHENS = str.maketrans("", "", "-‐‑–")
_MOST_PERMUTED = 3
_COUNTRY_CODE_LENGTHS = (1, 2, 3)
_FEWEST_NATIONAL_DIGITS = 7


class Family(StrEnum):
    """How values of a kind are compared."""

    NAME = "name"
    EMAIL = "email"
    PHONE = "phone"
    TEXT = "text"


def family(kind: str) -> Family:
    """Return how a kind is compared: `work_email` as an e-mail address, `person` as a name, `address` as text."""
    kind = kind.casefold()
    if "mail" in kind:
        return Family.EMAIL
    if any(word in kind for word in ("phone", "mobile", "fax")) or kind == "tel":
        return Family.PHONE
    return Family.NAME if "name" in kind or kind == "person" else Family.TEXT


def normalise(kind: str, value: str) -> str:
    """Return the readable normal form of an identifier, empty if nothing of it is left.

    Case, accents, script, punctuation and white space make no difference. `Lovelace, Ada` is read as `Ada Lovelace`;
    titles are dropped. An e-mail address keeps its tag; a telephone number is its digits without `+` or `00`. What has
    no `@`, or fewer than seven digits, is neither: `n/a` in a column of numbers must not name everybody.
    """
    match family(kind):
        case Family.EMAIL:
            return next(iter(emails_in(value)), "")
        case Family.PHONE:
            return digits_of(value)
        case Family.NAME:
            return " ".join(name_words(value))
        case Family.TEXT:
            return " ".join(words_of(value))


def identity(kind: str, value: str) -> str:
    """Return the form by which two identifiers of a kind are the same: as `normalise`, with a name's words sorted."""
    normal = normalise(kind, value)
    return " ".join(sorted(normal.split())) if family(kind) is Family.NAME else normal


def forms(kind: str, value: str) -> frozenset[str]:
    """Return every normalised form that means the same identifier; whichever occurs, it is an exact match."""
    match family(kind):
        case Family.NAME:
            return name_forms(value)
        case Family.PHONE:
            return phone_forms(value)
        case _:
            return frozenset({normalise(kind, value)} - {""})


def name_words(value: str) -> list[str]:
    """Return a name's words, given names first, without titles; the last one is taken for the surname."""
    surname, comma, given = value.partition(",")
    words = words_of(f"{given} {surname}" if comma else value)
    return [word for word in words if word not in _TITLES] or words


def name_forms(value: str) -> frozenset[str]:
    """Return the forms of a name: any order of its words, hyphens and apostrophes as a gap or as nothing.

    An initial, a missing middle name or another spelling is a near miss, never a form. A name of more than three
    words is taken in its rotations, reversed and sorted only.
    """
    spellings = {value, value.translate(_APOSTROPHES), value.translate(_HYPHENS)}
    return frozenset(" ".join(order) for spelling in spellings for order in _orders(name_words(spelling)))


def phone_forms(value: str) -> frozenset[str]:
    """Return the forms of a telephone number: its digits, and how they are dialled inside the country.

    The country's code may have one to three digits, so an international number has a few national forms (with the
    trunk prefix 0; in North America without). A number given without its country has one form only.
    """
    digits = digits_of(value)
    found = {digits}
    if plain(value).strip().startswith(("+", "00")):
        nationals = {digits[length:] for length in _COUNTRY_CODE_LENGTHS}
        found |= {f"0{rest}" for rest in nationals if len(rest) >= _FEWEST_NATIONAL_DIGITS}
        if digits.startswith("1") and len(digits) == 11:
            found.add(digits[1:])
    return frozenset(found - {""})


def windows(text: str, longest: int = 4) -> Iterator[str]:
    """Yield the normalised word n-grams of a text up to `longest` words, its e-mail addresses and its numbers.

    An identifier occurs in the text when one of its `forms` is among them; hashed with a key, they find a person in a
    table of hashes that names nobody.
    """
    words = words_of(text)
    for start in range(len(words)):
        for end in range(start + 1, min(start + longest, len(words)) + 1):
            yield " ".join(words[start:end])
    yield from emails_in(text)
    yield from phones_in(text)


def _orders(words: list[str]) -> Iterator[tuple[str, ...]]:
    if not words:
        return
    if len(words) <= _MOST_PERMUTED:
        yield from permutations(words)
        return
    yield from (tuple(words[turn:] + words[:turn]) for turn in range(len(words)))
    yield tuple(reversed(words))
    yield tuple(sorted(words))
