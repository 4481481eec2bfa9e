"""A case in plain words: where it stands, what its plan says, and who has to do what next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from amends.cli.familytext import opened_lines
from amends.cli.tables import Cell, Marked, Table

WAITING = ("awaiting review", "awaiting approval")
DONE = ("complete", "sealed", "negative finding", "in progress", "locating")
View = Mapping[str, Any]


def exit_code(view: View) -> int:
    """Return 0 for done, 3 for waiting, 1 for what failed or was refused, here or in a case that it opened."""
    own = [member for member in view.get("family", ()) if member["parent"] == view["id"]]
    if any(member["status"] == "failed" for member in own) and view["status"] in DONE:
        return 1
    return 3 if view["status"] in WAITING else 0 if view["status"] in DONE else 1


def time_left(row: View) -> Cell:
    """Return the days left, red when overdue and yellow when little of the time is left."""
    days = row["days_left"]
    if days is None:
        return None
    if row["urgency"] == "late":
        return Marked(f"{-days:.0f} days late", "bold red")
    return Marked(f"{days:.0f} days", "red") if row["urgency"] == "soon" else f"{days:.0f} days"


def case_lines(view: View) -> list[str]:
    """Return where a case stands."""
    lines = [
        f"case {view['id']} ({view['kind']} of {view['model']}) is {view['status']}",
        f"asked for by {view['requester']}, received {view['received_at']:%Y-%m-%d}",
    ]
    if view["days_left"] is not None:
        left = time_left(view)
        said = left.text if isinstance(left, Marked) else str(left)
        lines.append(f"due {view['due_at']:%Y-%m-%d %H:%M} UTC under {view['regime']}: {said}")
    lines += [f"{name}: {view[name]}" for name in ("outcome", "reason") if view[name]]
    if view["certificate"]:
        lines.append(f"certificate: {view['certificate']['page']}")
    return lines


def lines_of_plan(plan: View) -> Iterator[str]:
    """Yield a plan in plain words, whatever kind of case it is of."""
    told = {"erasure": plan_lines, "change": change_lines, "promotion": promotion_lines}.get(plan.get("kind", ""))
    return told(plan) if told else iter(())


def change_lines(plan: View) -> Iterator[str]:
    """Yield the plan of a change in plain words."""
    estimate, parent = plan["estimate"], plan["parent"]
    candidates = plan.get("candidates", [])
    how = plan["operation"] or f"the best of {len(candidates)} candidates"
    what = f"makes the model {plan['model']}" if parent is None else f"changes {plan['model']}@{parent['version']}"
    yield f"{what} with {how}, seed {plan['seed']}"
    beside = plan.get("models", {})
    yield from (f"{name}: {one['model']}@{one['version']}, {one['digest'][:12]}" for name, one in beside.items())
    if candidates:
        yield f"the best is the one with the least {plan['least']['name']} ({plan['least']['field']}) within the budget"
    yield from (f"  candidate {one['operation']}: {_settings(one['parameters'])}" for one in candidates)
    if not candidates:
        yield f"parameters: {_settings(plan['parameters'])}"
    yield from (f"{name}: {plan['counts'][name]} records of {digest[:12]}" for name, digest in plan["records"].items())
    if "dropped" in plan:
        yield f"drops {len(plan['dropped']['ids'])} records of {plan['dropped']['dataset'][:12]}"
    yield from (f"{name}: {value}" for name, value in sorted(plan.get("facts", {}).items()))
    yield from (f"  {number}. {step}" for number, step in enumerate(plan["steps"], start=1))
    seconds = "not known yet" if estimate["seconds"] is None else f"about {estimate['seconds']:g} s"
    yield f"cost: {seconds} on {estimate['cpus']} cpus, {estimate['disk_bytes'] / 1e6:.0f} MB of disk"


def _settings(parameters: View) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(parameters.items())) or "none"


def tried_tables(view: View) -> Iterator[str | Table]:
    """Yield what a search tried: what each candidate brought and cost, and why it was not taken."""
    if not view["tried"]:
        return
    plan = view["plan"]
    columns = ("candidate", "settings", plan["least"]["name"], plan["against"]["name"], "budget")
    rows: list[tuple[Cell, ...]] = [
        (Marked(one["operation"], "bold green") if one["is_chosen"] else one["operation"],
         _settings(one["parameters"]), one["least"], one["against"],
         "within" if one["within"] else Marked("; ".join(one["reasons"]), "yellow"))
        for one in view["tried"]
    ]  # fmt: skip
    yield "\ntried"
    yield Table(columns, rows)
    if view["picture"]:
        yield f"drawn in {view['picture']} of the workspace"


def promotion_lines(plan: View) -> Iterator[str]:
    """Yield the plan of a promotion in plain words."""
    alias, candidate = plan["alias"], plan["candidate"]
    here = "nothing" if alias["from"] is None else f"version {alias['from']}"
    verb = "moves back" if plan["rollback"] else "moves"
    yield f"{verb} {plan['model']}@{alias['name']} from {here} to version {candidate['version']}"
    yield f"version {candidate['version']} has the digest {candidate['digest'][:12]}"
    if plan["reason"]:
        yield f"why: {plan['reason']}"
    yield from (f"  {number}. {step}" for number, step in enumerate(plan["steps"], start=1))


def plan_lines(plan: View) -> Iterator[str]:
    """Yield an erasure's plan in plain words."""
    holds, estimate, identity = plan["holds"], plan["estimate"], plan["identity"]
    records = sum(map(len, plan["records"].values()))
    yield f"ground: {plan['ground']['article']}, {plan['ground']['because']}"
    yield f"identity: {'checked' if identity['checked'] else 'NOT checked'}, {identity['how']}"
    yield f"found: {records} records in {len(plan['records'])} data sets, {len(plan['reviewed'])} near misses reviewed"
    yield f"held by: {', '.join(holds['versions']) or 'no version'}; {holds['state_blobs']} blobs of private state"
    yield from (f"store {name}: {count} entries" for name, count in holds["stores"].items())
    yield from (f"recipient to be told: {recipient}" for recipient in holds["recipients"])
    yield from opened_lines(plan)
    if plan.get("how") == "retire":
        yield f"how: taken out of service, for {plan['because']}"
    else:
        yield f"how: {plan['operation']}, guarantee {plan['guarantee']}{_about(plan, 0)}"
    yield from (
        f"  or, where that is not enough: {rung['operation']}{_about(plan, number)}"
        for number, rung in enumerate(plan.get("ladder", [])[1:], start=1)
    )
    yield from (f"  {number}. {step}" for number, step in enumerate(_in_order(plan["steps"]), start=1))
    yield f"cost: {_training(plan)} on {estimate['cpus']} cpus, {estimate['disk_bytes'] / 1e6:.0f} MB of disk"
    yield f"roll back to: {plan['rollback']}"
    days, retention = plan["purge_after_days"], plan["retention_days"]
    yield f"purged {days} days after promotion, traces destroyed after {retention} days"


