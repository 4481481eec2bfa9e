"""Reduce text to what a person's spelling leaves unchanged: plain words, e-mail addresses, telephone numbers.

Everything here is linear in the length of the text, so that a hostile record cannot stall a search.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from anyascii import anyascii

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_GREEK_OU = re.compile("ο[υύὺῦ]")  # transliterated as one sound, which a table of single letters cannot know
_SYLLABLE = re.compile("([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af])")  # no spaces between words
_POSSESSIVE = re.compile(r"(?<=\w)'s\b")
_WORD = re.compile("[a-z0-9]+")
_LOCAL = r"\w.!#$%&'*+/=?^`{|}~-"
_EMAIL = re.compile(rf"(?<![{_LOCAL}])[{_LOCAL}]{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,8}}")
_DIGITS = re.compile(r"\d+")
_SEPARATOR = re.compile(r"[\s().\-/]{1,3}")
_TRUNK = re.compile(r"(\d)\s*\(0\)")
_FEWEST_DIGITS, _MOST_DIGITS, _MOST_GROUPS = 7, 15, 7


def plain(text: str) -> str:
    """Return text in lower-case ASCII: NFKC, casefold, transliterated; marks that nobody sees are dropped."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
        text = anyascii(_SYLLABLE.sub(r" \1 ", _GREEK_OU.sub("ou", text)))
    return text.lower()


def words_of(text: str) -> list[str]:
    """Return the words of a text in order, without punctuation, accents, apostrophes or a possessive's 's."""
    text = plain(text)
    if "'" in text or "`" in text:
        text = _POSSESSIVE.sub("", text.replace("`", "'")).replace("'", "")
    return _WORD.findall(text)


def emails_in(text: str) -> list[str]:
    """Return the e-mail addresses of a text in order, in lower case, with their tags."""
    if "@" not in text and "＠" not in text:
        return []
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return [found.strip("'`*._{|}").removeprefix("mailto:") for found in _EMAIL.findall(folded)]


def digits_of(number: str) -> str:
    """Return a telephone number's digits, without a leading `+` or `00` and without a `(0)` after the country.

    Fewer than seven digits are no number that could name somebody: the answer is empty.
    """
    digits = re.sub(r"\D", "", _TRUNK.sub(r"\1", plain(number))).removeprefix("00")
    return digits if len(digits) >= _FEWEST_DIGITS else ""


def phones_in(text: str) -> Iterator[str]:
    """Yield every run of digit groups that may be a telephone number, as digits.

    Neighbouring groups are joined in every way, since a number may stand beside another one.
    """
    run: list[str] = []
    end = 0
    text = _TRUNK.sub(r"\1", plain(text))
    for group in _DIGITS.finditer(text):
        if run and not _SEPARATOR.fullmatch(text, end, group.start()):
            yield from _joined(run)
            run = []
        run.append(group.group())
        end = group.end()
    yield from _joined(run)


def _joined(groups: list[str]) -> Iterator[str]:
    for start in range(len(groups)):
        digits = ""
        for group in groups[start : start + _MOST_GROUPS]:
            digits += group
            if len(digits) > _MOST_DIGITS + 2:
                break
            number = digits.removeprefix("00")
            if _FEWEST_DIGITS <= len(number) <= _MOST_DIGITS:
                yield number
