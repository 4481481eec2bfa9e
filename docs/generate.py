"""Write the reference pages from what the code declares; with `--check` only say which of them are stale.

Run by `make docs` and `make fix`; `make lint` runs `--check` and fails where a page says something else than the code.
Only the plugins that come with Amends are described, whatever else is installed.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import yaml

from amends import hookspecs, host
from amends.cli.root import SECTIONS, root
from amends.cli.verbs import Verb
from amends.governor.settings import TEMPLATE, Settings
from amends.operation import Operation, Parameter, Probe

DOCS = Path(__file__).parent
POLICIES = DOCS.parent / "policies"
NOTE = "<!-- Written by docs/generate.py from what the code declares; change the code and run `make fix`. -->\n"
WIDTH = 100
ENVIRONMENT = {
    "AMENDS_HOME": "Where the workspace is; `./.amends` by default.",
    "AMENDS_TOKEN": "Who acts: the token that `amends init` or `amends people add` showed. Empty: who may only look.",
    "AMENDS_CACHE": "On a worker of a cluster: this node's cache of bytes by digest, never shared between nodes.",
    "AMENDS_BLOBS": "Where `mlflow.pyfunc` finds the base of a version outside a workspace; as `blobs` above.",
    "AMENDS_DEBUG": "`1` shows tracebacks, which may hold personal data; for developers.",
    "AMENDS_REGISTRY_KEY": "On a guarded MLflow server: the public keys that may sign permits, as a path or in base64.",
    "RAY_ADDRESS": "The Ray cluster to join; without it Amends starts a small Ray of its own.",
    "RAY_AUTH_MODE": "With `RAY_AUTH_TOKEN` or `RAY_AUTH_TOKEN_PATH`: how to sign in to that cluster.",
    "MLFLOW_TRACKING_URI": 'The MLflow server behind `blobs = "mlflow-artifacts:/…"`.',
}
MORE = {
    "workflows": "Where DBOS keeps which work was begun: ids and step names, nothing else.",
    "artifacts": "Where MLflow keeps files, beside a database; a server has a place of its own.",
    "cpus": "How many cores an own Ray, or this process, offers.",
    "webhooks": "Whom to tell of what happens, each in a `[[webhooks]]` table: see [Webhooks](../webhooks.md).",
    "gpus": "How many GPUs it offers; 0 keeps every operation on the CPU.",
}


def built_in() -> host.Host:
    """Return a host with the plugins of this distribution alone."""
    entries = importlib.metadata.entry_points(group=hookspecs.GROUP)
    own = [entry for entry in entries if entry.dist is not None and entry.dist.name == "amends"]
    found = host.load([(entry.name, entry.load()) for entry in sorted(own, key=lambda entry: entry.name)])
    found.require_whole()
    return found


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines) + "\n"


def cell(text: str) -> str:
    """Return a text that fits a table's cell."""
    return " ".join(text.replace("|", "\\|").split())


