"""Measure distillation: a student of a third of the layers, taught in the same time with and without its teacher.

`--data` is the directory of WikiText-2's parts. Every arm begins with the same layers of SmolLM2, is shown windows of
one fixed part of the validation text, and gets the same CPU-seconds on one thread, everything counted: opening the
models, asking the teacher beforehand, and writing the student. `--n` is that budget; what was tried while this was
built was judged on other lines of the validation text, and the test text judges here. Ours is given no more than the
budget and the others no less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import distillation_arms as arms
from figures import Reading, read
from harness import THREADS, Bench, options
from material import base_model

LR = 1e-3
OURS: dict[str, Any] = {"share": 0.0, "alpha": 1.0, "weight": 1.0, "kept": 32}
TEACHES, JUDGES = "wikitext2_valid.txt", "wikitext2_test.txt"


def sizes(n: int | str | None, is_tiny: bool) -> dict[str, int]:
    """Return the CPU-seconds of an arm, the windows that teach, those that judge, and the student's layers."""
    if is_tiny:
        return {"budget": 1, "windows": 8, "judging": 4, "layers": 1}
    if n == "full":
        return {"budget": 1800, "windows": 512, "judging": 120, "layers": 10}
    budget = 120 if n is None else int(str(n))
    return {"budget": budget, "windows": max(32, budget * 64 // 120), "judging": 24, "layers": 10}


class Distillation:
    """The arms of the benchmark, from one start."""

    def __init__(self, bench: Bench, data: Path, model: str, seed: int, size: dict[str, int]) -> None:
        import torch

        torch.set_num_threads(THREADS)
        self.bench, self.seed, self.size = bench, seed, size
        self.source = base_model(model, bench.work / model)
        tokenizer = arms.load_model(self.source)[1]
        lines = arms.subset(tokenizer, arms.text_of(data / TEACHES), size["windows"])
        self.records = arms.records_of(lines, bench.work / "records")
        self.few = arms.records_of(arms.subset(tokenizer, lines, arms.FEW), bench.work / "few")
        whole, few = (len(arms.windows(tokenizer, arms.texts_of(one), arms.LENGTH)) for one in (self.records, self.few))
        self.larger = whole / few
        self.judging = arms.text_of(data / JUDGES)

    def pilot(self, name: str, folder: Path, given: dict[str, Any], is_generous: bool) -> arms.Run:
        """Run an operation for a short time to learn what its steps cost, and then for as long as the budget buys."""
        short = {**given, "steps": arms.SHORT}
        run, clock = arms.operate(name, self.source, self.few, folder / "pilot", self.seed, short)
        more = {**given, "steps": arms.steps_for(clock, run, self.larger, self.size["budget"], is_generous)}
        return arms.operate(name, self.source, self.records, folder / "whole", self.seed, more)[0]

    def arm(self, name: str) -> dict[str, Any]:
        """Return what an arm took and how good its student is."""
        shape = {"layers": self.size["layers"], "lr": LR}
        folder = self.bench.empty(name)
        if name == "ours":
            run = self.pilot("distillation.layers", folder, {**shape, **OURS}, is_generous=False)
        elif name == "text":
            run = self.pilot("distillation.logit", folder, {**shape, "alpha": 0.0}, is_generous=True)
        else:
            budget = float(self.size["budget"])
            run = arms.with_trl(self.source, self.records, folder, self.seed, self.size["layers"], LR, budget)
        found = {**asdict(run), "version": "", "perplexity": self.judged(run.version)}
        self.bench.empty(name)  # each student is as large as a model
        return found

    def judged(self, version: Path) -> float:
        """Return a version's perplexity on the test text."""
        return arms.perplexity(*arms.load_model(version), self.judging, self.size["judging"])

    def begun(self) -> float:
        """Return the perplexity of the student that every arm begins with."""
        teacher, tokenizer = arms.load_model(self.source)
        student = arms.make_student(teacher, self.size["layers"], 0, "spread", self.seed)
        return arms.perplexity(student, tokenizer, self.judging, self.size["judging"])

    def measure(self) -> Iterable[Reading]:
        """Teach with each arm, and compare the students."""
        teacher = self.bench.once("teacher", lambda: self.judged(self.source))
        found = {name: self.bench.once(name, lambda name=name: self.arm(name)) for name in ("ours", "text", "trl")}
        begun = self.bench.once("start", self.begun)
        yield read("perplexity of the teacher", teacher, "perplexity", self.size["judging"])
        yield read("perplexity of the student that all begin with", begun, "perplexity", self.size["judging"])
        for name, told in found.items():
            yield read(f"{name}: CPU-seconds", told["seconds"], "CPU-s")
            yield read(f"{name}: tokens shown to the student", told["tokens"] / told["seconds"], "tokens per CPU-s")
            yield read(f"{name}: times over the text", told["epochs"], "epochs")
            yield read(f"{name}: perplexity over the teacher's", told["perplexity"] / teacher, "ratio")
        ours = found["ours"]
        for name, who in (("text", "the text alone"), ("trl", "trl's GKD trainer")):
            yield read(
                f"ours against {who}, perplexity at equal time", ours["perplexity"], "perplexity",
                self.size["judging"], baseline=found[name]["perplexity"], at_most=1.0,
            )  # fmt: skip
        asking, whole = ours["asking"], ours["seconds"]
        yield read("ours: asking the teacher once, of the whole time", asking / whole, "share")
        again = whole + (ours["epochs"] - 1) * asking
        yield read("ours: the same, asking in every epoch", again, "CPU-s", baseline=whole)


def main(argv: Sequence[str] | None = None) -> Path:
    """Measure everything and return the file with the figures."""
    given = options("distillation", str(__doc__), argv)
    if given.data is None or not (given.data / JUDGES).is_file():
        raise SystemExit("bench-distillation: give WikiText-2's directory with --data (make bench-distillation DATA=…)")
    size = sizes(given.n, given.model == "tiny")
    settings = {"lr": LR, "ours": OURS, "length": arms.LENGTH, "batch": arms.BATCH}
    bench = Bench("distillation", given, size | settings)
    parts = Distillation(bench, given.data, given.model, given.seed, size)
    bench.part("students", parts.measure)
    return bench.finish()


if __name__ == "__main__":
    main()
