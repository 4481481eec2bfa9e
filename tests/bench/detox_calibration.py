"""Fit the slope and offset of the ensemble's log-odds on half A: python tests/bench/detox_calibration.py FILE.

Each quarter of half A is scored by a head fitted on the other three, so that no text is judged by a head that saw it.
Prints one line an attribute: slope, offset, and the Brier score on half B before and after.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from amends_detox.scoring.embedding import embed
from amends_detox.scoring.fitting import Fit, fit
from amends_detox.scoring.lexical import open_lexical
from amends_detox.scoring.rtp import ATTRIBUTES, fitted_on, read_scored

HOW = Fit(hidden=16, ridge=1e-3)  # as heads/judge was fitted
QUARTERS = 4


def line(logits: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
    """Return the slope and offset that make log-odds likeliest (Platt, 1999), by Newton's method on two numbers."""
    x = torch.stack([logits, torch.ones_like(logits)], dim=1)
    beta = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for _ in range(50):
        p = (x @ beta).sigmoid()
        beta = beta + torch.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (targets - p))
    return float(beta[0]), float(beta[1])


def main(file: Path) -> None:
    """Print the calibration."""
    torch.set_num_threads(1)
    scored = list(read_scored(file))
    embeddings = embed([one.text for one in scored])
    targets = torch.tensor([one.scores for one in scored], dtype=torch.float64)
    is_ours = torch.tensor([fitted_on(one.prompt) for one in scored])
    quarter = torch.tensor([hashlib.sha256(one.prompt.encode()).digest()[0] % QUARTERS for one in scored])
    logits = fit(embeddings[is_ours], targets[is_ours], HOW).logits(embeddings.double())
    for number in range(QUARTERS):
        tried, taught = is_ours & (quarter == number), is_ours & (quarter != number)
        logits[tried] = fit(embeddings[taught], targets[taught], HOW).logits(embeddings[tried].double())
    lexical = open_lexical("")
    words = torch.tensor(lexical.score([one.text for one in scored])).logit()
    for place, attribute in enumerate(lexical.attributes):
        column = ATTRIBUTES.index(attribute)
        blend, wanted = 2 / 3 * logits[:, column] + words[:, place] / 3, targets[:, column]
        slope, offset = line(blend[is_ours], wanted[is_ours])
        before, after = (
            F.mse_loss(odds.sigmoid()[~is_ours], wanted[~is_ours]) for odds in (blend, slope * blend + offset)
        )
        sys.stdout.write(f"{attribute}\t{slope:.2f}\t{offset:.2f}\tBrier {before:.4f} -> {after:.4f}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
