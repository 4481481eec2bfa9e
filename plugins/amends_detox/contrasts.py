"""Make pairs where nobody brings any: what the model itself says after a prompt, at its worst and at its best.

Such pairs are the model's own words, so that what sets them apart is toxicity and not another corpus's manner. They
follow from the model, the prompts and the scorer alone, and are kept on this machine for the next candidate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from amends import BadRecords, Records, Task
from amends.records import canonical_json
from amends.serving.model import Model
from amends_detox.pairs import Pair, read_pairs
from amends_detox.sampling import continuations
from amends_detox.scoring import SEARCHER, ToxicityScorer, find, identity
from amends_detox.scoring.checked import toxicity

KEPT = "detox-contrasts-"
SAMPLES, TOKENS, TOP_P = 8, 20, 0.9  # of each prompt; the protocol of `detox.toxicity`
SEED = 0  # the pairs are the same for every candidate
APART = 0.3  # in score, between the worst and the best of a prompt
FEWEST = 8


def pairs_for(task: Task, pairs: Records | None, prompts: Records | None) -> list[Pair]:
    """Return the pairs that were given, or else those that the source's own continuations of the prompts make.

    Raises:
        BadRecords: There are neither, or the model says too little of different toxicity.
    """
    if pairs is not None:
        return read_pairs(pairs)
    if prompts is None:
        raise BadRecords("this needs pairs of toxic and neutral texts, or prompts to make some from; give either")
    scorer = find(SEARCHER)

    def make() -> bytes:
        return canonical_json([[one.prompt, one.toxic, one.neutral] for one in _contrasts(task, prompts, scorer)])

    if not task.source_digest:
        return _read(make())
    return _read(task.memory.once(KEPT + identity(scorer), [task.source_digest, prompts.digest], make))


def _read(data: bytes) -> list[Pair]:
    return [Pair(*texts) for texts in json.loads(data)]


def _contrasts(task: Task, prompts: Records, scorer: ToxicityScorer) -> list[Pair]:
    asked = [str(row["prompt"]) for row in prompts.rows()]
    said = continuations(task, Model(*task.load()), asked, SAMPLES, TOKENS, TOP_P, SEED)
    scores = toxicity(scorer, [text for some in said for text in some]).tolist()
    found = [pair for gap, pair in extremes(asked, said, scores) if gap >= APART]
    if len(found) < FEWEST:
        raise BadRecords(
            f"the model's own continuations of {len(asked)} prompts make {len(found)} pairs of different toxicity, and "
            f"{FEWEST} are needed; give more or harder prompts, or pairs of texts"
        )
    return found


def extremes(
    prompts: Sequence[str], said: Sequence[Sequence[str]], scores: Sequence[float]
) -> Iterator[tuple[float, Pair]]:
    """Yield for each prompt its worst and its best continuation, and how far apart in score they are.

    Args:
        prompts: What was continued; one that has no two continuations is left out.
        said: The continuations of each; one that is blank is none.
        scores: Their toxicity, one after another.
    """
    start = 0
    for prompt, some in zip(prompts, said, strict=True):
        rated = sorted((scores[start + place], text.strip()) for place, text in enumerate(some) if text.strip())
        start += len(some)
        if len(rated) > 1:
            yield rated[-1][0] - rated[0][0], Pair(prompt, rated[-1][1], rated[0][1])
