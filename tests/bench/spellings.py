"""How else a person may be written, by what makes it another way; what has no such form is left out."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator
from typing import Any

from anyascii import anyascii

MENTION = "third-party mention"
ADDED = str.maketrans("aeiouncszAEIOUNCSZ", "àéíôüñçšžÀÉÍÔÜÑÇŠŽ")
GERMAN = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "ß": "ss", "æ": "ae"}
CYRILLIC = dict(zip("abcdefghijklmnopqrstuvwyz", "абцдефгхийклмнопкрстуввыз", strict=True)) | {"x": "кс"}
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def spellings(person: Any, seed: int) -> Iterator[tuple[str, str]]:
    """Yield (what differs, the person so written) for a person's name, e-mail address and phone number."""
    for kind, text in (*_names(person.name, seed), *_emails(person.email), *_phones(person.phone)):
        if text and (kind == MENTION or text not in (person.name, person.email, person.phone)):
            yield kind, text


def _names(name: str, seed: int) -> Iterator[tuple[str, str]]:
    given, _, surname = name.partition(" ")
    yield MENTION, name
    yield from (("case", text) for text in (name.upper(), name.lower(), name.swapcase()))
    yield "accents", anyascii(name) if not name.isascii() else ""
    yield "accents", unicodedata.normalize("NFD", name) if not name.isascii() else ""
    yield "accents", name.translate(ADDED)
    yield "transliteration", _by(GERMAN, name.lower()).title() if set(name.lower()) & set(GERMAN) else ""
    yield "transliteration", _by(CYRILLIC, anyascii(name).lower()).title()
    yield "transliteration", name.translate(WIDE)
    yield from (("reversed order", text) for text in (f"{surname}, {given}", f"{surname} {given}"))
    yield from (("hyphens", text) for text in (f"{given}-{surname}", *_hyphens(name)))
    yield from (("possessive", f"{name}{mark}") for mark in ("'s", "’s", "'"))
    yield from (("broken lines", text) for text in (f"{given}\n  {surname}", f"{given}\u00a0{surname}"))
    yield from (("initials", text) for text in (f"{given[0]}. {surname}", f"{surname}, {given[0]}."))
    yield from (("one letter wrong", _mistyped(name, random.Random(f"{seed}:{name}:{n}"))) for n in range(2))


def _hyphens(name: str) -> tuple[str, ...]:
    return (name.replace("-", " "), name.replace("-", ""), name.replace("-", "‐")) if "-" in name else ()


def _emails(email: str) -> Iterator[tuple[str, str]]:
    local, _, domain = email.partition("@")
    yield from (("e-mail case", text) for text in (email.upper(), f"{local.title()}@{domain}", f"<mailto:{email}>"))
    yield "e-mail tag", f"{local}+news@{domain}"


def _phones(phone: str) -> Iterator[tuple[str, str]]:
    digits = "".join(letter for letter in phone if letter.isdigit())
    yield from (("phone format", text) for text in (phone.replace(" ", "-"), phone.replace(" ", "."), digits))
    if phone.startswith("+1"):
        area, rest = digits[1:4], digits[4:]
        written = (f"({area}) {rest[:3]}-{rest[3:]}", f"001 {area} {rest[:3]} {rest[3:]}", f"1-{area}-{rest}")
    else:
        written = (f"+44 {phone[1:]}", f"0044{digits[1:]}", f"({phone[:3]}) {phone[4:]}")
    yield from (("phone format", text) for text in written)


def _by(table: dict[str, str], text: str) -> str:
    return "".join(table.get(letter, letter) for letter in text)


def _mistyped(name: str, draw: random.Random) -> str:
    """Drop, double, or swap a letter inside a word."""
    place = draw.choice([i for i in range(1, len(name) - 2) if name[i].isalpha() and name[i + 1].isalpha()])
    before, here, after = name[:place], name[place : place + 2], name[place + 2 :]
    return before + draw.choice((here[0], here[0] + here, here[::-1] if here[0] != here[1] else here[0])) + after
