"""The ways one piece of text can be written in bytes: encodings, escapes, spellings and alignments."""

from __future__ import annotations

import base64
import html
import json
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

DIGITS = 9  # a phone number's bare digits are searched from this length on: shorter ones are met by chance


def spellings(kind: str, value: str) -> tuple[str, ...]:
    """Return the spellings of an identifier that software commonly makes of it, each once.

    Args:
        kind: What it is: `name`, `email`, `phone` or another word.
        value: As the subject gave it.
    """
    found = {value: None}
    for text in (*_by_kind(kind, value), *_by_kind(kind, _plain(value))):
        for cased in (text, text.lower(), text.upper(), text.title(), text.casefold()):
            for form in ("NFC", "NFD"):
                found[unicodedata.normalize(form, cased)] = None
    return tuple(text for text in found if text.strip())


def writings(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield `(form, bytes)` for every way a text may stand in a file; some are alike."""
    data = encoded(text)
    yield "utf-8", data
    yield "utf-16", encoded(text, "utf-16-le")
    yield from _escaped(text)
    yield "hex", data.hex().encode()
    yield "hex", data.hex().upper().encode()
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield "base64", aligned(data, shift, encode)


def encoded(text: str, encoding: str = "utf-8") -> bytes:
    """Return a text's bytes; half a surrogate pair, which JSON can carry, is kept as it is."""
    return text.encode(encoding, "surrogatepass")


def aligned(data: bytes, shift: int, encode: Callable[[bytes], bytes] = base64.b64encode) -> bytes:
    """Return the base64 characters that depend on `data` alone when `shift` bytes stand before it."""
    coded = encode(b"\0" * shift + data)
    first = -(-shift * 8 // 6)
    last = (shift + len(data)) * 8 // 6
    return coded[first:last]


def _escaped(text: str) -> Iterator[tuple[str, bytes]]:
    ascii_only = json.dumps(text)[1:-1]
    yield "json", ascii_only.encode()
    yield "json", encoded(json.dumps(text, ensure_ascii=False)[1:-1])
    yield "json in json", json.dumps(ascii_only)[1:-1].encode()
    yield "python", text.encode("unicode_escape")
    data = encoded(text)
    for coded in (quote(data, safe=""), quote(data), quote_plus(data), quote(data, safe="@+")):
        yield "url", coded.encode()
        yield "url", _lower_hex(coded).encode()
    yield "html", encoded(html.escape(text))
    yield "html", text.encode("ascii", "xmlcharrefreplace")
    yield "sql", encoded(text.replace("'", "''"))


def _lower_hex(coded: str) -> str:
    """Return a percent-coded text with its hexadecimal digits in lower case."""
    head, *rest = coded.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _by_kind(kind: str, value: str) -> Iterator[str]:
    yield value
    words = value.split()
    if kind == "phone":
        compact = "".join(letter for letter in value if letter.isdigit() or letter == "+")
        yield compact
        if len(compact.lstrip("+")) >= DIGITS:
            yield compact.lstrip("+")
    elif kind == "name" and len(words) > 1:
        yield f"{words[-1]}, {' '.join(words[:-1])}"
        for joint in ("_", "-", ".", "+", ""):
            yield joint.join(words)


def _plain(value: str) -> str:
    from anyascii import anyascii

    return str(anyascii(value))
