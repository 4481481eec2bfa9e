"""Train a version so that erasure can be exact, register it, and name the first one champion."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amends.errors import BadInput
from amends.governor.models.importing import check_model_name
from amends.governor.models.promoting import CHAMPION, Promotion, champion, promote
from amends.governor.models.quarantine import refuse_quarantined
from amends.governor.models.recipes import read_recipe
from amends.governor.models.verifying import verify_version
from amends.governor.models.versions import Entry, enter
from amends.governor.work.incidents import incident_facts
from amends.governor.work.leftovers import BROUGHT, drop_built
from amends.governor.work.measuring import readings
from amends.governor.work.piece import Result, Work, age_days, earlier, plan_of, requester_of, stopper, wait
from amends.governor.work.replacing import suppressed
from amends.governor.work.replaying import work_name
from amends.governor.work.running import Step, finish, measure, operate
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, datasets, journal, lineage
from amends.ledger.actions import Action
from amends.ledger.lineage import DataUse, Edge
from amends.records import Case, CaseStatus, Change, DataSubject, ModelVersion, Records
from amends.scheduler.jobs import reading_to_json

PROBES: Mapping[str, Mapping[str, Any]] = {"utility.retain": {"most": 24, "generated": 4}, "utility.perplexity": {}}
SALTS = ("placement_salt", "router_salt")


def open_training(
    workspace: Workspace,
    *,
    base: str,
    data: str,
    model: str,
    operation: str = "training.shards",
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    state: Path | None = None,
) -> str:
    """Open a durable training case and return its id.

    Args:
        workspace: Where to train.
        base: The version to start from, such as `smollm2@1`.
        data: The data set's name or digest.
        model: The name of the model that comes out.
        operation: What trains.
        parameters: Its parameters; salts that are not given are drawn here.
        seed: The only source of randomness.
        state: What a run of the operation left elsewhere, in a directory: handed to it as the lineage's state, to
            check and take over.

    Raises:
        BadInput: The base, the data set, a parameter or a file of the state cannot be used.
        Denied: The base is quarantined.
    """
    actor = workspace.require_role("ml-engineer", "operator")
    declared = workspace.host.operation(operation)
    with workspace.database.read() as connection:
        source = aliases.resolve(connection, base)
        dataset = datasets.get(connection, data)
    refuse_quarantined(workspace, source)
    given = dict(parameters or {})
    for parameter in declared.parameters:
        if parameter.name in SALTS and parameter.name not in given:
            given[parameter.name] = secrets.token_hex(16)
    checked = declared.check({**given, "records": Records(dataset.digest)})
    plan = {
        "schema": 1, "kind": "training", "model": check_model_name(model), "operation": operation,
        "source": source.digest, "records": {"records": dataset.digest}, "seed": seed,
        "parameters": {name: value for name, value in checked.items() if name != "records"},
    }  # fmt: skip
    brought = sealed(workspace, model, operation, state) if state is not None else {}
    id, now = f"t-{secrets.token_hex(5)}", datetime.now(UTC)
    case = Case(
        id=id, kind="training", model=model, subject=DataSubject("s_nobody"), status=CaseStatus.LOCATING,
        requester=actor.id, regime="", received_at=now, due_at=now,
    )  # fmt: skip
    with workspace.database.transaction() as connection:
        cases.open_case(connection, case, quorum=0)
        digest = cases.set_plan(connection, id, plan)
        if brought:
            journal.record_step(connection, id, BROUGHT, {"state": brought})
        workspace.record(connection, f"{id}:opened", Action.TRAINING_OPENED, {"model": model, "plan": digest})
    return id


def sealed(workspace: Workspace, model: str, operation: str, directory: Path) -> dict[str, str]:
    """Seal a directory's files as state of a model's lineage, and return their digests by name.

    Raises:
        BadInput: There is no file in it.
    """
    from amends.scheduler.state import SealedState

    files = sorted(file for file in directory.rglob("*") if file.is_file()) if directory.is_dir() else []
    if not files:
        raise BadInput(f"there is nothing in {directory} to take over; name the directory that a run has left")
    state = SealedState(workspace.blobs, {}, workspace.keyring.lineage_key(work_name(model)).hex())
    for file in files:
        state.put(f"{operation.rpartition('.')[2]}/{file.relative_to(directory).as_posix()}", file.read_bytes())
    return state.digests


def _brought(workspace: Workspace, work: Work) -> Mapping[str, str]:
    """Return the state that was brought along, by name."""
    with workspace.database.read() as connection:
        found = journal.step_result(connection, work.lead, BROUGHT)
    return found["state"] if found else {}


def train(workspace: Workspace, work: Work) -> Result:
    """Run the training operation on the base.

    Raises:
        Denied: The base was set aside since the case was opened.
    """
    plan = plan_of(workspace, work)
    with workspace.database.read() as connection:
        source, *_ = lineage.by_digest(connection, plan["source"])
    refuse_quarantined(workspace, source)
    step = Step(plan["operation"], plan["records"], plan["parameters"], plan["seed"])
    handle = operate(
        workspace, f"{work.lead}-train", step, source=plan["source"], state=_brought(workspace, work),
        lineage=work_name(work.model),
    )  # fmt: skip
    recipe = read_recipe(workspace, plan["source"])
    return finish(workspace, handle, step, recipe, stopper(workspace, work)).to_json()


def measure_training(workspace: Workspace, work: Work) -> Result:
    """Read how well the candidate learnt, beside the base."""
    plan, built = plan_of(workspace, work), earlier(workspace, work, "train")
    handle = measure(
        workspace, f"{work.lead}-after", PROBES, model=str(built["digest"]), reference=plan["source"],
        records={"retain": plan["records"]["records"]}, seed=plan["seed"],
    )  # fmt: skip
    result = wait(handle, stopper(workspace, work))
    return {"before": [], "after": [reading_to_json(reading) for reading in result.readings]}


def register_training(workspace: Workspace, work: Work) -> Result:
    """Enter the trained version with its lineage and state."""
    plan, built = plan_of(workspace, work), earlier(workspace, work, "train")
    digest = str(built["digest"])
    entry = Entry(
        key=f"{work.lead}-candidate",
        model=work.model,
        digest=digest,
        recipe=built["recipe"],
        parents=(Edge(digest, plan["source"], "base", "observed", plan["operation"], work.lead),),
        data=tuple(DataUse(digest, dataset, "train", "observed") for dataset in plan["records"].values()),
        state=built["state"],
        lineage=work_name(work.model),
        case=work.lead,
        tags={"amends.case": work.lead},
    )
    version = enter(workspace, entry, Action.MODEL_REGISTERED, requester_of(workspace, work))
    drop_built(workspace, work.lead, [{"state": _brought(workspace, work)}], built)  # what the operation did not keep
    return {"version": version.version, "digest": version.digest}


def promote_training(workspace: Workspace, work: Work) -> Result:
    """Name a model's first version champion; a later one waits for a promotion that people approve."""
    plan, registered = plan_of(workspace, work), earlier(workspace, work, "register")
    candidate = ModelVersion(work.model, registered["version"], registered["digest"])
    standing = champion(workspace, work.model)
    if standing is not None:
        return {"alias": None, "version": candidate.version}
    measured = earlier(workspace, work, "measure")
    blobs = {digest: {"train": digest} for digest in plan["records"].values()}
    promotion = Promotion(
        change=Change(plan["operation"], None, candidate, (), readings(measured, "after")),
        alias=CHAMPION,
        expected=None,
        case=work.lead,
        attempt=work.attempt,
        facts={
            "evidence_allowed": True,
            "evidence_age_days": age_days(workspace, work, "measure"),
            "digests_verified": verify_version(workspace, candidate),
            "suppression_checked": True,
            "suppression_hits": suppressed(workspace, blobs),
            **incident_facts(workspace, work, candidate),
        },
    )
    promote(workspace, promotion, requester_of(workspace, work))
    return {"alias": CHAMPION, "version": candidate.version}
