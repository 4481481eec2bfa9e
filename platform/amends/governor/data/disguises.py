"""People who do not exist, with identifiers of the same form as somebody's: what the somebody is compared with.

A disguise keeps what would make an identifier easy or hard to guess (its words, domain, country and area code, and
how it follows from the name) and changes what tells people apart: the name, and the second half of the digits.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator, Mapping

from amends.vault.words import plain

GIVEN = (
    "Adriana", "Aksel", "Amira", "Anselm", "Bastian", "Bruna", "Callum", "Chiara", "Dagmar", "Dario", "Elif", "Emeka",
    "Fabian", "Freya", "Gareth", "Greta", "Hana", "Henrik", "Imogen", "Ivo", "Jana", "Kofi", "Leila", "Lorenzo",
    "Maeve", "Mateus", "Nadia", "Niklas", "Odette", "Otis", "Paloma", "Pavel", "Rosalie", "Samir", "Sunniva", "Tadeo",
    "Ursula", "Viktor", "Wanda", "Yusuf",
)  # fmt: skip
SURNAMES = (
    "Abernathy", "Almeida", "Asante", "Bergstrom", "Bianchi", "Castellan", "Dalgaard", "Demir", "Dubrovny", "Egerton",
    "Falkner", "Fontaine", "Garrick", "Halloran", "Harpole", "Ilmari", "Jankowski", "Kestrel", "Kimura", "Lachance",
    "Lindqvist", "Marchetti", "Mirkwell", "Nakata", "Novotny", "Okoro", "Ostrander", "Pinckard", "Quinlan", "Rasmussen",
    "Salgado", "Solberg", "Tarrow", "Thackeray", "Ugarte", "Vantreese", "Wexford", "Winterbourne", "Yilmaz", "Zeller",
)  # fmt: skip
SHORTEST = 3  # letters of a name that is looked for inside a longer word

_PARTS = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
_TRIES = 16
Swaps = Mapping[str, str]


def names_of_nobody(words: int, avoid: Collection[str], draw: random.Random) -> Iterator[str]:
    """Yield different made-up names in random order until there are no more: of one word there are few.

    Args:
        words: Of how many words.
        avoid: Words, in plain letters, that none of them may have.
        draw: The source of randomness.
    """
    given, surnames = ([name for name in some if plain(name) not in avoid] for some in (GIVEN, SURNAMES))
    pairs = [(first, last) for first in given for last in surnames] if words > 1 else [(n,) for n in given + surnames]
    draw.shuffle(pairs)
    for first, *last in pairs:
        between = draw.sample([name for name in given if name != first], min(max(0, words - 2), len(given) - 1))
        yield " ".join([first, *between, *last])


def disguised(value: str, swaps: Swaps, draw: random.Random) -> str:
    """Return an identifier of the same form for somebody else; the same one where nothing in it tells people apart.

    Args:
        value: The identifier.
        swaps: What stands for each word of the name, in plain letters.
        draw: The source of randomness.
    """
    for _ in range(_TRIES):
        other = _once(value, swaps, draw)
        if other != value:
            break
    return other


def _once(value: str, swaps: Swaps, draw: random.Random) -> str:
    kept, parts = sum(map(str.isdecimal, value)) // 2, []
    for part in _PARTS.findall(value):
        if part[0].isdecimal():
            parts.append("".join(digit if at < kept else draw.choice("0123456789") for at, digit in enumerate(part)))
            kept -= min(kept, len(part))
        else:
            parts.append(_renamed(part, swaps) if part[0].isalpha() else part)
    return "".join(parts)


def _renamed(word: str, swaps: Swaps) -> str:
    """Put the other name's words and initials into a word that is made of this one's."""
    folded = plain(word)
    if folded in swaps:
        return _cased(swaps[folded], word)
    if len(folded) != len(word):  # written in other letters: only as a whole
        return word
    for known in sorted(swaps, key=lambda known: (-len(known), known)):
        at = folded.find(known) if len(known) >= SHORTEST else -1
        if at >= 0:
            end = at + len(known)
            inside = _cased(swaps[known], word[at:end])
            return _renamed(word[:at], swaps) + inside + _renamed(word[end:], swaps)
    initials = {known[0]: other[0] for known, other in swaps.items()}
    return _cased(initials.get(folded, word), word) if len(word) == 1 else word


def _cased(text: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return text.upper()
    return text.title() if like[:1].isupper() else text
