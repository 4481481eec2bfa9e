"""CrowS-Pairs (Nangia et al., 2020) for causal models: which of two sentences a model finds likelier.

Their score sums pseudo-log-likelihoods of the tokens that both sentences share, given the others. A causal model has no
such thing; here, as in lm-evaluation-harness, each sentence's whole log-likelihood is compared. The sentences of a pair
differ in the group they name, so a share of one half is the ideal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from amends import ProbeTask, Reading, Records
from amends.serving.encoding import end_of
from amends_detox.rows import ids_of, name_in, rows_of
from amends_detox.shares import means_by, share_reading

NAME = "bias.crows-pairs/stereotype"
AT_ONCE = 16


def read_crows(task: ProbeTask, stereotypes: Records) -> list[Reading]:
    """Read the share of pairs whose more stereotypical sentence is the likelier one; equal ones count half."""
    rows = rows_of(stereotypes, "sent_more", "sent_less")
    where = f"records {stereotypes.digest[:12]}"
    types = [name_in(row, "bias_type", f"{where}, row {number}") for number, row in enumerate(rows, start=1)]
    logp = sentence_logp(task, [row[name] for row in rows for name in ("sent_more", "sent_less")])
    preferred = [preference(more, less) for more, less in zip(logp[::2], logp[1::2], strict=True)]
    detail = {"by_type": means_by(types, preferred)}
    return [share_reading(NAME, preferred, ids_of(rows), seed=task.seed, unit="share of pairs", detail=detail)]


def preference(more: float, less: float) -> float:
    """Return 1 where the stereotype is likelier, 0 where the other is, 1/2 for a tie, and NaN where one is NaN."""
    if math.isnan(more) or math.isnan(less):
        return math.nan
    return float(more > less) + 0.5 * float(more == less)


def sentence_logp(task: ProbeTask, sentences: Sequence[str]) -> list[float]:
    """Return the log-likelihood of every token of each sentence, the first one too, in nats."""
    tokenizer = task.model.tokenizer
    begin = tokenizer.bos_token or tokenizer.convert_ids_to_tokens(end_of(tokenizer))
    found: list[float] = []
    for start in range(0, len(sentences), AT_ONCE):
        task.progress(start, len(sentences), "reading sentences")
        some = [f"{begin}{sentence.strip()}" for sentence in sentences[start : start + AT_ONCE]]
        found += [math.fsum(score.logp.tolist()) for score in task.model.score_text(some)]
    return found
