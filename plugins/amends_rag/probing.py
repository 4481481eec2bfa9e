"""The measurements of retrieval and grounding: what each reads, and what runs it."""

from __future__ import annotations

from collections.abc import Iterable

import amends
from amends import Probe, ProbeTask, Reading, Records


@amends.probe("rag.retrieval", memory_gb=2.0)
def retrieval(task: ProbeTask, *, questions: Records, most: int = 200) -> list[Reading]:
    """Read how high the right passage stands in the version's indexes: recall at 1, 5 and 10, MRR, nDCG at 10.

    A row has a `prompt` and the `passage` that answers it: the id of the passage or of its document, or its words.
    """
    from amends_rag.retrieval import read_retrieval

    return read_retrieval(task, questions, most)


def probes() -> Iterable[Probe]:
    """Offer them all."""
    return [retrieval]