def _training(plan: View) -> str:
    """Return what an exact erasure takes, built twice; an approximate one says it at each of its methods."""
    seconds = plan["estimate"]["training_seconds"]
    if plan.get("how") == "retire":
        return "no training"
    if plan["guarantee"] == "approximate":
        return "what is said of each method"
    return "training, for a time that is not known yet," if seconds is None else f"about {seconds:g} s of training"


def _about(plan: View, rung: int) -> str:
    """Return what a rung of the ladder is foreseen to take; nothing where nobody can say."""
    ladder = plan.get("ladder", [])
    seconds = ladder[rung].get("seconds") if rung < len(ladder) else None
    return "" if seconds is None else f", about {seconds:g} s"


def _in_order(steps: Mapping[str, str]) -> list[str]:
    """Return what the steps say in the order in which they are done; the stored plan is sorted by name."""
    from amends.governor.cases.planning import ORDER

    return [steps[name] for name in sorted(steps, key=lambda name: ORDER.index(name) if name in ORDER else 99)]


def next_steps(view: View) -> list[str]:
    """Return who has to do what now, with the exact command."""
    id, status = view["id"], view["status"]
    if status == "awaiting review":
        unmarked = [miss["record_id"] for miss in view["near_misses"] if miss["mark"] is None]
        return _looking(id, unmarked) if unmarked else _finding(id)
    if status == "awaiting approval":
        return _approval(view)
    if status == "sealed" and view.get("kept_open_by"):
        return ["it stays open until what it opened has closed:", *(f"  {line}" for line in view["kept_open_by"])]
    ways = {
        "failed": f"mend what the reason says, then a dpo, operator or ml-engineer: amends cases retry {id}",
        "sealed": "what was superseded is purged when its time has come: amends cases purge (or --now)",
        "in progress": f"follow it: amends cases watch {id}; if its process died: amends work",
        "locating": f"somebody is looking for the person; if that process died: amends cases replan {id}",
    }
    return [ways[status]] if status in ways else []


