"""The measurements of toxicity, bias, refusals and diversity: what each reads, and what runs it."""

from __future__ import annotations

from collections.abc import Iterable

from amends import Probe


def probes() -> Iterable[Probe]:
    """Return the probes of this package."""
    return ()
