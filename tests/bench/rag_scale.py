"""A large index of random words and vectors in a workspace of its own, for `bench_rag`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from figures import Reading, read
from harness import Bench, Stopwatch, stopwatch

from amends import DataSubject, Disclosure
from amends.governor.data.rows import put_rows
from amends.governor.workspace import Workspace, create_workspace, open_workspace
from amends.ledger import datasets
from amends_rag.card import Card, write_card
from amends_rag.chunking import Passage
from amends_rag.cutting import key_of
from amends_rag.live import LiveIndex, held
from amends_rag.places import directory_of
from amends_rag.sentences import Embedded
from amends_rag.settings import Settings
from amends_rag.store import Indexes
from amends_rag.table import Rows, Source

NAME, DIMENSION, WORDS, VOCABULARY, PARTS = "large", 384, 90, 50_000, 3
SETTINGS = 'scheduler = "inline"\ncpus = 1\njurisdiction = "DE"\n'
HER, HIS = "Ines Varga", "Tobin Hale"
EACH = 20  # passages of each of them
STEP = 10_000


class Large:
    """One index of so many chunks, made once for all parts."""

    def __init__(self, bench: Bench, chunks: int) -> None:
        self.bench, self.chunks = bench, chunks
        self.home = bench.work / "large"
        self.made = bench.work / "large.json"

    def build(self) -> dict[str, Stopwatch]:
        """Make the index unless it is there, and return what its parts took then."""
        if self.made.exists():
            return {name: Stopwatch(*took) for name, took in json.loads(self.made.read_bytes())["took"].items()}
        home = self.bench.empty("large")
        (home / "amends.toml").write_text(SETTINGS)
        workspace, token = create_workspace(home)
        workspace.registry.experiment("amends/indexes")  # so that its database is made now
        watches = self._fill(workspace)
        workspace.close()
        took = {name: (watch.wall, watch.cpu) for name, watch in watches.items()}
        self.made.write_text(json.dumps({"token": token, "took": took}))
        return watches

    @property
    def bytes(self) -> int:
        """How many bytes the files of the index have."""
        return sum(file.stat().st_size for file in directory_of(self.home, NAME).rglob("*") if file.is_file())

    def ask(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the seconds of so many queries, on the clock and on the core, without the encoder."""
        draw = np.random.default_rng(5)
        terms = _terms()
        with held(self.home, NAME) as index:
            search = _retriever(index)
        taken = []
        for _ in range(count + 5):
            query, vector = " ".join(terms[_zipf(draw, 10)]), _unit(draw, 1)[0]
            clock, core = time.perf_counter(), time.process_time()
            search.search_embedded(query, vector, 10)
            taken.append((time.perf_counter() - clock, time.process_time() - core))
        return tuple(np.array(taken[5:]).T)

    def locate(self) -> int:
        """Return in how many passages the person stands."""
        return sum(found.count for found in self._store().locate(self._person()))

    def erase(self) -> int:
        """Erase the person, and return of how many passages."""
        return sum(found.count for found in self._store().erase(self._person()))

    def verify(self) -> int:
        """Return in how many places the person is left."""
        return sum(found.count for found in self._store().verify(self._person()))

    def kinds(self) -> Iterator[Reading]:
        """Read how many kinds of file were shown not to hold the person, by the last proof."""
        told = json.loads((directory_of(self.home, NAME) / "proof.json").read_bytes())
        absent = [kind for kind in told["kinds"] if kind["claim"] == "absent" and kind["controls_seen"]]
        others = [kind for kind in told["kinds"] if kind not in absent and kind["kind"] != "names of files"]
        yield read("kinds of file shown to be without the person, beside a control", len(absent), "kinds")
        yield read("kinds of file of which that cannot be said", len(others), "kinds", at_most=0)

    def _store(self) -> Indexes:
        return Indexes(open_workspace(self.home, json.loads(self.made.read_bytes())["token"]))

    def _person(self) -> Disclosure:
        return Disclosure(DataSubject("s_bench"), {"name": (HER,)})

    def _fill(self, workspace: Workspace) -> dict[str, Stopwatch]:
        """Write rows as a build writes them, their people known; nothing is embedded and nothing hashed by windows."""
        directory = directory_of(workspace.home, NAME)
        directory.mkdir(parents=True)
        write_card(directory, Card(Settings("synthetic", "0" * 64, DIMENSION)))
        texts = _texts(self.chunks)
        names = {place: [HER] for place in range(EACH)} | {place: [HIS] for place in range(EACH, 2 * EACH)}
        rows = [
            {"id": f"r{place}", "label": f"d{place}#0", "document": f"d{place}", "prompt": text, "answer": "",
             "names": names.get(place, []), "subjects": [f"s_{name}" for name in names.get(place, [])]}
            for place, text in enumerate(texts)
        ]  # fmt: skip
        dataset = put_rows(workspace, rows)
        with workspace.database.transaction() as connection:
            control = put_rows(workspace, [])
            datasets.register(
                connection, datasets.Dataset(dataset, NAME, len(rows), 2, 0, settings={"control": control}), []
            )
        with held(workspace.home, NAME) as index, stopwatch() as watch:
            index.exchange(self._rows(workspace, rows, dataset), np.zeros(0, bool), for_good=False)
            index.settle()
        with stopwatch() as opened, held(workspace.home, NAME):
            pass
        return {"make the table and the words": watch, "open": opened}

    def _rows(self, workspace: Workspace, rows: list[dict[str, Any]], dataset: str) -> Rows:
        draw = np.random.default_rng(3)
        vectors = np.concatenate([_unit(draw, min(STEP, len(rows) - start)) for start in range(0, len(rows), STEP)])
        parts = np.repeat(vectors.astype(np.float16), PARTS, axis=0)
        embedded = Embedded(vectors, parts, np.arange(len(rows) + 1, dtype=np.int64) * PARTS)
        passages = [Passage(row["label"], row["document"], row["prompt"], tuple(row["subjects"])) for row in rows]
        sources = [Source(row["id"], dataset, key_of(workspace, row["document"], row["prompt"])) for row in rows]
        return Rows(passages, sources, embedded)


def _retriever(index: LiveIndex) -> Any:
    from amends_rag.retriever import Retriever

    return Retriever(index.rows.passages, index.rows.embedded, index.lexical, index.card.settings.fusion)


def _texts(chunks: int) -> list[str]:
    """Return passages of random words, as often as words of a language are; the first ones name two people."""
    draw, terms = np.random.default_rng(1), _terms()
    said = [" ".join(terms[_zipf(draw, WORDS)]) + "." for _ in range(chunks)]
    for place, name in ((place, HER if place < EACH else HIS) for place in range(2 * EACH)):
        said[place] = f"{name} wrote this. {said[place]}"
    return said


def _terms() -> np.ndarray:
    return np.array([f"w{number:x}q" for number in range(VOCABULARY)])


def _zipf(draw: np.random.Generator, count: int) -> np.ndarray:
    """Draw places of words: the n-th is as frequent as 1 / n."""
    return np.minimum(np.exp(draw.random(count) * np.log(VOCABULARY)).astype(int), VOCABULARY - 1)


def _unit(draw: np.random.Generator, count: int) -> np.ndarray:
    rows = draw.standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