def _looking(id: str, unmarked: list[str]) -> list[str]:
    return [
        f"{len(unmarked)} records may name this person; a dpo or operator decides about each:",
        f"  amends cases show {id} --near",
        *(f"  amends cases mark {id} {record} erase|redact|keep|hold --reason …" for record in unmarked[:3]),
    ]


def _finding(id: str) -> list[str]:
    return [
        "a dpo or operator finds out more before anything can be signed:",
        f"  register the data that hold this person under whatever name, then: amends cases replan {id}",
        f"  or ask them for more identifiers, open a new request with those, then: amends cases cancel {id}",
    ]


def _approval(view: View) -> list[str]:
    id, count = view["id"], view["missing_approvals"]
    if not count and view.get("waits_for"):
        return [f"everybody has approved; it begins once case {view['waits_for'][0]} has replaced its version"]
    if not count:
        return ["everybody has approved; carry it out: amends work"]
    roles = " or ".join(view["approver_roles"])
    people = "one more person" if count == 1 else f"{count} different people"
    return [
        f"{people} ({roles}; not {view['requester']}, who asked) must approve this plan:",
        f"  amends cases approve {id} --plan {view['plan_digest'][:12]}",
    ]


def near_table(view: View, texts: Mapping[str, str]) -> Table:
    """Return the near misses, with their text where it was asked for."""
    columns: tuple[str, ...] = ("near miss", "likeness", "mark", "reason", "by")
    rows: list[tuple[Cell, ...]] = [
        (
            miss["record_id"],
            f"{miss['score']} %",
            miss["mark"] or Marked("to decide", "yellow"),
            miss["reason"],
            miss["person"],
        )
        for miss in view["near_misses"]
    ]
    if texts:
        columns = (*columns[:2], "mark", "text")
        rows = [(*row[:3], " / ".join(texts.get(str(row[0]), "").splitlines())) for row in rows]
    return Table(columns, rows, "no near misses")


def evidence_tables(view: View) -> Iterator[str | Table]:
    """Yield the readings and the rules of every decision on a case."""
    for decision in view["decisions"]:
        answer = "allows" if decision["allowed"] else "denies"
        yield f"\npolicy {decision['policy']} {answer} (decision {decision['id']})"
        yield from _readings(decision["inputs"])
        asked = [a for a in decision["answers"] if not a["reason"].startswith("not asked")]
        yield Table(("answer", "rule", "because"), [(_answer(a), a["rule"], a["reason"]) for a in asked])
        if unasked := len(decision["answers"]) - len(asked):
            yield f"{unasked} rules are for other cases and were not asked"
        yield from (f"a reviewer objects: {sentence}" for sentence in decision["objections"])


def _answer(answer: View) -> Cell:
    if answer["passed"]:
        return "holds"
    return Marked("denies", "red") if answer["severity"] == "deny" else Marked("warns", "yellow")


def _readings(inputs: View) -> Iterator[Table]:
    before = {reading["name"]: reading["value"] for reading in inputs["before"]}
    rows = [(r["name"], before.get(r["name"]), r["value"], r["low"], r["high"], r["n"]) for r in inputs["after"]]
    if rows:
        yield Table(("reading", "before", "after", "low", "high", "n"), rows)
