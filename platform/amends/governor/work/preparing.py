"""Write every data set that holds the subjects again without them, as the approved plans say and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from amends.errors import BadInput, Denied
from amends.governor.data.redacting import redact
from amends.governor.data.rows import blobs_of, put_rows, rows_of
from amends.governor.data.strangers import strange
from amends.governor.judging import find_policy
from amends.governor.models.heirs import heirs_of, taught_by
from amends.governor.models.promoting import champion
from amends.governor.models.recipes import read_recipe
from amends.governor.subjects.disclosing import disclosure_of
from amends.governor.subjects.locating import locate_in
from amends.governor.work.piece import Result, Work, blaming, plans_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets, lineage
from amends.ledger.datasets import Dataset
from amends.records import ModelVersion
from amends.vault.identifiers import Finder

ERASE = ""  # instead of the case whose person is to be redacted
Row = dict[str, Any]


def prepare(workspace: Workspace, work: Work) -> Result:
    """Write the data again, and fix what is rebuilt from what.

    An earlier case may have replaced a data set that a plan names: a record keeps its id, and what goes is looked up
    in whatever stands for that data set now.

    Raises:
        OneFailed: A case's plan no longer covers what is there, or cannot be carried out.
        BadPolicy: A policy has a mistake.
    """
    parent = champion(workspace, work.model)
    if parent is None:
        raise BadInput(f"{work.model} has no champion; promote a version first")
    return prepare_on(workspace, work, parent)


def prepare_on(workspace: Workspace, work: Work, parent: ModelVersion, *, is_rebuilt: bool = True) -> Result:
    """Write the data again for a model that stands at a version; see `prepare`.

    Args:
        workspace: Where it is.
        work: What is carried out.
        parent: The version.
        is_rebuilt: Whether the version is to be made again, so that what it was made with has to be replaced already.
    """
    for policy in ("erasure", "promotion"):  # a mistake in one is better told now than after the training
        find_policy(workspace, policy)
    plans = _plans(workspace, work)
    finders: dict[str, Finder] = {}
    for case, plan in plans.items():
        with blaming(case):
            finders[case] = _finder(workspace, case, plan)
    steps = read_recipe(workspace, parent.digest)["steps"]
    trained = {digest for step in steps for digest in step["records"].values()}
    written = _Writing(workspace, _marks(plans), finders, trained).write()
    _check_found(plans, written["forget"])
    rewritten = written["datasets"]
    with workspace.database.read() as connection:
        tainted = {version.digest: version.name for version in lineage.tainted_by(connection, written["purged"])}
    replaced = _replaced(workspace, work, parent.digest, tainted) if is_rebuilt else {}
    is_rewritten = any(old != blobs["train"] for old, blobs in rewritten.items() if old in trained)
    return {
        "parent": {"version": parent.version, "digest": parent.digest},
        "datasets": rewritten,
        "models": replaced,
        "purged": written["purged"],
        "untouched": not is_rewritten and not taught_by(steps, replaced) and parent.digest not in tainted,
        "forget": put_rows(workspace, written["forget"].values(), like=written["from"]),
        "strangers": _strangers(workspace, written),
        "forgotten": len(written["forget"]),
    }


def _replaced(workspace: Workspace, work: Work, parent: str, tainted: Mapping[str, ModelVersion]) -> dict[str, str]:
    """Return what took the place of each version that holds the subjects and that the champion was made with or on.

    Raises:
        Denied: A teacher still holds them, and nothing took its place.
    """
    steps = read_recipe(workspace, parent)["steps"]
    with workspace.database.read() as connection:
        above = {v.digest for v in lineage.ancestors(connection, parent, without=["teacher"]) if v.model != work.model}
        taught = taught_by(steps, tainted)
        found = heirs_of(connection, taught | (above & tainted.keys()), tainted)
    for missing in sorted(taught - found.keys()):
        raise Denied(
            f"{tainted[missing]}, which {work.model} was made with, holds the subject as well and nothing active took "
            f"its place; erase them from {tainted[missing].name} first, or have what was rebuilt released if it is "
            f"quarantined, and then run `amends cases retry {work.lead}`"
        )
    return found


def _strangers(workspace: Workspace, written: Mapping[str, Any]) -> str:
    """Write records about nobody where no data set has anybody left to compare with, on either side; else nothing."""
    parts = [[blobs[part] for blobs in written["datasets"].values()] for part in ("train", "control")]
    if all(any(workspace.blobs.get(blob) for blob in some) for some in parts):
        return ""
    return put_rows(workspace, strange(written["forget"].values()))


def _plans(workspace: Workspace, work: Work) -> dict[str, Mapping[str, Any]]:
    plans = plans_of(workspace, work)
    if len(plans) != len(work.cases):
        raise Denied("a case has no plan; plan it again and have it approved")
    return dict(zip(work.cases, plans, strict=True))


def _finder(workspace: Workspace, case: str, plan: Mapping[str, Any]) -> Finder:
    """Return what finds a case's subject, once it is sure that the plan saw every data set there is.

    Raises:
        Denied: The subject is in a data set that was registered after the plan was made.
    """
    disclosure = disclosure_of(workspace, case)
    with workspace.database.read() as connection:
        every = {dataset.digest: dataset for dataset in datasets.find(connection)}
    seen = set(plan.get("searched", plan["records"]))
    unseen = [found for found in every.values() if found.status == "active" and not _lines(found, every) & seen]
    located = locate_in(workspace, disclosure, unseen)
    if located.records or located.near:
        raise Denied(
            f"data that were registered after case {case} was planned name its subject too; "
            f"run `amends cases replan {case}` and have the new plan approved"
        )
    return Finder(disclosure.identifiers)


def _lines(dataset: Dataset, every: Mapping[str, Dataset]) -> set[str]:
    """Return the digests of a data set and of all that it was made from."""
    found, here = {dataset.digest}, dataset
    while here.parent is not None and here.parent in every and here.parent not in found:
        here = every[here.parent]
        found.add(here.digest)
    return found


def _marks(plans: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the records that go, each with `ERASE` or the case that redacts it; erasing wins."""
    marks: dict[str, str] = {}
    for case, plan in plans.items():
        marks |= dict.fromkeys((id for ids in plan["records"].values() for id in ids), ERASE)
        for record, decided in plan["reviewed"].items():
            if decided["mark"] == "erase":
                marks[record] = ERASE
            elif decided["mark"] == "redact":
                marks.setdefault(record, case)
    return marks


