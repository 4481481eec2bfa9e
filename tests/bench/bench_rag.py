"""Measure retrieval: how well passages are found, how fast among many, and how fast a person is erased from them.

`--data` is the directory that holds `rag/xquad.en.json`: 48 articles of five paragraphs each, with questions that one
paragraph answers. The settings are chosen on the questions of one half of the articles and read on the other half, both
ways; all paragraphs are searched. What kinds of setting there are to choose from was settled with all of them in view.
The large index is made of random words and vectors: it says how long things take, and nothing of their quality.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import Reading, read
from harness import Bench, options, stopwatch
from material import base_model
from rag_models import Models
from rag_scale import Large

from amends.operation.statistics import bootstrap_by_person
from amends_rag.chunking import Passage
from amends_rag.dense import TextEncoder, open_encoder
from amends_rag.fusion import Fusion
from amends_rag.lexical import Lexical, Words
from amends_rag.ranking import MEASURES, rank_of
from amends_rag.retriever import Retriever
from amends_rag.sentences import Embedded, embed_passages

XQUAD = Path("rag") / "xquad.en.json"
HYBRID = 0.96
GRID = tuple(itertools.product((True, False), (0, 5), ((0.9, 0.4), (1.2, 0.75)), (0.5, 0.6, 0.7)))
DEPTH = 10


@dataclass(frozen=True)
class Questions:
    """Paragraphs and questions; `gold` is the paragraph that answers, `half` that of its article."""

    passages: list[Passage]
    asked: list[str]
    gold: np.ndarray
    half: np.ndarray


def xquad(file: Path, articles: int) -> Questions:
    """Read the first articles of XQuAD."""
    passages: list[Passage] = []
    asked, gold, half = [], [], []
    for number, article in enumerate(json.loads(file.read_text(encoding="utf-8"))["data"][:articles]):
        for paragraph in article["paragraphs"]:
            document = f"p{len(passages)}"
            for question in paragraph["qas"]:
                asked.append(question["question"])
                gold.append(len(passages))
                half.append(number % 2)
            passages.append(Passage(f"{document}#0", document, paragraph["context"]))
    return Questions(passages, asked, np.array(gold), np.array(half))


class Rag:
    """The parts of this benchmark."""

    def __init__(self, bench: Bench, data: Path, model: str, articles: int, chunks: int) -> None:
        self.bench, self.data, self.model = bench, data, model
        self.articles, self.chunks = articles, chunks

    def encoder(self) -> TextEncoder:
        """Return the packaged encoder, or the tiny model's in miniature."""
        return open_encoder(None if self.model == "smollm2" else base_model("tiny", self.bench.work / "tiny") / "model")

    def retrieval(self) -> Iterator[Reading]:
        """Read how often the right paragraph is first, by words, by meaning, and by both."""
        asked = xquad(self.data / XQUAD, self.articles)
        embedded, queries = self._embedded(asked)
        ways = {"words": Fusion("lexical"), "meaning, whole passages": Fusion("dense", depth=0),
                "meaning, nearest sentences": Fusion("dense"), "reciprocal ranks": Fusion("rrf"),
                "plain sum of z-scores": Fusion(weight=0.5, depth=0), "as it ships": Fusion()}  # fmt: skip
        for name, fusion in ways.items():
            ranks = _ranks(asked, embedded, queries, fusion, Words())
            yield _share(f"recall at 1, {name}", ranks == 1, asked)
        shipped = _ranks(asked, embedded, queries, Fusion(), Words())
        for name, measure in MEASURES.items():
            if name != "recall_at_1":
                yield _share(f"{name}, as it ships", np.array([measure(rank) for rank in shipped]), asked)
        yield from self._tuned(asked, embedded, queries)

    def _tuned(self, asked: Questions, embedded: Embedded, queries: np.ndarray) -> Iterator[Reading]:
        """Choose on one half, read on the other, both ways."""
        found = {}
        for stop, prefix, (k1, b), weight in GRID:
            words = Words(k1, b, stop, prefix)
            found[stop, prefix, k1, b, weight] = _ranks(asked, embedded, queries, Fusion(weight=weight), words)
        for tuned in (0, 1):
            on, off = asked.half == tuned, asked.half != tuned
            best = max(found, key=lambda key: (np.mean(found[key][on] == 1), _mrr(found[key][on])))
            self.bench.say(f"chosen on half {tuned + 1}: stop, prefix, k1, b, weight = {best}")
            yield _share(f"recall at 1, chosen on half {tuned + 1} and read on the other", found[best][off] == 1, asked,
                         off, at_least=HYBRID)  # fmt: skip

    def _embedded(self, asked: Questions) -> tuple[Embedded, np.ndarray]:
        """Embed paragraphs, sentences and questions, once for a run and the ones that go on after it."""
        file = self.bench.work / "xquad.npz"
        if not file.exists():
            encoder = self.encoder()
            made = embed_passages(encoder, [passage.text for passage in asked.passages])
            np.savez(file, queries=encoder.embed(asked.asked), **made.arrays())
        kept = dict(np.load(file))
        queries = kept.pop("queries")
        return Embedded(**kept), queries

    def scale(self) -> Iterator[Reading]:
        """Read how long a large index takes to be made, opened and asked, without the encoder."""
        large = Large(self.bench, self.chunks)
        for name, watch in large.build().items():
            yield read(f"{self.chunks} chunks: {name}", watch.cpu, "CPU-s")
            yield read(f"{self.chunks} chunks: {name}, on the clock", watch.wall, "s")
        yield read(f"{self.chunks} chunks: files of the index", large.bytes / 1e6, "MB")
        clock, cpu = large.ask(200)
        for name, seconds in (("on the clock", clock), ("on the core", cpu)):
            middle, late = (float(np.percentile(seconds, share)) for share in (50, 95))
            yield read(f"{self.chunks} chunks: a query, median, {name}", middle * 1e3, "ms", len(seconds))
            limit = {"at_most": 50.0} if self.chunks >= 100_000 else {}
            yield read(f"{self.chunks} chunks: a query, p95, {name}", late * 1e3, "ms", len(seconds), **limit)

    def erasure(self) -> Iterator[Reading]:
        """Read how long it takes to erase one person of a large index, and to show that they are gone."""
        large = Large(self.bench, self.chunks)
        large.build()
        with stopwatch() as located:
            found = large.locate()
        with stopwatch() as watch:
            gone = large.erase()
        with stopwatch() as shown:
            left = large.verify()
        yield read("a person's passages that were located", found, "passages")
        yield read("of these erased", gone / found, "share", found, at_least=1.0)
        yield read("places where the person is left", left, "places", at_most=0)
        for name, one in (("locate", located), ("erase and prove", watch), ("prove once more", shown)):
            limit = {"at_most": 30.0} if name == "erase and prove" and self.chunks >= 100_000 else {}
            yield read(f"{self.chunks} chunks: {name}", one.cpu, "CPU-s", **limit)
            yield read(f"{self.chunks} chunks: {name}, on the clock", one.wall, "s", **limit)
        yield from large.kinds()


