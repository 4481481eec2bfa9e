"""Measure parametric transfer beside its three controls, and what of an edit arrives in another model.

The teacher is SmolLM2-135M; the student is 12 of its 30 layers, evenly spread, with the 1,024 of 1,536 neurons of each
MLP whose columns are longest, healed on WikiText-2's validation part. It learns facts (ROME's known_1000, given as
questions and answers) and is asked about others. Every arm has its own learning rate, the best of some on facts that
are asked nowhere else. Then facts of CounterFact are edited in the teacher, and the edit is carried to the student.
With `--model tiny` the teacher has four layers and was taught made-up facts; its student keeps two of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from editing_records import ask, open_subject
from editing_records import known_facts as known_to
from figures import Reading, read
from harness import Bench, options
from material import base_model
from transfer_arms import Arms
from transfer_runs import Split, cut, heal, known_facts, loss_of, origins, run, tested, write_records
from transfer_toy import made_up_facts, teach

from amends.operation.files import load_model
from amends_distillation.transfer.anatomy import anatomy_of
from amends_distillation.transfer.matching import Matcher
from amends_distillation.transfer.vocabulary import shared_lenses

INITS = ("teacher", "random", "self", "seed-only")
RATES = {"submatrix": (1e-4, 3e-4, 1e-3, 3e-3), "neurons": (1e-3, 3e-3)}
FACTS = Path("editing") / "rome_known_1000.json"
EDITS = Path("editing") / "counterfact-val.json"
TEXT = Path("text") / "wikitext2_valid.txt"
UNSEEN = 40  # lines of text that no healing sees
STRENGTHS = (1.0, 2.0, 4.0)


def sizes(n: int | str | None, model: str) -> dict[str, Any]:
    """Return how much of everything, for the default, a number of seeds, or `full`."""
    seeds = {None: 2, "full": 5}.get(n, n) if not isinstance(n, int) else n
    if model == "tiny":
        small = {"layers": 2, "width": 96, "heal": 0, "batch": 8, "parts": (16, 32, 16, 32), "shown": 8, "edits": 2}
        taught = {"teach": 60, "steps": 8} if n == 1 else {"teach": 300, "steps": 60}
        return {"seeds": seeds, **small, **taught, "rank": 4, "neurons": 16, "path": 8}
    real = {"layers": 12, "width": 1024, "heal": 20, "batch": 8, "steps": 12, "parts": (24, 120, 32, 100), "shown": 6}
    return {"seeds": seeds, **real, "edits": 8, "rank": 16, "neurons": 64, "path": 8}


class Transfers:
    """The parts of the benchmark."""

    def __init__(self, bench: Bench, data: Path, model: str, seed: int, size: dict[str, Any]) -> None:
        self.bench, self.data, self.seed, self.size = bench, data, seed, size
        self.facts = made_up_facts(96) if model == "tiny" else known_facts(data / FACTS)
        self.teacher = self._teacher(model)
        self.student = bench.work / "student"
        self.text = [line.strip() for line in (data / TEXT).read_text(encoding="utf-8").splitlines() if line.strip()]
        self.unseen, self.text = self.text[:UNSEEN], self.text[UNSEEN:]
        self.arms = Arms(self.teacher, self.student, bench.work, size)

    def _teacher(self, model: str) -> Path:
        """Return SmolLM2, or a tiny model that was taught the made-up facts."""
        directory = self.bench.work / model
        if model != "tiny":
            return base_model(model, directory)
        return (
            directory if (directory / "model").is_dir() else teach(directory, self.facts, self.size["teach"], self.seed)
        )

    def split(self, number: int) -> Split:
        """Return the facts of one repeat."""
        folder = self.bench.work / "records"
        folder.mkdir(exist_ok=True)
        return Split.draw(self.facts, self.size["parts"], self.seed + number, folder)

    def heal(self) -> Iterable[Reading]:
        """Cut the student and heal it, and say what both models make of the facts before anything is learnt."""
        cut(self.teacher, self.student, self.size["layers"], self.size["width"])
        test = self.split(0).test
        yield read("teacher: answers of new facts", tested(self.teacher, test), "nats", self.size["parts"][3])
        yield read("student, cut: answers of new facts", tested(self.student, test), "nats", self.size["parts"][3])
        heal(self.student, self.text, self.size["heal"], self.size["batch"], self.seed)
        yield read("student, healed: answers of new facts", tested(self.student, test), "nats", self.size["parts"][3])

    def arm(self, unit: str, init: str, rate: float, number: int) -> dict[str, float]:
        """Return the losses of one arm on the validation and the test facts of a repeat."""

        def measure() -> dict[str, float]:
            return self.arms.run(unit, init, rate, self.seed + number, self.split(number))

        found: dict[str, float] = self.bench.once(f"{unit} {init} {rate:g} {number}", measure)
        return found

    def compare(self, unit: str) -> Callable[[], Iterator[Reading]]:
        """Return what measures all arms of one unit."""
        return lambda: self._compare(unit)

    def _compare(self, unit: str) -> Iterator[Reading]:
        found: dict[str, list[float]] = {}
        for init in INITS:
            tried = {rate: self.arm(unit, init, rate, 0)["validation"] for rate in RATES[unit]}
            best = min(tried, key=lambda rate: tried[rate])
            yield read(f"{unit}, {init}: learning rate chosen", best, "1", len(tried))
            found[init] = [self.arm(unit, init, best, number)["test"] for number in range(self.size["seeds"])]
            yield spread(f"{unit}, {init}: answers of new facts", found[init], "nats")
        for init in INITS[1:]:
            gains = [other - ours for ours, other in zip(found["teacher"], found[init], strict=True)]
            yield spread(f"{unit}: loss of {init} less that of teacher", gains, "nats")

    def project(self) -> Iterator[Reading]:
        """Edit facts in the teacher, carry the edit to the student, and ask the student."""
        subject = open_subject(self.student)
        facts = known_to(subject, self.data / EDITS, self.size["edits"], self.seed)
        folder = self.bench.empty("edit")
        rows = [
            {"verb": "modify", "subject": fact.subject, "prompt": fact.prompt, "target": fact.target, "old": fact.old,
             "rephrases": [], "neighbours": [], "portability": [], "subjects": [], "names": []}
            for fact in facts
        ]  # fmt: skip
        passages = [{"text": line} for line in self.text]
        more: dict[str, Any] = (
            {"tokens": 20_000} if self.size["layers"] > 1 else {"layers": "0", "tokens": 512, "steps": 2}
        )
        edited = run(
            "editing.rome", self.teacher, {}, folder, self.seed, edits=write_records(rows, self.bench.work / "records"),
            text=write_records(passages, self.bench.work / "records"), **more,
        )  # fmt: skip
        yield from self._asked("edited teacher", edited, facts)
        yield from self._asked("student", self.student, facts)
        models = {"edited": edited, "original": self.teacher}
        for by in ("lens", "embedding"):
            for strength in STRENGTHS:
                work = self.bench.empty(f"carry-{by}-{strength:g}")
                made = run("transfer.project", self.student, models, work, self.seed, by=by, strength=strength)
                if strength == STRENGTHS[0]:
                    yield from self._lens(by, made, edited)
                yield from self._asked(f"student, by {by}, {strength:g} times", made, facts)

    def match(self) -> Iterator[Reading]:
        """Match the student's layers with the teacher's: it is known which of them they were cut from."""
        (one, words), (two, others) = ((anatomy_of(model), words) for model, words in self._models())
        matcher = Matcher(one, two, shared_lenses((one, words), (two, others)))
        found = matcher.layers(range(one.depth), lambda done, total: None)
        cut_from = origins(two.depth, one.depth)
        right = statistics.fmean(found[layer] == cut_from[layer] for layer in found)
        yield read("layers of the student matched with those they were cut from", right, "share", one.depth)

    def _models(self) -> Iterator[tuple[Any, Any]]:
        for version in (self.student, self.teacher):
            yield load_model(version)

    def stitch(self) -> Iterator[Reading]:
        """Put the teacher's upper blocks on the student's lower ones, and read plain text that no healing saw."""
        depth, whole = self.size["layers"], anatomy_of(load_model(self.teacher)[0]).depth
        below = max(1, 2 * depth // 3)
        above = whole - 1 - origins(whole, depth)[below - 1]
        passages = write_records([{"text": line} for line in self.unseen], self.bench.work / "records")
        for name, version in (("teacher", self.teacher), ("student", self.student)):
            yield read(f"{name}: plain text", tested(version, passages), "nats", len(self.unseen))
        for by in ("embedding", "lens"):
            made = run(
                "transfer.stitch", self.student, {"upper": self.teacher}, self.bench.empty(f"stitch-{by}"), self.seed,
                below=below, above=max(above, 1), by=by,
            )  # fmt: skip
            name = f"{below} of the student's blocks, {max(above, 1)} of the teacher's, by {by}: plain text"
            yield read(name, tested(made, passages), "nats", len(self.unseen))

    def _lens(self, by: str, made: Path, edited: Path) -> Iterator[Reading]:
        from amends import ModelVersion, ProbeTask
        from amends_distillation.transfer.comparing import read_lens

        task = ProbeTask(self.bench.work, self.seed, model_path=made, reference_path=self.student)
        task.models = {"edited": edited, "original": self.teacher}
        one, other = (ModelVersion(name, 0, "0" * 64) for name in task.models)
        for found in read_lens(task, one, other, 0):
            yield read(f"by {by}: {found.name}", found.value, found.unit, max(found.n, 1))

    def _asked(self, name: str, version: Path, facts: Sequence[Any]) -> Iterator[Reading]:
        tally = ask(open_subject(version), facts)
        yield read(f"{name}: new answer likelier", statistics.fmean(tally.efficacy), "share", len(facts))
        losses = loss_of_targets(version, facts)
        yield read(f"{name}: loss of the new answer", losses, "nats", len(facts))


def loss_of_targets(version: Path, facts: Sequence[Any]) -> float:
    """Return the mean loss of the edits' targets after their prompts, without a template."""
    from amends.operation.files import load_model
    from amends.serving.encoding import encode_answer
    from amends_distillation.transfer.samples import Sample

    model, tokenizer = load_model(version)
    samples = []
    for fact in facts:
        prompt = tokenizer(fact.prompt.rstrip(), add_special_tokens=False)["input_ids"]
        samples.append(Sample((*prompt, *encode_answer(tokenizer, fact.target)), len(prompt)))
    return loss_of(model, samples)


def spread(name: str, values: Sequence[float], unit: str) -> Reading:
    """Return a mean over repeats, with the smallest and the largest of them."""
    return read(name, statistics.fmean(values), unit, len(values), (min(values), max(values)))


def main(argv: Sequence[str] | None = None) -> Path:
    """Measure every part and return the file with the figures."""
    given = options("transfer", str(__doc__), argv)
    if given.data is None or not (given.data / FACTS).is_file():
        raise SystemExit(f"bench-transfer: give the directory that holds {FACTS} (make bench-transfer DATA=DIR)")
    import torch

    torch.set_num_threads(1)
    size = sizes(given.n, given.model)
    bench = Bench("transfer", given, size | {"rates": RATES, "strengths": STRENGTHS})
    parts = Transfers(bench, given.data, given.model, given.seed, size)
    bench.part("heal", parts.heal)
    bench.part("submatrix", parts.compare("submatrix"))
    for name in ("match", "project", "stitch"):
        bench.part(name, getattr(parts, name))
    bench.part("neurons", parts.compare("neurons"))
    return bench.finish()


if __name__ == "__main__":
    main()
