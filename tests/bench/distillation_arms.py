"""Three ways of making a student from the same start in the same time: ours, the text alone, and trl's trainer."""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from amends import ModelVersion, Records, Task, host
from amends.operation.files import load_model
from amends.records import canonical_json
from amends_distillation.passages import texts_of, windows
from amends_distillation.students import make_student

LENGTH, BATCH, PILOT = 64, 2, 4
FEW, SHORT = 12, 24  # windows and steps of a short run
SAFE = 1.05  # more steps than a budget seems to buy, for the others: no less than the budget
JUDGED = 128  # tokens in a window that judges


def text_of(file: Path) -> list[str]:
    """Return the longer lines of a part of WikiText, written as text is."""
    text = file.read_text(encoding="utf-8").replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".")
    lines = [line.replace("<unk>", "").strip() for line in text.splitlines()]
    return [line for line in lines if len(line) > 200]


def records_of(lines: Sequence[str], folder: Path) -> Records:
    """Write lines as records."""
    rows = [{"id": hashlib.sha256(line.encode()).hexdigest()[:24], "prompt": line} for line in lines]
    data = b"".join(canonical_json(row) + b"\n" for row in rows)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "text.jsonl"
    file.write_bytes(data)
    return Records(hashlib.sha256(data).hexdigest(), file)


def subset(tokenizer: Any, lines: Sequence[str], count: int) -> list[str]:
    """Return as many lines as fill so many windows, and hardly more."""
    taken, tokens = [], 0
    for line in lines:
        if tokens >= count * LENGTH:
            break
        taken.append(line)
        tokens += len(tokenizer(line)["input_ids"]) + 1
    return taken


@torch.inference_mode()
def perplexity(model: Any, tokenizer: Any, lines: Sequence[str], most: int) -> float:
    """Return the perplexity of a model on text that nobody learnt from."""
    ids = windows(tokenizer, lines, JUDGED)[:most]
    lost, count = 0.0, 0
    for some in torch.split(ids, 8):
        logits = model(input_ids=some, use_cache=False).logits[:, :-1]
        lost += F.cross_entropy(logits.flatten(0, 1), some[:, 1:].flatten(), reduction="sum").item()
        count += some[:, 1:].numel()
    return math.exp(lost / count)


@dataclass
class Run:
    """What one arm took and left.

    Args:
        version: Where the student is.
        seconds: CPU-seconds of it all, from opening the models to writing the student.
        asking: Of these, what asking the teacher beforehand took.
        tokens: How many tokens the student was shown.
        epochs: How often it was shown the text.
    """

    version: Path
    seconds: float
    asking: float
    tokens: int
    epochs: float


@dataclass
class Clock:
    """Notes the CPU-time at each report of a task."""

    at: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, done: int, total: int, message: str) -> None:
        """Note one report."""
        self.at.setdefault(message, []).append(time.process_time())

    def step(self) -> float:
        """Return the CPU-seconds of one step: the median, which knows no checkpoints, of which any run writes eight."""
        seen = self.at["teaching the student"]
        return statistics.median(after - before for before, after in pairwise(seen))

    def asked(self) -> float:
        """Return the CPU-seconds from the first question to the teacher to the first step."""
        asked = [times[0] for message, times in self.at.items() if message.startswith("asking")]
        return self.at["teaching the student"][0] - min(asked) if asked else 0.0


class Memory:
    """Keeps nothing, as on a machine that never asked this teacher."""

    def once(self, name: str, of: Iterable[str], make: Callable[[], bytes]) -> bytes:
        """Return what `make` gives."""
        return make()


def operate(
    name: str, source: Path, records: Records, folder: Path, seed: int, given: Mapping[str, Any]
) -> tuple[Run, Clock]:
    """Run one of our operations, and say what it took."""
    clock, began = Clock(), time.process_time()
    for part in ("out", "scratch"):
        (folder / part).mkdir(parents=True)
    task = Task(
        folder / "scratch", seed, output=folder / "out", models={"teacher": source}, report=clock, memory=Memory()
    )
    operation = host.current().operation(name)
    settings = {"length": LENGTH, "batch": BATCH, **given}
    references = {"teacher": ModelVersion("teacher", 1, "0" * 64), "text": records}
    operation(task, **operation.check({**settings, **references}))
    steps = len(clock.at["teaching the student"])
    took = time.process_time() - began
    count = len(windows(load_model(source)[1], texts_of(records), LENGTH))
    return Run(folder / "out", took, clock.asked(), steps * BATCH * LENGTH, steps * BATCH / count), clock


