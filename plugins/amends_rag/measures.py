"""The measurements of grounded versions: what each reads, and what runs it."""

from __future__ import annotations

from collections.abc import Iterable

from amends import Probe


def probes() -> Iterable[Probe]:
    """Return the probes of this module."""
    return ()
