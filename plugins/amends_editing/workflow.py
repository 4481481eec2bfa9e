"""From checked edits to a case: register, open, follow, or only try. What `commands` calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from amends import BadInput, BadRecords
from amends.cli.following import follow
from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.governor import offering
from amends.governor.cases.changing import drop_records, open_change, operation_for
from amends.governor.data.registering import register_rows
from amends.governor.data.rows import rows_of
from amends.governor.models.promoting import standing
from amends.governor.models.recipes import read_recipe
from amends.governor.workspace import Workspace
from amends_editing import depth, holding, proposals
from amends_editing.settings import check_verbs

POLICY = "editing"
TEXT = "text"  # the parameter by which a method takes running text
LEAST_LETTERS = 1000  # fewer cannot be as many tokens as statistics are read over at least
TRIED_TOKENS = 20_000  # of text that a trial reads, a tenth of what an edit reads

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Request:
    """What somebody asked for beside the edits themselves.

    Args:
        model: The model to change.
        method: The operation; empty for the policy's choice.
        parameters: The operation's scalars.
        seed: The only source of randomness.
        text: A file of passages to measure the model's activations on, or None.
        trace: Whether to measure first which layers suit a model that nobody traced yet.
    """

    model: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    text: Path | None = None
    trace: bool = True


def check_request(workspace: Workspace, request: Request, rows: Rows) -> None:
    """Refuse what the method would refuse, whoever chose it: better now than after two people approved.

    Raises:
        BadInput: It takes no edits or cannot do what one asks for, reads no text and is given some, or the model lacks
            a layer that is named.
    """
    method, declared = _method(workspace, request)
    if holding.EDITS not in declared:
        raise BadInput(f"{method} takes no edits; name a method that does, such as editing.memit")
    check_verbs(method, rows)
    if request.text is not None and TEXT not in declared:
        raise BadInput(f"{method} reads no running text; leave --text out")
    if method.startswith(holding.FAMILY):
        depth.check_layers(workspace, request.model, request.parameters)


def open_and_follow(
    screen: Screen,
    workspace: Workspace,
    request: Request,
    rows: Rows,
    contradictions: int,
    name: str,
    file: Path,
    drop_suppressed: bool,
) -> int:
    """Register the edits, open a case that makes them, and carry it on as far as nobody has to approve.

    Raises:
        BadInput: The method needs text, and nobody gave any, or what was given says too little; nothing is registered.
    """
    text, texts = find_text(workspace, request), text_rows(request.text) if request.text is not None else None
    made = register_rows(workspace, name, rows, source=file, drop_suppressed=drop_suppressed)
    records = {holding.EDITS: made.digest, **({} if text is None else {TEXT: text})}
    if texts is not None:
        records[TEXT] = register_rows(workspace, f"{name}-text", texts, source=request.text).digest
    if request.trace:  # of the rows that were kept: what was refused or left out is nobody's to look into
        trace_if_new(screen, workspace, request, list(rows_of(workspace, made.digest)))
    request = with_measured(screen, workspace, request)
    case = open_change(
        workspace, model=request.model, policy=POLICY, records=records, operation=request.method,
        parameters=request.parameters, seed=request.seed, facts={"contradictions": contradictions},
    )  # fmt: skip
    return follow(screen, workspace, case.id)


def find_text(workspace: Workspace, request: Request) -> str | None:
    """Return the text of an earlier step, for a method that reads running text where nobody gives any.

    The step names it although its statistics lie in the lineage's state: should what made those be left out one day,
    this step must be able to run without it. Better to miss it now than after two people approved.

    Raises:
        BadInput: No step of the lineage has any.
    """
    _, taken = _method(workspace, request)
    version = standing(workspace, request.model)
    if TEXT not in taken or request.text is not None or version is None:
        return None
    steps = read_recipe(workspace, version.digest).get("steps", ())
    found = next((step["records"][TEXT] for step in reversed(steps) if TEXT in step["records"]), None)
    if found is None:
        from amends_editing.applying import NEEDS_TEXT

        raise BadInput(NEEDS_TEXT)
    return str(found)


def drop_and_follow(screen: Screen, workspace: Workspace, model: str, ids: Sequence[str], step: int) -> int:
    """Open a case that rebuilds a model's champion without these edits, and carry it on."""
    workspace.require_role(*holding.SEES)
    held = holding.held_edits(workspace, holding.resolve(workspace, model))
    chosen = holding.of_one_step(held, ids, step)
    records = [str(one.row["id"]) for one in chosen]
    nothing_new = {"contradictions": 0}
    case = drop_records(workspace, model, chosen[0].dataset, records, facts=nothing_new)
    return follow(screen, workspace, case.id)


