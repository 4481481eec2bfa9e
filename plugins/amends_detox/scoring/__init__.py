"""Scorers of toxicity: a seam that anybody can join, and the ones that are built in."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from amends import BadInput

GROUP = "amends_detox.scorers"
"""The entry-point group: a name, and a callable without arguments that returns a `ToxicityScorer`."""

BUILT_IN = {
    "minilm": "minilm:open_minilm",
    "lexical": "lexical:open_lexical",
    "ensemble": "ensemble:open_ensemble",
    "detoxify": "adapter:open_detoxify",
    "judge-model": "asked:open_judge_model",
}
"""Scorers of this package: a module here and its callable, which takes what follows the colon in `name:argument`."""

SEARCHER, JUDGE = "minilm", "ensemble"
"""What a search looks through, and what judges its result: never the same, or the search would learn the judge."""


@runtime_checkable
class ToxicityScorer(Protocol):
    """Says how toxic texts are.

    Args:
        name: Its name, as policies and readings tell it.
        version: Changes with everything that changes a score: code, weights, words. Readings are compared only where
            both agree.
        attributes: What it scores, the first of them `toxicity`.
        licence: An SPDX identifier, or a sentence.
    """

    name: str
    version: str
    attributes: tuple[str, ...]
    licence: str

    def score(self, texts: Sequence[str]) -> Any:
        """Return scores in [0, 1], an array of shape (texts, attributes)."""


def identity(scorer: ToxicityScorer) -> str:
    """Return what a reading says of its scorer: `name@version`."""
    return f"{scorer.name}@{scorer.version}"


def names() -> list[str]:
    """Return the names of all scorers: the built-in ones, and those that others offer under `GROUP`."""
    return [*BUILT_IN, *sorted(set(_offered()) - set(BUILT_IN))]


def find(name: str) -> ToxicityScorer:
    """Return a scorer by its name.

    Args:
        name: As `names` lists it; a built-in one may be followed by a colon and what it is opened with, such as the
            directory of a head that `amends detox fit-scorer` wrote: `minilm:heads/mine`.

    Raises:
        BadInput: There is none of that name, or it cannot be used.
    """
    plain, _, argument = name.partition(":")
    if plain in BUILT_IN:
        module, _, function = BUILT_IN[plain].partition(":")
        scorer = getattr(importlib.import_module(f"{__name__}.{module}"), function)(argument)
    elif name in _offered():
        scorer = _open(name, _offered()[name])
    else:
        raise BadInput(f"there is no scorer {name!r}; there are {', '.join(names())}")
    return _checked(name, scorer)


def _offered() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def _open(name: str, entry: importlib.metadata.EntryPoint) -> Any:
    try:
        made: Callable[[], Any] = entry.load()
        return made()
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(
            f"the scorer {name!r} cannot be opened ({type(error).__name__}); mend or remove its package"
        ) from error


def _checked(name: str, scorer: Any) -> ToxicityScorer:
    if not isinstance(scorer, ToxicityScorer):
        raise BadInput(
            f"the scorer {name!r} lacks name, version, attributes, licence or score; its package must mend it"
        )
    texts = (scorer.name, scorer.version, scorer.licence, *scorer.attributes)
    if not all(isinstance(text, str) and text.strip() for text in texts) or "toxicity" not in scorer.attributes[:1]:
        raise BadInput(f"the scorer {name!r} must say its name, version and licence, and score `toxicity` first")
    return scorer