def _ranks(asked: Questions, embedded: Embedded, queries: np.ndarray, fusion: Fusion, words: Words) -> np.ndarray:
    """Return the rank of each question's own paragraph, 0 beyond the first ten."""
    lexical = Lexical.build([passage.text for passage in asked.passages], words)
    search = Retriever(asked.passages, embedded, lexical, fusion)
    found = (search.search_embedded(q, v, DEPTH) for q, v in zip(asked.asked, queries, strict=True))
    return np.array([rank_of(hits, f"p{gold}") for hits, gold in zip(found, asked.gold, strict=True)])


def _mrr(ranks: np.ndarray) -> float:
    return float(np.mean([1 / rank if rank else 0.0 for rank in ranks]))


def _share(name: str, values: np.ndarray, asked: Questions, chosen: Any = slice(None), **target: float) -> Reading:
    """Return a mean over questions, its interval resampled by paragraph."""
    found, owners = np.asarray(values, float), asked.gold[chosen].tolist()
    return read(name, float(found.mean()), "share", len(found), bootstrap_by_person(found, owners), **target)


def sizes(n: int | str | None, model: str) -> tuple[int, int]:
    """Return how many articles are asked about, and how many chunks the large index has."""
    if n is None or n == "full":
        return (48, 100_000) if model == "smollm2" else (4, 200)
    return min(48, int(str(n))), int(str(n)) * 2000 if model == "smollm2" else 200


def main(argv: Sequence[str] | None = None) -> Path:
    """Measure every part and return the file with the figures."""
    given = options("rag", str(__doc__), argv)
    if given.data is None or not (given.data / XQUAD).is_file():
        raise SystemExit(f"bench-rag: give the directory that holds {XQUAD} (make bench-rag DATA=DIR)")
    articles, chunks = sizes(given.n, given.model)
    bench = Bench("rag", given, {"articles": articles, "chunks": chunks})
    parts = Rag(bench, given.data, given.model, articles, chunks)
    for name in ("retrieval", "scale", "erasure"):
        bench.part(name, getattr(parts, name))
    for name, measure in Models(bench, given.data, given.model, given.n, given.seed).parts().items():
        bench.part(name, measure)
    return bench.finish()


if __name__ == "__main__":
    main()
