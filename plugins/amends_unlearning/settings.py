"""Refuse settings that cannot work, with one sentence for all of them."""

from __future__ import annotations

from amends import BadInput


def check_positive(**given: float) -> None:
    """Refuse a setting that is not above zero.

    Raises:
        BadInput: One is not.
    """
    for name, value in given.items():
        if not value > 0:
            raise BadInput(f"{name} is {value}; unlearning needs it above zero")
