"""Find a person in text: for certain, or nearly, for somebody to decide. The forms themselves are in `forms`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rapidfuzz import fuzz, process

from amends.vault.forms import Family, family, forms, identity, name_forms, name_words, normalise, windows
from amends.vault.words import digits_of, emails_in, phones_in, words_of

__all__ = ["NEAR", "Finder", "Match", "find", "forms", "identity", "name_forms", "normalise", "windows"]

NEAR = 82.0
_INITIALS, _SHORTENED, _NATIONAL, _UNTAGGED, _ALONE = 95.0, 90.0, 95.0, 98.0, 85.0
_SHORTEST_SURNAME = 3
_PARTICLE = 3
_SAME_NATIONAL_DIGITS = 8
_CHUNK = 2_000


@dataclass(frozen=True)
class Match:
    """How surely a text names a person; holds nothing of the text.

    Args:
        exact: An identifier occurs, whole words, in one of its forms.
        near: The best similarity in [82, 100) if none does, else None.
        kind: The kind of identifier that matched.
        how: Why it is near: `spelling`, `initials`, `shortened`, `surname alone`, `tag`, or `national number`.
    """

    exact: bool
    near: float | None = None
    kind: str = ""
    how: str = ""


NOTHING = Match(exact=False)


def find(text: str, identifiers: Mapping[str, Sequence[str]]) -> Match:
    """Find a person in one text; for many texts make one `Finder`."""
    return Finder(identifiers).find(text)


@dataclass(frozen=True, repr=False)
class _Name:
    """A name or other words, prepared for search."""

    kind: str
    exact: tuple[str, ...]
    parts: tuple[tuple[str, float, str], ...]
    lengths: range


@dataclass(repr=False)
class Finder:
    """Finds one person in many texts."""

    identifiers: Mapping[str, Sequence[str]]
    _names: list[_Name] = field(init=False, default_factory=list)
    _emails: dict[str, str] = field(init=False, default_factory=dict)
    _phones: dict[str, str] = field(init=False, default_factory=dict)
    _nationals: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for kind, values in self.identifiers.items():
            for value in values:
                self._prepare(kind, value)

    def find(self, text: str) -> Match:
        """Say whether the text names the person."""
        words, emails = words_of(text), emails_in(text)
        phones = set(phones_in(text)) if self._phones else set()
        padded = f" {' '.join(words)} "
        return self._exact(padded, emails, phones) or self._near(padded, words, emails, phones)

    def _prepare(self, kind: str, value: str) -> None:
        exact = tuple(sorted(forms(kind, value)))
        if not exact:
            return
        match family(kind):
            case Family.EMAIL:
                self._emails.update(dict.fromkeys(exact, kind))
            case Family.PHONE:
                self._phones.update(dict.fromkeys(exact, kind))
                self._nationals[digits_of(value).lstrip("0")] = kind
            case Family.NAME:
                self._names.append(_prepared(kind, exact, name_words(value)))
            case Family.TEXT:
                self._names.append(_Name(kind, exact, (), _lengths(normalise(kind, value))))

    def _exact(self, padded: str, emails: Sequence[str], phones: set[str]) -> Match | None:
        for name in self._names:
            if any(f" {form} " in padded for form in name.exact):
                return Match(exact=True, kind=name.kind)
        for known, found in ((self._emails, emails), (self._phones, phones)):
            for value in found:
                if value in known:
                    return Match(exact=True, kind=known[value])
        return None

    def _near(self, padded: str, words: Sequence[str], emails: Sequence[str], phones: set[str]) -> Match:
        found = [NOTHING]
        for name in self._names:
            found += _near_parts(name, padded)
            found += _near_spelling(name, words)
        for known, kind in self._emails.items():
            found += (_near_email(known, kind, email) for email in emails)
        for known, kind in self._nationals.items():
            if any(_same_national(known, phone) for phone in phones):
                found.append(Match(exact=False, near=_NATIONAL, kind=kind, how="national number"))
        return max(found, key=lambda match: match.near or 0.0)


def _prepared(kind: str, exact: tuple[str, ...], words: Sequence[str]) -> _Name:
    parts: dict[str, tuple[float, str]] = {}
    for form, score, how in _near_forms(words):
        if form not in exact:
            parts.setdefault(f" {form} ", (score, how))
    ordered = sorted(((form, *found) for form, found in parts.items()), key=lambda part: (-part[1], part[0]))
    return _Name(kind, exact, tuple(ordered), _lengths(" ".join(words)))


def _near_forms(words: Sequence[str]) -> Iterator[tuple[str, float, str]]:
    """Yield what is written instead of a whole name, with its score and its reason, the best first."""
    if len(words) < 2:
        return
    *given, surname = words
    initials = [word[0] for word in given]
    for short in {initials[0], "".join(initials), " ".join(initials), " ".join([given[0], *initials[1:]])}:
        yield f"{short} {surname}", _INITIALS, "initials"
        yield f"{surname} {short}", _INITIALS, "initials"
    for other in [*(word for word in given[1:] if len(word) > _PARTICLE), surname]:
        yield f"{given[0]} {other}", _SHORTENED, "shortened"
        yield f"{other} {given[0]}", _SHORTENED, "shortened"
    yield f"{given[0]} {surname[0]}", _ALONE, "initials"
    if len(surname) >= _SHORTEST_SURNAME:
        yield surname, _ALONE, "surname alone"


def _near_parts(name: _Name, padded: str) -> Iterator[Match]:
    for part, score, how in name.parts:
        if part in padded:
            yield Match(exact=False, near=score, kind=name.kind, how=how)
            return


def _near_spelling(name: _Name, words: Sequence[str]) -> Iterator[Match]:
    """Yield the best similarity of a run of words with a form of the name, if it is near."""
    for start in range(0, len(words), _CHUNK):
        runs = _runs(words[start : start + _CHUNK + name.lengths[-1]], name.lengths)
        cutoff = NEAR
        for form in name.exact:
            best = process.extractOne(form, runs, scorer=fuzz.ratio, processor=None, score_cutoff=cutoff)
            if best is not None:
                cutoff = max(cutoff, best[1])
                yield Match(exact=False, near=min(best[1], 99.9), kind=name.kind, how="spelling")


def _runs(words: Sequence[str], lengths: range) -> list[str]:
    return [" ".join(words[start : start + length]) for length in lengths for start in range(len(words) - length + 1)]


def _lengths(normal: str) -> range:
    count = normal.count(" ") + 1
    return range(max(1, count - 1), count + 2)


def _near_email(known: str, kind: str, email: str) -> Match:
    """Compare the local parts and the domains apart, so that a shared domain alone brings nobody near."""
    local, _, domain = known.rpartition("@")
    other, _, elsewhere = email.rpartition("@")
    if domain == elsewhere and local.partition("+")[0] == other.partition("+")[0]:
        return Match(exact=False, near=_UNTAGGED, kind=kind, how="tag")
    score = min(fuzz.ratio(local, other), fuzz.ratio(domain, elsewhere))
    return Match(exact=False, near=score, kind=kind, how="spelling") if score >= NEAR else NOTHING


def _same_national(known: str, phone: str) -> bool:
    """Whether one number ends in all the other's digits but its leading zeros, as with and without a country."""
    shorter, longer = sorted((known, phone.lstrip("0")), key=len)
    return len(shorter) >= _SAME_NATIONAL_DIGITS and longer.endswith(shorter)
