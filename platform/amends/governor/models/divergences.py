"""Find what stands otherwise in MLflow than Amends left it: aliases, versions, and the tags that say what they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from amends.errors import UnknownModel
from amends.governor.models.quarantine import QUARANTINED, TAG, quarantined_as
from amends.governor.workspace import Workspace
from amends.ledger import aliases, lineage
from amends.ledger.lineage import Version
from amends.ledger.mirror import Mirrored, look
from amends.ledger.registry import DIGEST, MODEL_ID
from amends.records import digest_of


class Kind(StrEnum):
    """What differs."""

    ALIAS = "alias"
    STRANGER = "unknown alias"
    VERSION = "version"
    TAG = "tag"
    QUARANTINED = "quarantined alias"
    UNREAD = "unread version"


@dataclass(frozen=True)
class Divergence:
    """One thing that stands otherwise in MLflow than Amends left it.

    Args:
        kind: What differs; an unknown alias, a deleted version, one that cannot be read, and an alias of a quarantined
            version are told and left, for nothing here can mend them.
        model: The model's name.
        name: The alias or the tag; empty for a version.
        version: The version that it is about: of an alias, where Amends moved it.
        ours: What Amends left there; None where it knows nothing of it.
        theirs: What MLflow says; None where it is gone.
        is_mendable: Whether what Amends left can be put there again.
        said: Why a version could not be read, or which other one with the same files is quarantined.
    """

    kind: Kind
    model: str
    name: str
    version: int | None
    ours: str | None
    theirs: str | None
    is_mendable: bool = False
    said: str = ""

    @property
    def key(self) -> str:
        """Names the place, whatever stands there."""
        return digest_of([self.kind, self.model, self.name, self.version if self.kind is not Kind.ALIAS else None])[:16]

    @property
    def sentence(self) -> str:
        """Say it to people."""
        there = "is gone from MLflow" if self.theirs is None else f"is {self.theirs} in MLflow"
        if self.kind is Kind.ALIAS:
            where = "is gone from MLflow" if self.theirs is None else f"stands for version {self.theirs} in MLflow"
            return f"{self.model}@{self.name} {where}, but was moved to version {self.ours} here"
        if self.kind is Kind.STRANGER:
            return f"{self.model}@{self.name} stands for version {self.theirs} in MLflow, and nobody asked for it here"
        if self.kind is Kind.QUARANTINED and self.said:
            files = f"which has the files of {self.said}, and that is quarantined"
            return f"{self.model}@{self.name} stands for version {self.ours}, {files}; promote another one"
        if self.kind is Kind.QUARANTINED:
            return f"{self.model}@{self.name} stands for version {self.ours}, which is quarantined; promote another one"
        if self.kind is Kind.UNREAD:
            return f"{self.model}@{self.version} could not be read back: {self.said}"
        if self.kind is Kind.VERSION:
            return f"{self.model}@{self.version} {there}; restore MLflow from a backup"
        return f"the tag {self.name} of {self.model}@{self.version} {there}, but was {self.ours}"


def divergences(workspace: Workspace, model: str = "") -> Iterator[Divergence]:
    """Yield what stands otherwise in MLflow than Amends left it; a purged version may be gone.

    Raises:
        UnknownModel: There is no such model.
    """
    with workspace.database.read() as connection:
        names = [name for name in lineage.models(connection) if not model or name == model]
        ours = {name: aliases.aliases_of(connection, name) for name in names}
        alive = {name: [v for v in lineage.versions_of(connection, name) if v.status != "purged"] for name in names}
    if model and not names:
        raise UnknownModel(f"there is no model {model!r}; see `amends models list`")
    for name in names:
        mirrored = look(workspace.registry, name)
        yield from _aliases(name, ours[name], mirrored)
        yield from _quarantined(workspace, name, ours[name], alive[name])
        for version in alive[name]:
            yield from _version(version, mirrored)


def _aliases(model: str, ours: Mapping[str, int], mirrored: Mirrored) -> Iterator[Divergence]:
    theirs = mirrored.aliases
    for alias, number in ours.items():
        if (there := theirs.get(alias)) != number:
            said, is_there = None if there is None else str(there), number in mirrored.versions
            yield Divergence(Kind.ALIAS, model, alias, number, str(number), said, is_there)
    for alias in sorted(theirs.keys() - ours.keys()):
        yield Divergence(Kind.STRANGER, model, alias, theirs[alias], None, str(theirs[alias]))


def _quarantined(
    workspace: Workspace, model: str, ours: Mapping[str, int], alive: Iterable[Version]
) -> Iterator[Divergence]:
    """Yield the aliases that stand for a version which is set aside, or for its files; only people move them."""
    standing = {version.number: version for version in alive}
    for alias, number in ours.items():
        version = standing.get(number)
        other = None if version is None else quarantined_as(workspace, version.digest)
        if version is not None and other is not None:
            said = "" if version.status == QUARANTINED else str(other.name)
            yield Divergence(Kind.QUARANTINED, model, alias, number, str(number), None, said=said)


def _version(version: Version, mirrored: Mirrored) -> Iterator[Divergence]:
    if version.mlflow_version is None:
        return
    tags = mirrored.versions.get(int(version.mlflow_version))
    if tags is None:
        yield Divergence(Kind.VERSION, version.model, "", version.number, version.mlflow_version, None)
        return
    for name, value in _tags(version, tags).items():
        if tags.get(name) != value:
            yield Divergence(Kind.TAG, version.model, name, version.number, value, tags.get(name), True)


def _tags(version: Version, theirs: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that a version must have, as the ledger knows them; after a release, that it is over."""
    known = {DIGEST: version.digest, MODEL_ID: version.mlflow_model_id, "amends.case": version.case_id}
    known["amends.guarantee"] = None if version.guarantee is None else str(version.guarantee)
    known[TAG] = "yes" if version.status == QUARANTINED else "no" if TAG in theirs else None
    return {name: value for name, value in known.items() if value}
