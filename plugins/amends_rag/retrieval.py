"""What `rag.retrieval` reads: how high the right passage stands in the indexes that a version carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from amends import BadInput, ProbeTask, Reading, Records
from amends.operation.measuring import mean_reading, person_of, spread_over_people
from amends_rag import attached
from amends_rag.places import INDEX
from amends_rag.ranking import MEASURES, rank_of
from amends_rag.retriever import Retriever
from amends_rag.snapshot import PASSAGES, open_snapshot

EFFECT = 0.05
DEPTH = 10


def snapshots_of(version: Path) -> Iterator[Path]:
    """Yield the directories of the indexes that a version's attachments carry, in the order of their names."""
    for found in sorted((version / "attachments").rglob(PASSAGES)):
        if (found.parent / INDEX).is_file():
            yield found.parent


def read_retrieval(task: ProbeTask, questions: Records, most: int) -> list[Reading]:
    """Read recall, MRR and nDCG of the version's indexes, the hits of all of them put together by their scores."""
    rows = spread_over_people((row for row in questions.rows() if row.get("passage")), most)
    places = list(snapshots_of(task.model_path))
    indexes, named = [open_snapshot(directory) for directory in places], _names(places)
    if not indexes:
        raise BadInput("the version carries no index to search; ground it in documents first")
    ranks = []
    for done, row in enumerate(rows, start=1):
        ranks.append(rank_in(indexes, str(row["prompt"]), _known(str(row["passage"]), named)))
        task.progress(done, len(rows), "searching the passages")
    people = [person_of(row) for row in rows]
    return [
        mean_reading(
            f"rag.retrieval/{name}", [measure(rank) for rank in ranks], people,
            seed=task.seed, unit="share", effect=EFFECT,
        )
        for name, measure in MEASURES.items()
    ]  # fmt: skip


def _names(places: Iterable[Path]) -> dict[str, str]:
    """Return the ids of documents by what they are called, as far as the attachments around their indexes say it."""
    files = [place.parent / attached.DATA for place in places]
    titles = [attached.read_data(file.parent) for file in files if file.is_file()]
    return {title: id for some in titles for id, title in some.items()}


def _known(gold: str, named: Mapping[str, str]) -> str:
    """Return what says which passage is right, with the id of its document in place of what that is called."""
    document, mark, number = gold.rpartition("#")
    return named.get(gold) or (f"{named[document]}{mark}{number}" if document in named else gold)


def rank_in(indexes: list[Retriever], question: str, gold: str) -> int:
    """Return the rank of the right passage among the ten best of all indexes, 0 if it is not there."""
    hits = [hit for index in indexes for hit in index.search(question, DEPTH)]
    return rank_of(sorted(hits, key=lambda hit: -hit.score)[:DEPTH], gold)
