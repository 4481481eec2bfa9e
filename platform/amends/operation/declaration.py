"""Declare an operation or a probe next to its code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amends.errors import BadInput
from amends.operation.effort import Effort, Load
from amends.operation.parameters import Parameter, check_parameters, read_parameters
from amends.operation.task import ProbeTask, Task
from amends.records import Guarantee, ModelVersion, Reading

NAME = re.compile(r"[a-z][a-z0-9]*(\.[a-z0-9]+(-[a-z0-9]+)*)+")


@dataclass(frozen=True)
class _Declared:
    name: str
    function: Callable[..., Any] = field(repr=False)
    parameters: tuple[Parameter, ...] = field(repr=False)
    cpus: int
    gpus: float
    memory_gb: float

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return every parameter's value with defaults, or raise `BadInput`."""
        return check_parameters(self.name, self.parameters, given)


@dataclass(frozen=True)
class Operation(_Declared):
    """A named change to a model: a function of a `Task`, with its resources and the probes that verify it.

    Args:
        verified_by: Names of the probes that must be read before and after.
        accepts: Attachment kinds that the source may carry; any other is refused.
        whole: Those of its `ModelVersion` parameters that it takes with what stands beside their weights; a version
            that carries any attachment is refused for the others.
        guarantee: The strongest guarantee it can give when it erases, or None when it does not erase.
        rebuilds: The operation whose result it rebuilds from the remaining records, or empty. Its own name where it is
            a function of source, records, seed and the state beside its source alone: run again on the version it
            started from without some records, it gives what it would have given.
            For another's name, the source is the version that one made where it stands on a base's weights,
            and else the version that one began from; the state is what that one left.
        needs_source: False for an operation that makes a new model.
        removes: Whether it takes something out of a model that may stay in it in part: what erases approximately does,
            and a cure says so.
        effort: From the sizes of its records and its parameters to how much work it will be, or None.
    """

    verified_by: tuple[str, ...] = ()
    accepts: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    guarantee: Guarantee | None = None
    rebuilds: str = ""
    needs_source: bool = True
    removes: bool = False
    effort: Effort | None = field(default=None, repr=False)

    def predict(
        self, loads: Mapping[str, Load], given: Mapping[str, Any], *, depth: int, forward: float
    ) -> float | None:
        """Return how many seconds it will take, or None where it does not say.

        Args:
            loads: How large its records are, by parameter.
            given: Other parameters; the rest have their defaults.
            depth: Layers of the model; a parameter of that name is not told to the effort.
            forward: Tokens that pass forward through the whole model in a second, where it will run.
        """
        if self.effort is None or not forward > 0:
            return None
        known = {parameter.name: parameter.default for parameter in self.parameters if not parameter.is_required}
        return self.effort(loads, **{**known, **given, "depth": depth}) / forward


@dataclass(frozen=True)
class Probe(_Declared):
    """A named measurement of a model: a function of a `ProbeTask` that returns readings."""


def _named(name: str, function: Callable[..., Any], task: type) -> None:
    if not NAME.fullmatch(name):
        raise BadInput(f"{name!r} is not a name; write family.method in lower case with hyphens")
    if not inspect.getdoc(function):
        raise BadInput(f"{name}: write one line of docstring; people read it before they approve")
    positional = [p for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(positional) != 1:
        raise BadInput(f"{name}: take one {task.__name__} first, then keyword-only parameters (after a *)")


def operation(
    name: str,
    *,
    verified_by: Sequence[str],
    cpus: int = 1,
    gpus: float = 0,
    memory_gb: float = 1.0,
    accepts: Sequence[str] = (),
    whole: Sequence[str] = (),
    guarantee: Guarantee | None = None,
    rebuilds: str = "",
    needs_source: bool = True,
    removes: bool = False,
    effort: Effort | None = None,
) -> Callable[[Callable[..., None]], Operation]:
    """Declare a function of a `Task` as an operation.

    Raises:
        BadInput: The name, the signature or the list of probes cannot be used.
    """

    def declare(function: Callable[..., None]) -> Operation:
        _named(name, function, Task)
        if not verified_by:
            raise BadInput(f"{name} names no probe in verified_by; nothing unverifiable runs")
        parameters = read_parameters(function)
        if strange := set(whole) - {one.name for one in parameters if one.kind is ModelVersion}:
            raise BadInput(f"{name} takes no version called {min(strange)!r}; name ModelVersion parameters in whole")
        return Operation(
            name=name,
            function=function,
            parameters=parameters,
            cpus=cpus,
            gpus=gpus,
            memory_gb=memory_gb,
            verified_by=tuple(verified_by),
            accepts=tuple(accepts),
            whole=tuple(whole),
            guarantee=guarantee,
            rebuilds=rebuilds,
            needs_source=needs_source,
            removes=removes or guarantee is Guarantee.APPROXIMATE,
            effort=effort,
        )

    return declare


def probe(
    name: str, *, cpus: int = 1, gpus: float = 0, memory_gb: float = 1.0
) -> Callable[[Callable[..., Sequence[Reading]]], Probe]:
    """Declare a function of a `ProbeTask` that returns readings as a probe.

    Raises:
        BadInput: The name or the signature cannot be used.
    """

    def declare(function: Callable[..., Sequence[Reading]]) -> Probe:
        _named(name, function, ProbeTask)
        return Probe(name, function, read_parameters(function), cpus, gpus, memory_gb)

    return declare
