"""Delete what held a subject, in every place that lineage names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from amends.errors import TaskFailed
from amends.governor.judging import find_policy
from amends.governor.subjects.disclosing import disclosure_of
from amends.governor.work.families import models_of_others
from amends.governor.work.leftovers import between_of, files_of, needed, products_of, unfinished
from amends.governor.work.piece import Result, Work, blaming, earlier
from amends.governor.work.scouring import keep_needles
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, datasets, inventory, journal, lineage, suppression
from amends.ledger.actions import Action
from amends.ledger.lineage import Version
from amends.operation.seams import Store
from amends.records import Disclosure
from amends.store.trees import fetch_manifest
from amends.vault import subjects

if TYPE_CHECKING:
    from sqlalchemy import Connection


def seal(workspace: Workspace, work: Work) -> Result:
    """Put the subject on the suppression list and say when the superseded versions go."""
    days = find_policy(workspace, "erasure").purge_after_days
    lists = {}
    for case in work.cases:
        with blaming(case):
            identifiers = disclosure_of(workspace, case).identifiers
            lists[case] = subjects.suppression_entries(workspace.keyring, identifiers)
    with workspace.database.transaction() as connection:
        due = min(cases.get(connection, case).due_at for case in work.cases)
        for case, entries in lists.items():
            suppression.add(connection, entries, case)
            workspace.record(
                connection, f"{case}:suppressed", Action.SUBJECT_SUPPRESSED, {"identifiers": len(entries)},
                cases.get(connection, case).requester,
            )  # fmt: skip
    keep_needles(workspace, work)  # now: another case of the same person may delete these records first
    after = min(datetime.now(UTC) + timedelta(days=days), due)
    return {"purge_after": after.isoformat()}


def inventory_of(workspace: Workspace, work: Work) -> Result:
    """List everything that is to be deleted, once, so that a killed purge deletes just that when it goes on.

    Raises:
        TaskFailed: Another model's alias stands for a version that holds a subject.
    """
    prepared = earlier(workspace, work, "prepare")
    old = list(prepared["purged"])
    with workspace.database.read() as connection:
        held = _held(connection, work, old)
        _check_unused(connection, work, held)
        stale = {case: journal.steps_of(connection, case) for case in unfinished(connection, old)}
        withheld = (blobs["old_control"] for blobs in prepared["datasets"].values())
        gone = {prepared["forget"], *old, *withheld, *filter(None, [prepared["strangers"]])}
        gone |= {str(datasets.get(connection, digest).settings["control"]) for digest in old}
        for version in held:
            gone |= {blob.blob for blob in inventory.state_of(connection, version.digest).values()}
        done = journal.steps_of(connection, work.lead)
    for version in held:
        gone |= files_of(workspace, version.digest)
    gone = gone.union(*(products_of(workspace, steps) for steps in stale.values()))
    gone |= between_of(workspace, done)
    gone -= needed(workspace, [(version.model, version.number) for version in held], old)
    sizes = [fetch_manifest(workspace.blobs, version.digest) for version in held]
    return {
        "blobs": sorted(gone),
        "trees": sorted({version.digest for version in held}),
        "versions": [[version.model, version.number, version.mlflow_uri] for version in held],
        "files": sum(len(manifest.files) for manifest in sizes),
        "bytes": sum(manifest.size for manifest in sizes),
        "datasets": old,
        "stale": sorted(stale),
    }


def purge(workspace: Workspace, work: Work) -> Result:
    """Delete data sets, versions, state, caches and the stores' parts; running it again deletes what is left."""
    listed = earlier(workspace, work, "purge:inventory")
    evidence: dict[str, Any] = {"stores": {}}
    evidence["versions"] = [
        workspace.registry.purge_version(model, number, uri=uri) for model, number, uri in listed["versions"]
    ]
    for digest in listed["blobs"]:
        workspace.blobs.delete(digest)
    workspace.blobs.sweep()
    everywhere = [*listed["blobs"], *listed["trees"]]
    workspace.cache.purge(everywhere)
    evidence["nodes"] = {node: len(went) for node, went in workspace.scheduler.purge(everywhere).items()}
    for case in work.cases:
        disclosure = disclosure_of(workspace, case)
        for store in workspace.host.stores(workspace):
            held = _held_in(workspace, work, case, store, disclosure)
            erased = sum(finding.count for finding in store.erase(disclosure))
            evidence["stores"][store.name] = evidence["stores"].get(store.name, 0) + max(held, erased)
    _forget_in_ledger(workspace, work, listed)
    return {**evidence, "blobs": len(listed["blobs"]), "datasets": len(listed["datasets"])}


def _held_in(workspace: Workspace, work: Work, case: str, store: Store, disclosure: Disclosure) -> int:
    """Return how many entries a store held of a subject before any went, also to a purge that goes on after a kill."""
    step = f"purge:held:{case}:{store.name}"
    held = sum(finding.count for finding in store.locate(disclosure))
    with workspace.database.transaction() as connection:
        if held:  # the first count stays
            return int(journal.record_step(connection, work.lead, step, {"entries": held})["entries"])
        known = journal.step_result(connection, work.lead, step)
    return int(known["entries"]) if known else 0


def _held(connection: Connection, work: Work, old: list[str]) -> list[Version]:
    """Return the versions that learnt from the old data sets, and what came of them, the new one left out.

    What another case of the same request sees to is left to that one.
    """
    alive = [version for version in lineage.tainted_by(connection, old) if str(version.status) != "purged"]
    others = models_of_others(connection, work)
    if others is None:
        return [version for version in alive if version.model == work.model]
    return [version for version in alive if version.model not in others]


def _check_unused(connection: Connection, work: Work, held: list[Version]) -> None:
    """Refuse before anything is deleted where a version that has to go still answers under an alias."""
    for version in held:
        names = [a for a, number in aliases.aliases_of(connection, version.model).items() if number == version.number]
        if names:
            raise TaskFailed(
                f"{version.name} is {names[0]} and holds the subject as well; erase them from {version.model} too, "
                f"then run `amends cases retry {work.lead}`"
            )


def _forget_in_ledger(workspace: Workspace, work: Work, listed: Result) -> None:
    with workspace.database.transaction() as connection:
        for digest in listed["trees"]:
            inventory.remove_state(connection, digest)
        for case in listed["stale"]:
            journal.forget_steps(connection, case)
        for model, number, _ in listed["versions"]:
            if str(lineage.get(connection, model, number).status) != "purged":
                lineage.set_status(connection, model, number, "purged")
        for digest in listed["datasets"]:
            datasets.set_status(connection, digest, "purged")
        for case in work.cases:
            found = cases.get(connection, case)
            datasets.remove_subject(connection, found.subject.pseudonym)
            body = {"versions": [f"{m}@{n}" for m, n, _ in listed["versions"]], "datasets": listed["datasets"]}
            workspace.record(connection, f"{case}:purged", Action.CASE_PURGED, body, found.requester)
    workspace.database.vacuum()
