"""What a passport answers to the questions of inventories; None where nobody recorded it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Told = Mapping[str, Any]
Answer = tuple[str, str] | None
LINEAGE, DECLARED = "lineage", "declared"
ATTACK = ".attack-"


def released(passport: Told) -> Answer:
    """When an alias was moved to it, which puts it into service here; a market is not on record."""
    told = [f"became {move['alias']} in this workspace at {move['at']}" for move in passport["version"]["moves"]]
    return (", ".join(told), LINEAGE) if told else None


def updated(passport: Told) -> Answer:
    """When the version was registered."""
    when = passport["version"]["registered_at"]
    return (f"registered at {when}", LINEAGE) if when else None


def distributed(passport: Told) -> Answer:
    """How often the version was handed out."""
    count = passport["version"]["recipients"]
    return (f"exported {count} times from this workspace", LINEAGE) if count else None


def architecture(passport: Told) -> Answer:
    """What it is built like, and how many numbers it holds."""
    found = passport["anatomy"]
    if not found or not found["architecture"] or not found["parameters"]:
        return None
    attached = f", and {found['attached_parameters']:,} in attachments" if found["attached_parameters"] else ""
    return f"{found['architecture']}, {found['parameters']:,} parameters{attached}", LINEAGE


def modality(passport: Told) -> Answer:
    """What goes in and comes out: a causal language model with a tokenizer reads and writes text."""
    found = passport["anatomy"]
    if not found or not found["has_tokenizer"] or not str(found["architecture"]).endswith("ForCausalLM"):
        return None
    return "text in, text out", LINEAGE


def context(passport: Told) -> Answer:
    """How many tokens fit."""
    found = passport["anatomy"]
    return (f"{found['context_tokens']:,} tokens, input and output together", LINEAGE) if (
        found and found["context_tokens"]
    ) else None  # fmt: skip


def licence(passport: Told) -> Answer:
    """Under what it stands, as it was declared at import."""
    found = passport["licences"]
    return (f"{found['label']} ({found['family']})", DECLARED) if found["family"] != "unknown" else None


def restrictions(passport: Told) -> Answer:
    """What its licence confines."""
    found = passport["licences"]
    if found["family"] in ("unknown", "permissive"):
        return None
    return f"those of its licence, {found['label']} ({found['family']})", DECLARED


def means(passport: Told) -> Answer:
    """What is needed to load it."""
    found = passport["anatomy"]
    if not found:
        return None
    if found["attachments"]:
        return f"Amends, because of its attachments: {', '.join(found['attachments'])}", LINEAGE
    return "an ordinary Hugging Face directory in safetensors, or MLflow", LINEAGE


def software(passport: Told) -> Answer:
    """Which libraries the last step ran with."""
    if not passport["steps"]:
        return None
    libraries = (passport["steps"][-1]["fingerprint"] or {}).get("libraries", {})
    told = ", ".join(f"{name} {version}" for name, version in sorted(libraries.items()))
    return (told, LINEAGE) if told else None


def methods(passport: Told) -> Answer:
    """Which operations made it of its base, with parameters and seeds."""
    told = [f"{step['operation']} (seed {step['seed']}; {_given(step['parameters'])})" for step in passport["steps"]]
    return ("; then ".join(told), LINEAGE) if told else None


def adaptations(passport: Told) -> Answer:
    """Which operations changed it."""
    told = [step["operation"] for step in passport["steps"]]
    return (", then ".join(told), LINEAGE) if told else None


def _given(parameters: Told) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(parameters.items())) or "no parameters"


def data(passport: Told) -> Answer:
    """Which data sets went into it and its ancestors."""
    used = {row["digest"]: row for row in passport["data"]}
    told = [
        f"{row['name']} ({row['role']}): {row['records']} records, sha256 {digest[:12]}, {row['evidence']}"
        for digest, row in used.items()
    ]
    source = DECLARED if any(row["evidence"] == DECLARED for row in used.values()) else LINEAGE
    return ("; ".join(told), source) if told else None


def components(passport: Told) -> Answer:
    """Which other versions it is made from."""
    told = [f"{row['version']} ({row['kind']}, {row['evidence']})" for row in passport["ancestors"]]
    source = DECLARED if any(row["evidence"] == DECLARED for row in passport["ancestors"]) else LINEAGE
    return (", ".join(dict.fromkeys(told)), source) if told else None


def effort(passport: Told) -> Answer:
    """How long the case that made it took, and where."""
    if not passport["seconds"] or not passport["steps"]:
        return None
    device = (passport["steps"][-1]["fingerprint"] or {}).get("device", "a device that is not on record")
    return f"{passport['seconds']:.0f} s for the whole case, measuring included, on {device}", LINEAGE


def evaluation(passport: Told) -> Answer:
    """How much was read, and what it was judged by."""
    read, judged = passport["readings"]["after"], passport["decisions"]
    if not read:
        return None
    policies = ", ".join(dict.fromkeys(decision["policy"] for decision in judged))
    return f"{len(read)} readings, judged by: {policies}; they stand in this passport", LINEAGE


def attacks(passport: Told) -> Answer:
    """Which readings are those of attacks."""
    names = [reading["name"] for reading in passport["readings"]["after"] if ATTACK in reading["name"]]
    return (f"{len(names)} readings of attacks, such as {names[0]}", LINEAGE) if names else None


def limitations(passport: Told) -> Answer:
    """Where its limits are listed."""
    return "listed in this passport under known limits", LINEAGE


def functioning(passport: Told) -> Answer:
    """What the policies last said."""
    if not passport["decisions"]:
        return None
    last = passport["decisions"][-1]
    said = "allowed" if last["allowed"] else "denied"
    return f"the policy {last['policy']} {said} it at {last['at']}; status {passport['version']['status']}", LINEAGE


def exceptions(passport: Told) -> Answer:
    """Which alarms were let pass."""
    if not passport["decisions"]:
        return None
    told = [
        f"{decision['policy']}: {answer['rule']}"
        for decision in passport["decisions"]
        if decision["allowed"]
        for answer in decision["answers"]
        if not answer["passed"]
    ]
    return "; ".join(dict.fromkeys(told)) or "none: every rule that was asked holds", LINEAGE


def developers(passport: Told) -> Answer:
    """Who asked for it, by their id."""
    return (f"asked for by {passport['case']['requester']}", LINEAGE) if passport["case"] else None


def validators(passport: Told) -> Answer:
    """Who approved the plan, by id and role."""
    told = [f"{row['person']} ({row['role']})" for row in passport["approvals"] if row["decision"] == "approve"]
    return (f"plan approved by {', '.join(dict.fromkeys(told))}", LINEAGE) if told else None


def validated(passport: Told) -> Answer:
    """When policies judged it."""
    told = [f"{decision['policy']} at {decision['at']}" for decision in passport["decisions"]]
    return (", ".join(told), LINEAGE) if told else None