def prose(thing: Any) -> str:
    """Return a docstring as Markdown: its sections as lists."""
    text = inspect.getdoc(thing) or ""
    head, *sections = re.split(r"^(Args|Returns|Raises):\n", text, flags=re.MULTILINE)
    parts = [head.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        joined = re.sub(r"\n {8}", " ", body.rstrip())
        lines = [line.strip() for line in joined.splitlines() if line.strip()]
        items = [re.sub(r"^(\w+): ", r"`\1`: ", line) if title != "Returns" else line for line in lines]
        parts.append(f"{title}:\n\n" + (" ".join(items) if title == "Returns" else "\n".join(f"- {i}" for i in items)))
    return "\n\n".join(parts) + "\n"


def operations(found: host.Host) -> str:
    """Return the page of the operations."""
    parts = [NOTE, "# Operations\n", "Named changes to a model; `amends operations NAME` shows the same.\n"]
    for name, operation in found.operations.items():
        parts += [f"## {name}\n", prose(operation.function), declared(operation, found), parameters(operation)]
    return "\n".join(parts)


def probes(found: host.Host) -> str:
    """Return the page of the probes."""
    parts = [NOTE, "# Probes\n", "Named measurements of a model; `amends probes NAME` shows the same.\n"]
    for name, probe in found.probes.items():
        parts += [f"## {name}\n", prose(probe.function), declared(probe, found), parameters(probe)]
    return "\n".join(parts)


def declared(thing: Operation | Probe, found: host.Host) -> str:
    """Return what a declaration says beside its parameters."""
    rows = [
        ("plugin", found.source_of(thing.name).name),
        ("claims", f"{thing.cpus} CPUs, {thing.gpus:g} GPUs, {thing.memory_gb:g} GB"),
    ]
    if isinstance(thing, Operation):
        rows += [
            ("verified by", ", ".join(f"[{name}](probes.md#{anchor(name)})" for name in thing.verified_by)),
            ("accepts attachments", ", ".join(thing.accepts) or "none"),
            *([("takes whole", ", ".join(thing.whole))] if thing.whole else []),
            ("guarantee", str(thing.guarantee or "it erases nothing")),
            ("rebuilds", thing.rebuilds or "nothing"),
        ]
    return table(("declares", ""), rows)


def anchor(name: str) -> str:
    """Return the address of a heading inside its page."""
    return re.sub(r"[^\w\s-]", "", name).strip().lower().replace(" ", "-")


def parameters(thing: Operation | Probe) -> str:
    """Return the parameters as a table."""
    if not thing.parameters:
        return "It has no parameters.\n"
    return table(("parameter", "type", "default"), ((f"`{p.name}`", kind(p), default(p)) for p in thing.parameters))


def kind(parameter: Parameter) -> str:
    """Return a parameter's type as people write it."""
    return " or ".join(map(repr, parameter.choices)) or parameter.kind.__name__


def default(parameter: Parameter) -> str:
    """Return a parameter's default, or who gives it."""
    if parameter.is_reference:
        return "given by the case" + (", where there is any" if not parameter.is_required else "")
    return "required" if parameter.is_required else f"`{parameter.default}`"


def hooks(found: host.Host) -> str:
    """Return the page of the hooks."""
    parts = [NOTE, "# Hooks\n", "What each hook is given and returns; [Hooks](../hooks.md) has an example of each.\n"]
    for name, spec in vars(hookspecs).items():
        if name.startswith("amends_"):
            signature = str(inspect.signature(spec)).replace("'", "")
            parts += [f"## {name}\n", f"```python\ndef {name}{signature}\n```\n", prose(spec)]
    return "\n".join(parts)


def cli(found: host.Host) -> str:
    """Return the page of the command line: the help of every command."""
    host._HOST[:] = [found]  # the root asks this process's host, which may have other people's plugins
    parts = [NOTE, "# Command line\n"]
    context = click.Context(root, info_name="amends", max_content_width=WIDTH, terminal_width=WIDTH)
    parts.append(f"```text\n{root.get_help(context)}\n```\n")
    for title, rows in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name, _, _ in rows:
            parts += commands(root.get_command(context, name), context)
    known = {name for rows in SECTIONS.values() for name, _, _ in rows}
    parts.append("## From plugins\n")
    for name in root.list_commands(context):
        parts += commands(root.get_command(context, name), context) if name not in known else ()
    return "\n".join(parts)


def commands(command: click.Command | None, parent: click.Context) -> Iterator[str]:
    """Yield the help of a command and of those below it."""
    assert command is not None
    context = click.Context(command, info_name=command.name, parent=parent, terminal_width=WIDTH)
    yield f"### {context.command_path}\n"
    help = command.get_help(context)
    yield f"```text\n{help.rstrip()}\n```\n"
    if isinstance(command, click.Group) and not isinstance(command, Verb):
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), context)


def settings(found: host.Host) -> str:
    """Return the page of `amends.toml` and of the environment."""
    comments = dict(_comments())
    comments |= MORE
    rows = [
        (f"`{f.name}`", f"`{f.default}`" if f.default not in ("", ()) else "none", comments[f.name])
        for f in fields(Settings)
    ]
    return "\n".join(
        (
            NOTE,
            "# Settings\n",
            "`amends.toml` lies in the workspace (`AMENDS_HOME`); every line is optional. `{home}` is the workspace; "
            "`cpus = 0` is all cores that this process may use.\n",
            table(("key", "default", "what it is"), rows),
            "## Environment\n",
            table(("variable", "what it is"), ((f"`{name}`", text) for name, text in ENVIRONMENT.items())),
        )
    )