def steps_for(clock: Clock, run: Run, larger: float, budget: float, is_generous: bool) -> int:
    """Return how many steps a budget buys: less than it for us, more than it for the others.

    Args:
        clock: Of a short run on a few of the windows.
        run: What it took.
        larger: How many times as many windows there are.
        budget: CPU-seconds.
        is_generous: Round up, and give some more.
    """
    once = run.seconds - clock.step() * len(clock.at["teaching the student"]) + run.asking * (larger - 1)
    steps = (budget - once) / clock.step()
    return max(1, math.ceil(SAFE * steps) if is_generous else math.floor(steps))


def with_trl(source: Path, records: Records, folder: Path, seed: int, layers: int, lr: float, budget: float) -> Run:
    """Teach the same start with trl's GKD trainer, on the text and by forward KL, for at least as long.

    Its steps are told to it beforehand, from the first few of a run of their own, so that its learning rate falls as
    ours does. It asks the teacher in every step.
    """
    from transformers import TrainerCallback

    def run(most: int) -> tuple[float, float]:
        began, marks = time.process_time(), [0.0]

        class Marks(TrainerCallback):
            def on_step_begin(self, *args: Any, **more: Any) -> None:
                marks.append(time.process_time())

        trainer = _trainer(source, records, folder, seed, layers, lr, most, Marks())
        trainer.train()
        if most > PILOT:
            trainer.model.save_pretrained(folder / "out" / "model")
            trainer.processing_class.save_pretrained(folder / "out" / "model")
        end = time.process_time()
        return end - began, (marks[-1] - marks[2]) / (len(marks) - 3)

    import_module("trl.experimental.gkd")  # which is nobody's training
    whole, step = run(PILOT)
    steps = max(PILOT + 1, math.ceil(SAFE * (budget - (whole - PILOT * step)) / step))
    seconds, _ = run(steps)
    count = len(windows(load_model(source)[1], texts_of(records), LENGTH))
    return Run(folder / "out", seconds, 0.0, steps * BATCH * LENGTH, steps * BATCH / count)


def _trainer(
    source: Path, records: Records, folder: Path, seed: int, layers: int, lr: float, steps: int, callback: Any
) -> Any:
    from datasets import Dataset
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    teacher, tokenizer = load_model(source)
    student = make_student(teacher, layers, 0, "spread", seed)
    ids = windows(tokenizer, texts_of(records), LENGTH)
    config = GKDConfig(
        output_dir=str(folder / "trl"), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=lr,
        lmbda=0.0, beta=0.0, temperature=1.0, seed=seed, use_cpu=True, report_to=[], save_strategy="no",
        logging_strategy="no", bf16=False, gradient_checkpointing=False, disable_tqdm=True, max_length=LENGTH,
        lr_scheduler_type="cosine", warmup_steps=max(1, steps // 20), weight_decay=0.0, adam_beta2=0.95,
    )  # fmt: skip
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return GKDTrainer(
        model=student, teacher_model=teacher, args=config, data_collator=_collate, callbacks=[callback],
        train_dataset=Dataset.from_dict({"input_ids": ids.tolist()}), processing_class=tokenizer,
    )  # fmt: skip


def _collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Return windows as the trainer wants them: the first token is the prompt, and all others are compared."""
    ids = torch.tensor([row["input_ids"] for row in rows])
    ones = torch.ones_like(ids)
    labels = ids.clone()
    labels[:, 0] = -100
    return {
        "input_ids": ids, "attention_mask": ones, "labels": labels,
        "prompts": ids[:, :1], "prompt_attention_mask": ones[:, :1],
    }  # fmt: skip
