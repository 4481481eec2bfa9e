"""A passport as a CycloneDX 1.6 ML-BOM: the model with its card, its ancestors as a pedigree, its data as components.

The format is that of https://cyclonedx.org/docs/1.6/json/ (ECMA-424); what no field of it holds stands in properties
named `amends:…`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import amends
from amends.governor.models.terms import licence_named
from amends.records import digest_of

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
Told = Mapping[str, Any]


def bom_of(passport: Told) -> dict[str, Any]:
    """Return the BOM of a passport; the same passport gives the same document."""
    data = list(_data(passport))
    model = _model(passport, [component["bom-ref"] for component in data])
    depends = [{"ref": model["bom-ref"], "dependsOn": [component["bom-ref"] for component in data]}]
    tool = {"type": "application", "name": "amends", "version": amends.__version__}
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest_of(passport))}",
        "version": 1,
        "metadata": {"timestamp": passport["issued_at"], "tools": {"components": [tool]}, "component": model},
        "components": data,
        "dependencies": [*depends, *({"ref": component["bom-ref"]} for component in data)],
    }


def _model(passport: Told, data: list[str]) -> dict[str, Any]:
    version, along = passport["version"], passport["licences"]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{version['digest']}",
        "name": version["model"],
        "version": str(version["number"]),
        "hashes": _sha256(version["digest"]),
        **_licences(along["label"]),
        "pedigree": {
            "ancestors": [_ancestor(row, along) for row in _once(passport["ancestors"])],
            "notes": _steps(passport),
        },
        "modelCard": {
            "modelParameters": _parameters(passport, data),
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(passport["readings"]))},
            "considerations": {"technicalLimitations": list(passport["limits"])},
        },
        "properties": list(_properties(passport)),
    }


def _parameters(passport: Told, data: list[str]) -> dict[str, Any]:
    built = passport["anatomy"] or {}
    named = {"architectureFamily": built.get("family"), "modelArchitecture": built.get("architecture")}
    is_text = built.get("has_tokenizer") and str(built.get("architecture")).endswith("ForCausalLM")
    text = {"task": "text-generation", "inputs": [{"format": "string"}], "outputs": [{"format": "string"}]}
    return {
        **{name: str(value) for name, value in named.items() if value},
        **(text if is_text else {}),
        "datasets": [{"ref": ref} for ref in data],
    }


def _metrics(readings: Told) -> Iterator[dict[str, Any]]:
    """Yield each reading with its interval; one that is no finite number says so in words."""
    for when, place in (("before", "parent"), ("after", "this version")):
        for reading in readings[when]:
            value = "no finite number" if reading["value"] is None else f"{reading['value']:.12g}"
            metric: dict[str, Any] = {"type": reading["name"], "value": value}
            unit = f", {reading['unit']}" if reading["unit"] else ""
            count = "" if reading["n"] is None else f", n {reading['n']}"
            metric["slice"] = f"{place}{unit}{count}"
            if reading["low"] is not None and reading["high"] is not None:
                bounds = {"lowerBound": f"{reading['low']:.12g}", "upperBound": f"{reading['high']:.12g}"}
                metric["confidenceInterval"] = bounds
            yield metric


def _data(passport: Told) -> Iterator[dict[str, Any]]:
    for row in _once(passport["data"]):
        counts = {"records": row["records"], "subjects": row["subjects"], "controls": row["controls"]}
        more = {**counts, "role": row["role"], "evidence": row["evidence"], "status": row["status"]}
        told = {"type": "dataset", "name": row["name"], "contents": {"properties": _named(more)}}
        yield {
            "type": "data",
            "bom-ref": f"data:{row['digest']}",
            "name": row["name"],
            "version": row["digest"][:12],
            "hashes": _sha256(row["digest"]),
            **_licences(row["licence"]),
            "data": [{**told, "classification": "personal data" if row["subjects"] else "no person named"}],
        }


def _ancestor(row: Told, along: Told) -> dict[str, Any]:
    name, _, number = row["version"].rpartition("@")
    licence = next((source["licence"] for source in along["sources"] if source["digest"] == row["digest"]), "")
    more = {"kind": row["kind"], "evidence": row["evidence"], "operation": row["operation"] or "", "of": row["child"]}
    return {
        "type": "machine-learning-model",
        "name": name,
        "version": number,
        "hashes": _sha256(row["digest"]),
        **_licences(licence),
        "properties": _named(more),
    }


def _properties(passport: Told) -> Iterator[dict[str, str]]:
    version, case = passport["version"], passport["case"]
    stands = {"status": version["status"], "aliases": ", ".join(version["aliases"]), "guarantee": version["guarantee"]}
    made = {} if case is None else {"case": case["id"], "plan": case["plan_digest"]}
    size = {"parameters": (passport["anatomy"] or {}).get("parameters")}
    yield from _named({**stands, **made, **size, "lineage": passport["evidence"]})
    for sentence in passport["licences"]["conflicts"]:
        yield {"name": "amends:licence-conflict", "value": sentence}
    for decision in passport["decisions"]:
        said = "allowed" if decision["allowed"] else "denied"
        yield {"name": f"amends:decision:{decision['id']}", "value": f"{said} by {decision['policy_digest']}"}
    for row in passport["approvals"]:
        yield {"name": f"amends:approval:{row['person']}", "value": f"{row['role']}, {row['decision']}, {row['at']}"}
    for row in passport["questions"]:
        name = f"amends:{row['regime']}:{row['item']}:{row['question']}"
        yield {"name": name, "value": f"{row['source']}: {row['answer']}"}


def _named(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": f"amends:{name}", "value": str(value)} for name, value in values.items() if value not in (None, "")
    ]


def _steps(passport: Told) -> str:
    told = [f"{step['operation']} (seed {step['seed']})" for step in passport["steps"]]
    return f"Made by {', then '.join(told)}." if told else "No step is on record: an imported model."


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({row["digest"]: row for row in reversed(rows)}.values())[::-1]


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _licences(text: str) -> dict[str, Any]:
    """Return the `licenses` of a component, by SPDX id where it has one; nothing where none was declared."""
    if not text.strip() or text == "unknown":
        return {}
    licence = licence_named(text)
    return {"licenses": [{"license": {"id" if licence.is_spdx else "name": licence.id, "acknowledgement": "declared"}}]}
