"""What grounding does to a language model: its answers, its perplexity, its facts and its speed, each beside the base.

XQuAD's paragraphs are the documents. A sample of the questions about every other article is asked; what the prompt
looks like was chosen on questions about the others. WikiText-2's validation part is what is stored, and passages of its
test part are foretold. Facts are CounterFact's, told in the prompt. Nothing is left out: where a route does not help,
its figures say so.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import Reading, read
from harness import Bench
from material import base_model, write

from amends import ProbeTask, Records, Task, host
from amends.operation.statistics import bootstrap_by_person
from amends.scheduler.steady import steady
from amends.serving import Known, open_version
from amends_rag.facts import Told
from amends_rag.knn_lm import Remembering
from amends_rag.latency import Array, speed, speed_ratio, timed

XQUAD = Path("rag") / "xquad.en.json"
TEXTS = STORE, HELD_OUT = Path("text") / "wikitext2_valid.txt", Path("text") / "wikitext2_test.txt"
FACTS, ZSRE = Path("editing") / "counterfact-val.json", Path("editing") / "knowedit_zsre_test_seq.json"
SAID = 16  # tokens, at most, of an answer that is timed
TITLE = re.compile(r" = [^=].*[^=] = ")
Row = dict[str, Any]


def sizes(n: int | str | None) -> dict[str, int]:
    """Return how many questions are asked, how many passages are foretold, and how many characters are stored."""
    count = 240 if n == "full" else 60 if n is None else int(str(n))
    return {"questions": count, "passages": max(2, count // 3), "stored": 800 * count, "facts": max(2, count // 3)}


def xquad(data: Path) -> tuple[list[Row], list[Row]]:
    """Return XQuAD's paragraphs as documents, and its questions about every other article with their right answers."""
    documents, questions = [], []
    for number, article in enumerate(json.loads((data / XQUAD).read_bytes())["data"]):
        for paragraph in article["paragraphs"]:
            id = f"p{len(documents)}"
            documents.append({"id": id, "text": paragraph["context"], "title": article["title"], "subjects": []})
            for asked in paragraph["qas"] if number % 2 else ():
                golds = [answer["text"] for answer in asked["answers"]]
                row = {"id": asked["id"], "prompt": asked["question"], "answer": golds[0], "answers": golds}
                questions.append(row | {"passage": id, "subjects": []})
    return documents, questions


def articles(file: Path) -> list[str]:
    """Return WikiText's articles, written as text is."""
    text = file.read_text(encoding="utf-8").replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".")
    found: list[list[str]] = [[]]
    for line in text.replace("<unk>", "").splitlines():
        if TITLE.fullmatch(line):
            found.append([])
        elif line.strip() and not line.startswith(" ="):
            found[-1].append(line.strip())
    return ["\n".join(lines) for lines in found if lines]


