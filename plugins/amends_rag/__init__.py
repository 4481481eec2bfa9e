"""Ground a model in documents: at its input, inside it and at its output, with erasure that reaches the index."""

from __future__ import annotations

from collections.abc import Iterable

from amends import Probe, hookimpl


@hookimpl
def amends_probes() -> Iterable[Probe]:
    """Offer the measurements of retrieval and grounding."""
    from . import probing

    return probing.probes()