def _comments() -> Iterator[tuple[str, str]]:
    """Yield each setting with what the template says of it: beside it, or above its group."""
    group: list[str] = []
    for line in TEMPLATE.splitlines():
        found = re.match(r"# (\w+) = (?:\"[^\"]*\"|\S+)\s*(?:# (.*))?$", line)
        if found:
            yield found[1], found[2] or " ".join(group)
        else:
            group = [*group, line.removeprefix("# ")] if line.startswith("#") else []


def policies(found: host.Host) -> str:
    """Return the page of the policies that Amends brings."""
    parts = [NOTE, "# Policies\n", "What decides, and why; [Policies](../policies.md) says how to write one.\n"]
    for file in sorted(POLICIES.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        known = yaml.safe_load(text)
        parts.append(f"## {file.stem}\n")
        parts += _policy(known, text) if "rules" in known else [f"```yaml\n{text.rstrip()}\n```\n"]
    return "\n".join(parts)


def _policy(known: dict[str, Any], text: str) -> Iterator[str]:
    yield f"{known['description']}\n"
    rows = [] if "environments" in known else [("approvals", _quorum(known["approvals"]))]
    for alias, needs in known.get("environments", {}).items():
        first = f"; {_quorum(needs['first'])} for its first version" if "first" in needs else ""
        rows.append((f"approvals for `{alias}`", _quorum(needs["approvals"]) + first))
    rows += [("changes behind its back", known["reconcile"])] if "reconcile" in known else []
    rows += [("operations, the strongest first", ", ".join(known["operations"]))] if "operations" in known else []
    rows += [("purge after", f"{known['purge']['after_days']} days")] if "purge" in known else []
    rows += [("models that descend", known["descendants"])] if "descendants" in known else []
    rows += [("must be read", ", ".join(f"`{name}`" for name in known["required"]))] if "required" in known else []
    if "audit" in known:
        rows.append(("read besides where readings decide", ", ".join(f"`{name}`" for name in known["audit"])))
    for name, least in known.get("minimum", {}).items():
        rows.append((f"`{name}` needs", ", ".join(f"{key} {value}" for key, value in least.items())))
    yield table(("setting", ""), rows)
    yield from _rules(known["rules"], text)
    if "search" in known:
        yield from _search(known["search"], text)


def _quorum(quorum: dict[str, Any]) -> str:
    roles = ", ".join(quorum.get("roles", ())) or "anybody"
    return f"{quorum['count']} of {roles}" if quorum["count"] else "nobody has to"


def _search(search: dict[str, Any], text: str) -> Iterator[str]:
    yield "### What is tried\n"
    rows = [("least", f"`{search['least']}`"), ("against", f"`{search['against']}`"), ("searched on", search["most"])]
    for one in search["candidates"]:
        settings = ", ".join(f"{name} {value}" for name, value in one.get("settings", {}).items())
        rows.append((f"`{one['operation']}`", settings or "its defaults"))
    yield table(("search", ""), [(name, str(value)) for name, value in rows])
    yield "The budget that a candidate must stay within:\n"
    yield from _rules(search["rules"], text.partition("\nsearch:\n")[2], "search, ")


def _rules(rules: list[dict[str, Any]], text: str, before: str = "") -> Iterator[str]:
    for rule in rules:
        asked = " or ".join(rule["when"]) if "when" in rule else "always"
        why = _why(rule["id"], text)
        yield f"### {before}{rule['id']}\n\n{rule['message']} *{rule['severity']}; asked when: {asked}.*\n"
        yield f"```text\n{rule['expr'].strip()}\n```\n" + (f"\n{why}\n" if why else "")


def _why(rule: str, text: str) -> str:
    """Return the comment that stands inside a rule."""
    block = text.partition(f"  - id: {rule}\n")[2].partition("  - id: ")[0]
    return " ".join(line.strip().removeprefix("# ") for line in block.splitlines() if line.startswith("    # "))


PAGES = {page.__name__: page for page in (operations, probes, hooks, cli, settings, policies)}


def main(check: bool) -> int:
    """Write the pages, or name those that are stale; return the exit code."""
    found, stale = built_in(), []
    for name, page in PAGES.items():
        file, text = DOCS / "reference" / f"{name}.md", page(found).rstrip() + "\n"
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(file.relative_to(DOCS.parent)))
        if not check:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    for file_name in stale:
        click.echo(f"{file_name} is stale; run make fix" if check else f"wrote {file_name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