class Once:
    """A model that keeps its answers."""

    def __init__(self, model: Any) -> None:
        self.model, self.said = model, dict[tuple[str, int], str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def generate(self, prompts: Sequence[str], max_new_tokens: int = 48) -> list[str]:
        """Return the answers, those together that are new."""
        asked = [(prompt, max_new_tokens) for prompt in prompts]
        new = [key for key in dict.fromkeys(asked) if key not in self.said]
        self.said |= zip(new, self.model.generate([prompt for prompt, _ in new], max_new_tokens), strict=True)
        return [self.said[key] for key in asked]


class Models:
    """The parts that run a language model, on one base.

    Args:
        bench: The run.
        data: The directory of public sets.
        model: The base's name.
        n: How much is measured.
        seed: The only source of randomness.
    """

    def __init__(self, bench: Bench, data: Path, model: str, n: int | str | None, seed: int) -> None:
        self.bench, self.data, self.model, self.seed, self.size = bench, data, model, seed, sizes(n)
        self.known = Known()

    @cached_property
    def base(self) -> Path:
        """The version that everything is compared with."""
        return base_model(self.model, self.bench.work / self.model)

    @cached_property
    def plain(self) -> Any:
        """It, opened; it answers each question once, however often a probe compares with it."""
        return Once(open_version(self.base, host.current(), known=self.known))

    def parts(self) -> dict[str, Any]:
        """Return what can be measured with the sets that are there, by name."""
        needed = {"answers": (XQUAD,), "latency": (XQUAD,), "facts": (FACTS,), "scope": (ZSRE,)}
        needed |= dict.fromkeys(("output", "replug", "inside", "halves"), TEXTS)
        return {
            name: getattr(self, name)
            for name, files in needed.items()
            if all((self.data / file).is_file() for file in files)
        }

    def answers(self) -> Iterable[Reading]:
        """Ask XQuAD's questions with and without the paragraphs in the prompt."""
        documents, questions = xquad(self.data)
        chosen = self.sample(questions, self.size["questions"])
        wanted = {row["passage"] for row in chosen} | {row["id"] for row in documents[: 4 * len(chosen)]}
        documents = [row for row in documents if row["id"] in wanted]
        version, spent = self.ground("rag.context", documents=self.records("documents", documents))
        yield read(f"rag.context: made from {len(documents)} paragraphs", spent, "CPU-s")
        given = {"questions": self.records("questions", chosen), "most": len(chosen)}
        for named, settings in {"k 1": {"context_k": 1}, "k 3": {}}.items():
            yield from self.probed(f"rag.context, {named}", "rag.answers", version, settings, **given)
        yield from self.probed("base", "rag.answers", None, {}, **given)
        few = {"questions": self.records("few", chosen[: max(1, len(chosen) // 3)]), "most": len(chosen)}
        for named, settings in {"k 1": {}, "k 1, without an example": {"context_example": 0}}.items():
            named = f"rag.context, a third of them, {named}"
            yield from self.probed(named, "rag.answers", version, {"context_k": 1, **settings}, **few)

    def latency(self) -> Iterable[Reading]:
        """Time the answers of each way over the paragraphs that have them, one question at a time."""
        documents, questions = xquad(self.data)
        chosen = self.sample(questions, max(2, self.size["questions"] // 5))
        wanted, prompts = {row["passage"] for row in chosen}, [row["prompt"] for row in chosen]
        given = {"documents": self.records("answering", [row for row in documents if row["id"] in wanted])}
        base = timed(self.plain.model, prompts, SAID)
        yield from times("base", base)
        ways = {"rag.context": {"k 1": {"context_k": 1}, "k 3": {}}, "rag.replug": {"k 4": {}},
                "rag.knn-lm": {"": {}}, "rag.memory": {"": {}}}  # fmt: skip
        for name, tried in ways.items():
            model = open_version(self.ground(name, **given)[0], host.current())
            for named, settings in tried.items():
                found = timed(model.tuned(settings), prompts, SAID)
                yield from times(f"{name}, {named}".removesuffix(", "), found, base)

    def output(self) -> Iterable[Reading]:
        """Foretell WikiText's test passages with kNN-LM over its validation part."""
        stored, held = self.text()
        version, spent = self.ground("rag.knn-lm", documents=stored)
        (store,) = open_version(version, host.current()).seams
        assert isinstance(store, Remembering)
        yield read("rag.knn-lm: tokens stored", len(store.values), "tokens")
        yield read("rag.knn-lm: made", spent, "CPU-s")
        yield from self.probed("rag.knn-lm", "rag.perplexity", version, {}, text=held)

    def replug(self) -> Iterable[Reading]:
        """Foretell the same passages with REPLUG over the validation part."""
        stored, held = self.text()
        version, spent = self.ground("rag.replug", documents=stored)
        yield read("rag.replug: made", spent, "CPU-s")
        for named, settings in {"k 4": {}, "k 2": {"replug_k": 2}}.items():
            yield from self.probed(f"rag.replug, {named}", "rag.perplexity", version, settings, text=held)

    def inside(self) -> Iterable[Reading]:
        """Foretell the same passages with a memory at one layer, its gates fixed and learnt."""
        stored, held = self.text()
        for named, given in {"gates fixed at 0.05": {}, "gates learnt in 24 steps": {"steps": 24}}.items():
            version, spent = self.ground("rag.memory", documents=stored, **given)
            yield read(f"rag.memory, {named}: made", spent, "CPU-s")
            yield from self.probed(f"rag.memory, {named}", "rag.perplexity", version, {}, text=held)

    def halves(self) -> Iterable[Reading]:
        """Compare keys in float16 with the same ones in float32, over a few articles."""
        from amends_rag.anatomy import final_mlp
        from amends_rag.passes import states_of, tokens_of, windows

        def states(text: str) -> tuple[torch.Tensor, torch.Tensor]:
            ids = tokens_of(self.plain.tokenizer, text)
            parts = [states_of(self.plain.hf_model, [mlp], window)[0] for window in windows(ids, 256)]
            return torch.cat(parts)[:-1], torch.tensor(ids[1:])

        mlp, few = final_mlp(self.plain.hf_model), self.size["stored"] // 10
        stored = [states(text[: few // 2]) for text in articles(self.data / STORE)[:2]]
        keys, values = (torch.cat([pair[part] for pair in stored]) for part in (0, 1))
        asked, followed = states(articles(self.data / HELD_OUT)[0][:few])
        whole, half = (said(asked, followed, some, values, self.vocabulary) for some in (keys, keys.half().float()))
        yield read("keys in float16: mean change of log p_kNN of the true token",
                   float((whole - half).abs().mean()), "nats", len(followed))  # fmt: skip

    def facts(self) -> Iterable[Reading]:
        """Tell CounterFact's new facts where they are asked for, and see whether the model takes them over."""
        rows = self.sample(json.loads((self.data / FACTS).read_bytes()), self.size["facts"])
        edits = self.records("edits", [edit_of(number, row) for number, row in enumerate(rows)])
        version, spent = self.ground("rag.facts", edits=edits)
        yield read(f"rag.facts: made from {len(rows)} facts", spent, "CPU-s")
        model = open_version(version, host.current(), known=self.known)
        (seam,) = model.seams
        assert isinstance(seam, Told)
        for name in ("prompt", "rephrase_prompt", "locality_prompt"):
            inside = [float(seam.about(row[name]) is not None) for row in rows]
            yield share(f"rag.facts: {name}s in scope", inside)
            for named, served in (("rag.facts", model), ("base", self.plain)):
                yield share(f"{named}: new answer likelier than the old, {name}", preferred(served, rows, name))

    def scope(self) -> Iterable[Reading]:
        """Ask zsRE's facts in other words, and ask other things about the same subjects."""
        rows = self.sample(json.loads((self.data / ZSRE).read_bytes()), 3 * self.size["facts"])
        version, _ = self.ground("rag.facts", edits=self.records("zsre", [edit_of(*one) for one in enumerate(rows)]))
        (seam,) = open_version(version, host.current()).seams
        assert isinstance(seam, Told)
        others = [row["locality"]["Relation_Specificity"][0]["prompt"] for row in rows if row["locality"]]
        asked = {"in other words": [row["rephrase_prompt"] for row in rows], "other questions on the subject": others}
        for threshold in (0.6, 0.7, 0.8):
            tuned = seam.tuned({"facts_threshold": threshold})
            for name, prompts in asked.items():
                found = [float(tuned.about(prompt) is not None) for prompt in prompts]
                yield share(f"rag.facts, threshold {threshold}: {name}, in scope", found)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return int(self.plain.hf_model.config.vocab_size)

    def text(self) -> tuple[Records, Records]:
        """Return what is stored and what is foretold."""
        left, stored, longest = self.size["stored"], [], min(4000, self.size["stored"] // 2)
        for text in articles(self.data / STORE):
            if left > 0:
                stored.append({"id": f"valid-{len(stored)}", "text": text[: min(left, longest)], "subjects": []})
                left -= len(stored[-1]["text"])
        found = [line for text in articles(self.data / HELD_OUT) for line in text.splitlines() if len(line) > 600]
        held = [{"id": f"test-{number:04d}", "text": line, "subjects": []} for number, line in enumerate(found)]
        return self.records("stored", stored), self.records("held-out", self.sample(held, self.size["passages"]))

    def sample(self, rows: Sequence[Row], count: int) -> list[Row]:
        """Return some rows, drawn by the seed."""
        return random.Random(self.seed).sample(list(rows), min(count, len(rows)))

    def records(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Records:
        """Return rows as a probe is given them."""
        return Records(f"{name}-{self.seed}", write(self.bench.work / f"{name}.jsonl", rows))

    def ground(self, name: str, **given: Any) -> tuple[Path, float]:
        """Run an operation on the base, and return its version and CPU-seconds."""
        operation, output = host.current().operation(name), self.bench.empty(f"{name}-{len(given)}")
        task = Task(self.bench.empty("scratch"), self.seed, source=self.base, source_digest="base", output=output)
        with steady(1, self.seed, True):
            began = time.process_time()
            operation(task, **operation.check(given))
            spent = time.process_time() - began
        (output / "base").symlink_to((self.base / "model").resolve())
        return output, spent

    def probed(
        self, named: str, probe: str, version: Path | None, settings: Mapping[str, Any], **given: Any
    ) -> Iterator[Reading]:
        """Read a probe on a version with some of its settings changed, beside the base."""
        declared = host.current().probe(probe)
        path = version or self.base
        model = open_version(path, host.current(), known=self.known).tuned(settings) if version else self.plain
        shown = {path: model, self.base: self.plain}
        reference = self.base if version else None
        task = ProbeTask(self.bench.work, self.seed, model_path=path, reference_path=reference,
                         open_model=shown.__getitem__)  # fmt: skip
        for found in declared(task, **declared.check(given)):
            interval = None if found.low is None or found.high is None else (found.low, found.high)
            yield read(f"{named}: {found.name.partition('/')[2]}", found.value, found.unit, found.n, interval)


def said(
    asked: torch.Tensor, followed: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, vocabulary: int
) -> torch.Tensor:
    """Return log p_kNN of what followed, where a neighbour says it at all, shape (places,)."""
    from amends_rag.knn_lm import spread
    from amends_rag.neighbours import nearest, next_logp

    distances, found = nearest(asked, keys, (keys * keys).sum(-1), 1024)
    logp = next_logp(distances, values[found], 0.1 * spread(keys), vocabulary)
    return logp.gather(-1, followed[:, None])[:, 0].clamp(min=math.log(1e-6))


def edit_of(number: int, row: Mapping[str, Any]) -> Row:
    """Return a fact of CounterFact as a prepared edit."""
    return {"id": f"cf-{number}", "verb": "modify", "subject": row["subject"], "prompt": row["prompt"],
            "target": row["target_new"], "old": row["ground_truth"], "subjects": []}  # fmt: skip


def preferred(model: Any, rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return for each fact whether its new answer is likelier after a prompt than the old one."""
    pairs = [(row[name], row[answer]) for row in rows for answer in ("target_new", "ground_truth")]
    means = [float(score.logp.mean()) for score in model.score_continuations(pairs)]
    return [float(new > old) for new, old in zip(means[::2], means[1::2], strict=True)]


def times(name: str, taken: Array, base: Array | None = None) -> Iterator[Reading]:
    """Return how long answers took, on the clock and on the core, and how fast they came, beside the base."""
    each = range(len(taken))
    for column, clock in ((0, "on the clock"), (1, "on the core")):
        for part in (50, 95):
            value = float(np.percentile(taken[:, column], part))
            yield read(f"{name}: an answer, p{part}, {clock}", value, "s", len(taken))
    pair = taken[:, 1:]
    yield read(f"{name}: tokens a CPU-second", float(speed(pair, np.ones((1, len(pair))))[0]), "tokens/s", len(pair),
               bootstrap_by_person(pair, each, speed))  # fmt: skip
    if base is not None:
        both = np.concatenate([pair, base[:, 1:]], axis=1)
        yield read(f"{name}: its share of the base's", float(speed_ratio(both, np.ones((1, len(both))))[0]), "share",
                   len(both), bootstrap_by_person(both, each, speed_ratio))  # fmt: skip


def share(name: str, values: Sequence[float]) -> Reading:
    """Return a share with its interval over facts."""
    return read(name, sum(values) / len(values), "share", len(values), bootstrap_by_person(values, range(len(values))))
