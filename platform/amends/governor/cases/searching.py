"""Say what a search will try: the candidates of a policy that this champion and these records allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput, Denied
from amends.governor.workspace import Workspace
from amends.policy import Search
from amends.records import Records

if TYPE_CHECKING:
    from amends.operation import Operation


def searched(
    workspace: Workspace, search: Search, carried: set[str], records: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the candidates to try, each with every parameter's value and the records that it asks for.

    Args:
        workspace: Whose plugins.
        search: What the policy says.
        carried: The kinds of attachment of the version to change; an operation that refuses one is not tried.
        records: Digests of the records there are, by name.

    Raises:
        BadInput: An operation is not installed, has no such parameter, or needs records that nobody gave.
        Denied: None of them can change this version.
    """
    found = []
    for candidate in search.candidates:
        operation = workspace.host.operation(candidate.operation)
        if operation.needs_source and carried <= set(operation.accepts):
            taken = _taken(operation, records)
            given = operation.check({**candidate.parameters, **{name: Records(taken[name]) for name in taken}})
            scalars = {p.name: given[p.name] for p in operation.parameters if not p.is_reference}
            found.append({"operation": operation.name, "parameters": scalars, "records": taken})
    if not found:
        raise Denied(
            f"no candidate of the search can change this version, which carries {', '.join(sorted(carried))}; "
            "change a version without it"
        )
    return found


def _taken(operation: Operation, records: Mapping[str, str]) -> dict[str, str]:
    wanted = {p.name: p.is_required for p in operation.parameters if p.kind is Records}
    missing = [name for name, is_needed in wanted.items() if is_needed and name not in records]
    if missing:
        raise BadInput(f"{operation.name} needs {missing[0]}; give them, or take it out of the policy's candidates")
    return {name: digest for name, digest in records.items() if name in wanted}
