"""A thousand edits in a row: how the four shares and the perplexity go as batches pile up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from editing_records import Subject, Tally, ask
from figures import Reading, mean, read

from amends_editing.facts import Fact

BATCH = 50
POINTS = 5  # places of the curve at which all facts so far are asked
WINDOW, WINDOWS = 256, 24
SEEN, WHOLE = 100, 300  # facts asked at a place of the curve, and before and after all


@torch.no_grad()
def perplexity(subject: Subject, text: Sequence[str]) -> float:
    """Return the perplexity of the end of a text, which no covariance was read from."""
    tokens: list[int] = []
    for line in reversed(text):
        tokens = subject.tokenizer(line, add_special_tokens=False)["input_ids"] + tokens
        if len(tokens) >= WINDOW * WINDOWS:
            break
    windows = torch.tensor(tokens[-WINDOW * WINDOWS :][: len(tokens) // WINDOW * WINDOW]).view(-1, WINDOW)
    total, count = 0.0, 0
    for window in windows:
        logp = subject.anatomy.model(input_ids=window[None], use_cache=False).logits[0, :-1].log_softmax(-1)
        total -= float(logp.gather(-1, window[1:, None]).sum())
        count += WINDOW - 1
    return math.exp(total / count)


def measure(
    name: str,
    subject: Subject,
    write: Callable[[Sequence[Fact]], object],
    facts: Sequence[Fact],
    text: Sequence[str],
    picture: Path,
    say: Callable[[str], None],
) -> Iterator[Reading]:
    """Edit batch after batch and say how the facts stand at each place of the curve.

    Args:
        name: Begins the name of each figure.
        subject: The model.
        write: Writes a batch.
        facts: What is edited.
        text: The perplexity is that of its end.
        picture: Where the curve is drawn.
        say: Told each place of the curve.
    """
    whole = facts[:: max(len(facts) // WHOLE, 1)]
    before, start = ask(subject, whole), perplexity(subject, text)
    curve: list[dict[str, Any]] = [_place(0, before, 1.0)]
    spent, batches = 0.0, range(0, len(facts), BATCH)
    marks = {batches[(len(batches) * (point + 1)) // POINTS - 1] for point in range(min(POINTS, len(batches)))}
    for first in batches:
        began = time.process_time()
        write(facts[first : first + BATCH])
        spent += time.process_time() - began
        if first in marks:
            done = facts[: first + BATCH]
            asked = whole if len(done) == len(facts) else done[:: max(len(done) // SEEN, 1)]
            ratio = perplexity(subject, text) / start
            tally = ask(subject, asked)
            curve.append(_place(len(done), tally, ratio))
            say(", ".join(f"{name} {value:.4g}" for name, value in curve[-1].items()) + f", {spent:.0f} CPU-s")
    _draw(curve, picture)
    goals = {"efficacy": 0.95, "paraphrase": 0.8, "neighbourhood": mean(before.neighbourhood)[0] - 0.05}
    for side in ("efficacy", "paraphrase", "neighbourhood", "greedy"):
        share, interval = mean(getattr(tally, side))
        yield read(f"{name}: {side}", share, "share", len(getattr(tally, side)), interval, at_least=goals.get(side))
    yield read(f"{name}: perplexity, of the start", curve[-1]["perplexity"], "ratio", at_most=1.1)
    yield read(f"{name}: an edit", spent / len(facts), "CPU-s", len(facts))


def _place(done: int, tally: Tally, ratio: float) -> dict[str, Any]:
    shares = {side: mean(getattr(tally, side))[0] for side in ("efficacy", "paraphrase", "neighbourhood")}
    return {"edits": done, **shares, "perplexity": ratio}


def _draw(curve: Sequence[dict[str, Any]], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name in ("efficacy", "paraphrase", "neighbourhood", "perplexity"):
        axes.plot([place["edits"] for place in curve], [place[name] for place in curve], marker="o", label=name)
    axes.set(xlabel="edits in a row", ylabel="share; perplexity as a ratio", ylim=(0, None))
    axes.legend()
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