def text_rows(file: Path) -> list[dict[str, str]]:
    """Return the passages of a text, a row for each line that is not blank.

    Raises:
        BadRecords: It cannot be read, or has fewer letters than tokens are needed.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadRecords(f"{file} cannot be read as UTF-8; give a text file") from None
    rows = [{"prompt": line.strip()} for line in lines if line.strip()]
    if not rows:
        raise BadRecords(f"{file} is empty; give a text of some thousand words")
    letters = sum(len(row["prompt"]) for row in rows)
    if letters < LEAST_LETTERS:  # a token has one at least
        raise BadRecords(f"{file} has {letters} letters and says too little; give a text of some thousand words")
    return rows


def show_trial(screen: Screen, workspace: Workspace, request: Request, rows: Rows) -> int:
    """Show what a version answers before and after a few edits; nothing is kept."""
    from amends_editing.trying import try_edits

    request = with_measured(screen, workspace, request)
    method, declared = _method(workspace, request)
    texts = text_rows(request.text) if request.text else ()
    # a trial need not be as careful, where nobody said how much text
    quick = {**({"tokens": TRIED_TOKENS} if "tokens" in declared else {}), **request.parameters}
    tried = try_edits(workspace, request.model, method, rows, quick, request.seed, texts)
    shown = [(one.id, *map(_on_one_line, (one.prompt, one.before, one.after))) for one in tried]
    document = {"method": method, "tried": [asdict(one) for one in tried]}
    screen.show(document, Table(("edit", "prompt", "before", f"after {method}"), shown), "nothing was kept")
    return 0


def _on_one_line(text: str) -> str:
    """Return a text for a cell of a table: a model says new lines and control characters, too."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _method(workspace: Workspace, request: Request) -> tuple[str, set[str]]:
    """Return what would be run, and the names of its parameters.

    Where nobody names a method it is the policy's first; a version may be named, the model's own is asked.
    """
    method = request.method or operation_for(workspace, model=request.model.partition("@")[0], policy=POLICY)
    return method, {parameter["name"] for parameter in offering.operation(method)["parameters"]}


def trace_if_new(screen: Screen, workspace: Workspace, request: Request, rows: Rows) -> None:
    """Measure which layers suit a model that nobody traced yet, on the facts that are to be edited.

    That needs text, and facts with an old answer that the model knows; where they are too few, the layers are chosen by
    the depth. What is found is kept, so that the next edit of the model need not look again.
    """
    from amends_editing import tracing

    method, declared = _method(workspace, request)
    told = [row for row in rows if row.get("old") and row.get("target")]
    if request.text is None or len(told) < tracing.FEWEST:
        return
    if not proposals.wanted(workspace, request.model, method, request.parameters, declared):
        return
    texts = text_rows(request.text)
    screen.say(f"{request.model} was not traced yet; measuring which layers suit its edits (--no-trace skips this)")
    try:
        found = tracing.trace(workspace, request.model, told, request.seed, texts)
    except BadInput as problem:
        screen.say(f"not measured: {problem}")
        return
    if found.proposal is None:
        screen.say("no set of layers changed the facts without moving too much else; nothing is proposed")


def with_measured(screen: Screen, workspace: Workspace, request: Request) -> Request:
    """Return the request with the layers and the weight that tracing found for its model, where nobody gave any."""
    method, declared = _method(workspace, request)
    values, said = proposals.filled(workspace, request.model, method, request.parameters, declared)
    if said:
        screen.say(said)
    # values belong to one method, which the plan then names
    return replace(request, method=method, parameters=values) if values != dict(request.parameters) else request


def show_trace(
    screen: Screen, workspace: Workspace, model: str, rows: Rows, text: Path | None, picture: Path | None, seed: int
) -> None:
    """Trace where a model keeps facts, draw it, and show the layers and settings that are proposed."""
    from amends_editing import heatmap, tracing

    texts = () if text is None else text_rows(text)
    found = tracing.trace(workspace, model, rows, seed, texts)
    drawn = heatmap.draw(found.effects, f"where {model} keeps facts", picture or Path(f"{_plain(model)}-trace.png"))
    screen.show({**found.to_json(), "picture": drawn}, *found.parts(), f"drawn in {drawn}")


def _plain(model: str) -> str:
    return model.replace("@", "-").replace("/", "-")
