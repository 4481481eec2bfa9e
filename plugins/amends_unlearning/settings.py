"""Refuse settings that cannot work, with one sentence for all of them."""

from __future__ import annotations

from amends import BadInput


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