class _Writing:
    """One pass over all data sets that are alive."""

    def __init__(
        self, workspace: Workspace, marks: Mapping[str, str], finders: Mapping[str, Finder], trained: set[str]
    ) -> None:
        self._workspace, self._marks, self._finders, self._trained = workspace, marks, finders, trained
        with workspace.database.read() as connection:
            found = datasets.find(connection)
        self._every = {dataset.digest: dataset for dataset in found}
        self._alive = sorted((d for d in found if d.status != "purged"), key=lambda dataset: dataset.digest)
        self._forget: dict[str, Row] = {}

    def write(self) -> dict[str, Any]:
        """Return the new blobs of each data set, the digests of those that hold somebody, and the rows that go."""
        rewritten, purged, sources = {}, [], list[str]()
        for dataset in self._alive:
            rows = [list(rows_of(self._workspace, blob)) for blob in blobs_of(dataset)]
            if not any(row["id"] in self._marks for part in rows for row in part):
                continue
            sources += blobs_of(dataset)
            if dataset.status == "active" or dataset.digest in self._trained:
                rewritten[dataset.digest] = self._again(dataset)
            if rewritten.get(dataset.digest, {}).get("train") != dataset.digest:
                purged.append(dataset.digest)
            self._split([row for part in rows for row in part])  # what stood here before a redaction goes as well
        return {"datasets": rewritten, "purged": purged, "forget": self._forget, "from": sources}

    def _again(self, dataset: Dataset) -> dict[str, str]:
        """Write what stands for a data set now: itself, or what it was replaced by."""
        heirs = [d for d in self._alive if d.status == "active" and dataset.digest in _lines(d, self._every)]
        newest = max(heirs, key=lambda heir: (str(heir.registered_at), heir.digest), default=dataset)
        train, control = (
            put_rows(self._workspace, self._split(rows_of(self._workspace, blob)), like=[blob])
            for blob in blobs_of(newest)
        )
        return {"train": train, "control": control, "from": newest.digest, "old_control": blobs_of(dataset)[1]}

    def _split(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows that stay, redacted where so marked, and remember the rows as they were that go."""
        kept = []
        for row in rows:
            mark = self._marks.get(row["id"])
            if mark is None:
                kept.append(row)
                continue
            self._forget.setdefault(row["id"], row)
            if mark != ERASE:
                with blaming(mark):
                    kept.append(redact(row, self._finders[mark]))
        return kept


def _check_found(plans: Mapping[str, Mapping[str, Any]], forget: Mapping[str, Row]) -> None:
    for case, plan in plans.items():
        planned = {id for ids in plan["records"].values() for id in ids}
        planned |= {id for id, decided in plan["reviewed"].items() if decided["mark"] in ("erase", "redact")}
        with blaming(case):
            if not planned & forget.keys():
                raise Denied(
                    f"nothing that the plan of case {case} lists is left; run `amends cases replan {case}` to see "
                    "what is"
                )


def never_trained(prepared: Result) -> bool:
    """Whether the model never had what goes, as a withheld person's records, and stays as it is."""
    return bool(prepared["untouched"])
