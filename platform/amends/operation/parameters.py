"""A function's keyword-only arguments are the schema of its command, its task and its record."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from amends.errors import BadInput
from amends.records import Disclosure, ModelVersion, Records

REFERENCES: tuple[type, ...] = (Records, ModelVersion, Disclosure)
_MISSING = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One argument of an operation or probe."""

    name: str
    kind: type
    choices: tuple[Any, ...] = ()
    optional: bool = False
    default: Any = _MISSING

    @property
    def is_required(self) -> bool:
        """Whether a caller must give it."""
        return self.default is _MISSING

    @property
    def is_reference(self) -> bool:
        """Whether the case fills it with records, a model or a disclosure."""
        return self.kind in REFERENCES

    def check(self, owner: str, value: Any) -> Any:
        """Return `value` as this parameter's type.

        Raises:
            BadInput: It is of another type, not finite, or not among the choices.
        """
        if value is None and self.optional:
            return None
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.kind) or (isinstance(value, bool) and self.kind is not bool):
            raise BadInput(f"{owner}: {self.name} must be {self.kind.__name__}, not {type(value).__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{owner}: {self.name} must be a finite number")
        if self.choices and value not in self.choices:
            raise BadInput(f"{owner}: {self.name} must be one of {', '.join(map(str, self.choices))}")
        return value


def read_parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Read the keyword-only arguments of `function`.

    Raises:
        BadInput: An argument has no annotation that Amends knows.
    """
    hints = typing.get_type_hints(function)
    found = []
    for argument in inspect.signature(function).parameters.values():
        if argument.kind is inspect.Parameter.KEYWORD_ONLY:
            if argument.name not in hints:
                raise BadInput(f"{function.__qualname__}: argument {argument.name!r} needs a type annotation")
            found.append(_parameter(function.__qualname__, argument, hints[argument.name]))
    return tuple(found)


def _parameter(owner: str, argument: inspect.Parameter, hint: Any) -> Parameter:
    optional = False
    if get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not type(None)]
        optional = len(members) < len(get_args(hint))
        hint = members[0] if len(members) == 1 else hint
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = type(choices[0]) if choices else hint
    if kind not in (str, int, float, bool, *REFERENCES):
        raise BadInput(
            f"{owner}: {argument.name} has a type that has no schema; use str, int, float, bool, "
            "Literal, Records, ModelVersion or Disclosure"
        )
    return Parameter(argument.name, kind, choices, optional, argument.default)


def check_parameters(owner: str, parameters: tuple[Parameter, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter's value, defaults filled in.

    Raises:
        BadInput: One is unknown, missing, or of the wrong type.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            raise BadInput(f"{owner} has no parameter {name!r}; it has {', '.join(sorted(known)) or 'none'}")
    values = {}
    for name, parameter in known.items():
        if name in given:
            values[name] = parameter.check(owner, given[name])
        elif parameter.is_required and not parameter.optional:
            raise BadInput(f"{owner} needs {name} ({parameter.kind.__name__})")
        else:
            values[name] = None if parameter.is_required else parameter.default
    return values


def check_positive(what: str, **given: float) -> None:
    """Refuse settings that are not above zero, NaN among them.

    Args:
        what: Whose settings they are, such as `training`.
        **given: The settings.

    Raises:
        BadInput: One is not.
    """
    for name, value in given.items():
        if not value > 0:
            raise BadInput(f"{name} is {value}; {what} needs it above zero")
