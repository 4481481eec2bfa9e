"""Whether passages name one person, asked of many of them: a cheap test first, the platform's finder where it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from amends import Disclosure
from amends.vault.identifiers import Finder, forms, normalise
from amends.vault.words import plain
from amends_rag.chunking import Passage

_LAST_DIGITS = 6
_NO_DIGIT = re.compile(r"\D+")


class Sought:
    """One person who is looked for.

    Args:
        disclosure: Their identifiers, in memory.
        pseudonyms: Under which the index of the workspace knows them.
    """

    def __init__(self, disclosure: Disclosure, pseudonyms: Iterable[str] = ()) -> None:
        self.finder = Finder(disclosure.identifiers)
        self.pseudonyms = {disclosure.subject.pseudonym, *pseudonyms}
        self._words, self._digits, self._has_mail = _signs(disclosure)

    def named_in(self, text: str) -> bool:
        """Whether a text names the person for certain."""
        return self._may_name(text) and self.finder.find(text).exact

    def holds(self, passage: Passage) -> bool:
        """Whether a passage is about the person, names them, or is of a document whose name does."""
        return bool(self.pseudonyms.intersection(passage.subjects)) or self.named_in(
            f"{passage.text}\n{passage.document}"
        )

    def among(self, passages: Iterable[Passage]) -> Iterator[int]:
        """Yield the places of the passages that hold the person."""
        return (place for place, passage in enumerate(passages) if self.holds(passage))

    def _may_name(self, text: str) -> bool:
        if self._has_mail and "@" in text:
            return True
        low = plain(text).replace("'", "").replace("`", "")
        if any(word in low for word in self._words):
            return True
        return bool(self._digits) and any(tail in _NO_DIGIT.sub("", low) for tail in self._digits)


def _signs(disclosure: Disclosure) -> tuple[set[str], set[str], bool]:
    """Return words, ends of numbers and whether there are e-mail addresses: no text names the person without one."""
    words: set[str] = set()
    digits: set[str] = set()
    has_mail = False
    for kind, values in disclosure.identifiers.items():
        for form in (form for value in values for form in forms(kind, value)):
            if "@" in form:
                has_mail = True
            elif form.isdigit() and form == normalise(kind, form):
                digits.add(form[-_LAST_DIGITS:])
            else:
                words.add(max(form.split(), key=len))
    return words, digits, has_mail
