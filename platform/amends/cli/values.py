"""Values given as `key=value`, read as the type that an operation declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amends.errors import BadInput

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_values(given: Iterable[str], parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what `key=value` texts say; whether the values fit is for the operation to check.

    Args:
        given: Texts such as `shards=4`.
        parameters: The operation's, as `offering.operation` gives them.

    Raises:
        BadInput: A text has no `=`, names a parameter twice, or its value is not of the declared type.
    """
    kinds = {parameter["name"]: parameter["type"] for parameter in parameters}
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInput(f"{text!r} is no parameter; write -p name=value")
        if name in values:
            raise BadInput(f"parameter {name!r} is given twice; give it once")
        values[name] = _read(name, value, str(kinds.get(name, "str")))
    return values


def values_for(operation: str, given: Sequence[str]) -> dict[str, Any]:
    """Return what `key=value` texts say to an operation.

    Args:
        operation: Its name, or empty where the policy chooses.
        given: Texts such as `shards=4`.

    Raises:
        BadInput: Values were given and nobody says for which operation, or one cannot be read.
        UnknownOperation: No plugin offers it.
    """
    from amends.governor import offering

    if given and not operation:
        raise BadInput("a parameter belongs to one operation; say which with --method")
    return read_values(given, offering.operation(operation)["parameters"] if operation else ())


def _read(name: str, value: str, kind: str) -> Any:
    try:
        if kind == "int":
            return int(value)
        if kind == "float":
            return float(value)
        return TRUTHS[value.lower()] if kind == "bool" else value
    except (ValueError, KeyError):
        raise BadInput(f"parameter {name!r} must be {kind}, not {value!r}") from None
