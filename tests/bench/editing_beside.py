"""Edit facts with the methods that stand beside the weights, and ask the version as it is served."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing_records import Tally, ask

from amends import Records, Task, host
from amends.operation.files import read_reference, weights_directory
from amends.records import canonical_json
from amends.serving import open_version
from amends_editing.facts import Fact

METHODS = ("ike", "grace", "patch", "wise")


@dataclass(frozen=True)
class Served:
    """A served version, asked as the bench asks a bare model."""

    model: Any

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Return, for each prompt and answer, the mean log-probability of its tokens and whether each is the first."""
        found = self.model.score_continuations([(prompt.rstrip(), answer) for prompt, answer in pairs])
        return [(float(one.logp.mean()), bool(one.correct.all())) for one in found]


def measure(
    source: Path, work: Path, facts: Sequence[Fact], seed: int, more: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[str, Tally, float]]:
    """Edit all facts with each method; yields its name, how the facts stand and the CPU-seconds of the operation.

    Args:
        source: The version that is edited.
        work: An empty folder.
        facts: What is edited.
        seed: The operations' randomness.
        more: Parameters of a method that are not its defaults.
    """
    rows = [row_of(fact) for fact in facts]
    data = b"".join(canonical_json(row) + b"\n" for row in rows)
    file = work / "edits.jsonl"
    file.write_bytes(data)
    given = Records(hashlib.sha256(data).hexdigest(), file)
    for name in METHODS:
        operation = host.current().operation(f"editing.{name}")
        task = Task(work / "scratch", seed, source=source, output=work / name)
        task.scratch.mkdir(exist_ok=True)
        task.output.mkdir()
        began = time.process_time()
        operation(task, **operation.check({"edits": given} | more.get(name, {})))
        seconds = time.process_time() - began
        if read_reference(task.output) is not None:
            (task.output / "base").symlink_to(weights_directory(source).resolve(), target_is_directory=True)
        served: Any = Served(open_version(task.output, host.current()))
        yield name, ask(served, facts), seconds


def row_of(fact: Fact) -> dict[str, Any]:
    """Return a fact as a prepared row."""
    neighbours = [{"prompt": one.prompt, "answer": one.answer} for one in fact.neighbours]
    return {
        "id": fact.id, "verb": str(fact.verb), "subject": fact.subject, "prompt": fact.prompt, "target": fact.target,
        "old": fact.old, "rephrases": list(fact.rephrases), "neighbours": neighbours,
    }  # fmt: skip
