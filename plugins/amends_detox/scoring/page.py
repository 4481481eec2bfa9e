"""A scorer's card as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def render_card(card: Mapping[str, Any]) -> str:
    """Return a card as a page of Markdown tables."""
    neutral = card["neutral_identity"]
    lines = [
        f"## {card['scorer']}",
        "",
        f"- attributes: {', '.join(card['attributes'])}",
        f"- licence: {card['licence']}",
        f"- texts a CPU-second, one thread: {_cell(card['texts_per_cpu_second'])}",
        f"- neutral and kind sentences about people called toxic at {card['cutoff']}: "
        f"{_cell(neutral['false_alarms'])} of {neutral['texts']}",
        "",
        *_table("set", ("texts", "toxic", "auc", "precision", "recall", "error", "false_alarms"), card["sets"]),
        *_table("HateCheck functionality", ("texts", "accuracy"), card["functionalities"]),
        *_table("identity (HateCheck)", ("texts", "subgroup_auc", "bpsn_auc", "bnsp_auc"), card["identities"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(first: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    heads = [first, *(column.replace("_", " ").replace("auc", "AUC") for column in columns)]
    body = [[name, *(_cell(row[column]) for column in columns)] for name, row in rows.items()]
    lines = [heads, ["---", *["---:"] * len(columns)], *body]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]


def _cell(value: float | int | None) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) and value <= 1 else f"{value:g}"
