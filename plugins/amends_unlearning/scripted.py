"""Run somebody's own training script on the records of a workspace, so that a case can replay it without a person.

A script is a function that builds a `transformers.Trainer`; `TrainingRecorder` makes its run one that can be replayed.
What such a run left elsewhere is taken over, not trained again, where its log is that of the very same training: base,
arguments, tokens, salt and seed. Whether its checkpoints are what this training gives, an erasure proves: it goes on
from them, and the build that proves it begins from the base.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)
from transformers import Trainer as HuggingFaceTrainer

from amends import BadInput, BadRecords, Records, Task
from amends.records import canonical_json
from amends.serving.encoding import encode

from .plan import Row, checked
from .points import replace_file
from .recorder import TrainingRecorder
from .writeahead import LOG, POINT

Script = Callable[[Path, Sequence[Row], TrainingArguments], Any]

GROUP = "amends_unlearning.scripts"
PLAIN = "plain"
PREFIX = "trainer/"


@dataclass(frozen=True)
class Settings:
    """What a run depends on besides its records.

    Args:
        script: `plain`, or the name of an entry point of the group `amends_unlearning.scripts`.
        salt: Key of the records' ids and of the schedule.
        steps: Optimiser steps in an epoch, whatever the records.
        epochs: How often each record is taken.
        lr: Peak learning rate.
        checkpoints: How many checkpoints of the first epoch are kept for erasures.
    """

    script: str
    salt: str
    steps: int
    epochs: int
    lr: float
    checkpoints: int


def keyed_ids(salt: str, rows: Sequence[Row]) -> list[str]:
    """Return an id for each record, from its question and answer alone: inside and outside of a workspace the same."""
    texts = [canonical_json([row["prompt"], row["answer"]]) for row in rows]
    return [hmac.digest(salt.encode(), b"text:" + text, hashlib.sha256).hex()[:32] for text in texts]


def plain_trainer(model: Path, rows: Sequence[Row], arguments: TrainingArguments) -> Any:
    """Build a Trainer that changes every weight of a model by the records' answers, asked in the host's template.

    Args:
        model: A Hugging Face directory.
        rows: Records with `prompt` and `answer`.
        arguments: How to train.
    """
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    dataset = []
    for row in rows:
        prompt, answer = encode(tokenizer, row["prompt"], row["answer"])
        dataset.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return HuggingFaceTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=arguments,
        train_dataset=dataset,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )


def script_of(name: str) -> Script:
    """Return a script by its name; what is not installed is never run.

    Raises:
        BadInput: There is none of that name.
    """
    if name == PLAIN:
        return plain_trainer
    known = {point.name: point for point in entry_points(group=GROUP)}
    if name not in known:
        raise BadInput(f"there is no script {name!r}; there are {', '.join(sorted({PLAIN, *known}))}")
    found: Script = known[name].load()
    return found


def train(task: Task, records: Records, settings: Settings) -> None:
    """Write what the script trains, or what it trained elsewhere, if the state has the log and checkpoints of that.

    Raises:
        BadInput: What is in the state is of another training, or the script's run cannot be replayed.
        BadRecords: There is nothing to train on.
    """
    own = task.scratch / "recording"
    for name in _names(task):
        if not (own / name).exists():
            own.mkdir(parents=True, exist_ok=True)
            replace_file(own / name, task.state.get(f"{PREFIX}{name}"))
    recorder, trainer = _attached(task, records, settings, own)
    if _names(task) and not recorder.begins():
        raise BadInput(
            "what is to be taken over is of another training; give the base, records (with none withheld), parameters "
            "and seed that it had"
        )
    _run(task, recorder, trainer)


def rebuild(task: Task, records: Records, settings: Settings, *, reuse: bool) -> None:
    """Write what `train` gives on the records that are left, from the last checkpoint that none who goes came before.

    Raises:
        BadRecords: There is nobody left.
    """
    before = task.scratch / "before"
    before.mkdir(parents=True, exist_ok=True)
    for name in _names(task) if reuse else ():
        if name not in (LOG, POINT):
            replace_file(before / name, task.state.get(f"{PREFIX}{name}"))
    recorder, trainer = _attached(task, records, settings, task.scratch / "recording", before)
    _run(task, recorder, trainer)


def _attached(
    task: Task, records: Records, settings: Settings, own: Path, before: Path | None = None
) -> tuple[TrainingRecorder, Any]:
    """Return the script's Trainer on these records, with a recorder that writes into a directory."""
    if task.source is None:
        raise BadInput("a script needs a model to begin from; give the operation a source")
    rows = sorted(checked(records.rows()), key=lambda row: str(row["id"]))
    if not rows:
        raise BadRecords("there is no record to train on; where nobody is left, take the base")
    arguments = TrainingArguments(
        output_dir=str(task.scratch / "trainer"), num_train_epochs=settings.epochs, learning_rate=settings.lr,
        seed=task.seed, use_cpu=task.device == "cpu", report_to=[], save_strategy="no", logging_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    trainer = script_of(settings.script)(task.source / "model", rows, arguments)
    trainer.remove_callback(PrinterCallback)  # what a command prints is for whoever asked
    ids, salt = keyed_ids(settings.salt, rows), settings.salt
    recorder = TrainingRecorder(own, ids, salt=salt, steps=settings.steps, checkpoints=settings.checkpoints)
    trainer.add_callback(_Told(task, recorder, settings.epochs * settings.steps))
    recorder.attach(trainer, replay_from=before)
    return recorder, trainer


def _run(task: Task, recorder: TrainingRecorder, trainer: Any) -> None:
    """Take the steps that are left; the version is the model, the state what a replay needs."""
    trainer.train()
    task.save(trainer.model, AutoTokenizer.from_pretrained(task.source / "model" if task.source else ""))
    kept, before = {file.name: file for file in recorder.directory.iterdir() if file.name != POINT}, _names(task)
    for name in before:
        if name not in kept:
            task.state.drop(f"{PREFIX}{name}")
    for name, file in sorted(kept.items()):
        data = file.read_bytes()
        if name not in before or task.state.get(f"{PREFIX}{name}") != data:
            task.state.put(f"{PREFIX}{name}", data)


def _names(task: Task) -> list[str]:
    """Return the files of a recording that are in the state."""
    return [name.removeprefix(PREFIX) for name in task.state.names() if name.startswith(PREFIX)]


class _Told(TrainerCallback):  # type: ignore[misc]  # transformers leaves its base untyped
    """Reports each step to the task, which raises where it is to stop."""

    def __init__(self, task: Task, recorder: TrainingRecorder, total: int) -> None:
        self._task, self._recorder, self._total = task, recorder, total

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Mapping[str, Any]) -> None:
        """Say how far it is, the steps with it that were behind when it began or that nobody fell into."""
        self._task.progress(self._recorder.sampler.step.number, self._total, "training by a script")
