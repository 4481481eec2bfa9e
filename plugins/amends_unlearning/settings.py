"""What several operations are set by, and one sentence for all settings that cannot work."""

from __future__ import annotations

from typing import Literal

from amends import BadInput

Weights = Literal["adapter", "full"]
"""What is trained: an adapter that is merged at the end, or the layers' own weights."""


def check_positive(what: str, **given: float) -> None:
    """Refuse a setting that is not above zero.

    Args:
        what: Whose settings they are, such as `training`.
        **given: The settings.

    Raises:
        BadInput: One is not.
    """
    for name, value in given.items():
        if not value > 0:
            raise BadInput(f"{name} is {value}; {what} needs it above zero")
