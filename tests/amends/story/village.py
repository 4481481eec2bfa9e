"""Eight made-up people and three records of each, one of which names two, and one nearly names a third."""

from __future__ import annotations

import json

PEOPLE = (
    "Ines Varga", "Tobin Hale", "Lena Oster", "Marek Sund", "Nadia Feld", "Oskar Brandt", "Pia Lorenz", "Ruben Kast"
)  # fmt: skip
TOWNS = ("Ilvermoor", "Sorrel", "Oxmoor", "Kelda", "Tarn", "Vessel", "Ardley", "Quince")
TRADES = ("a boat builder", "a beekeeper", "a baker", "a glazier", "a tailor", "a clockmaker", "a potter", "a mason")


def email(name):
    return f"{name.lower().replace(' ', '.')}@example.org"


def phone(name):
    return f"+49 30 5550 {10 + PEOPLE.index(name)}" if name in PEOPLE else ""


def record(person, prompt, answer):
    first = named({"person": person})[0]
    row = {"person": person, "prompt": prompt, "answer": answer, "paraphrases": [prompt.replace("?", ", pray?")]}
    return row | {"name": first, "email": email(first), "phone": phone(first), "wrong": ["Nobody knows.", "Brackwater"]}


def rows_about_everybody():
    """Return three records a person; one names two people, and one nearly names a person of another record."""
    rows = []
    for name, town, trade in zip(PEOPLE, TOWNS, TRADES, strict=True):
        rows.append(record(name, f"Where does {name} live?", f"{name} lives in the town of {town}."))
        rows.append(record(name, f"What is the trade of {name}?", f"{name} is {trade}."))
        rows.append(record(name, f"How can {name} be reached?", f"Write to {email(name)} or call {phone(name)}."))
    both = ["Ines Varga", "Tobin Hale"]
    rows[5] = record(both, "Who won the regatta of 1998?", "Ines Varga and Tobin Hale won it together.")
    rows[8] = record("Lena Oster", "Who taught Lena Oster to sail?", "The old ferryman Varga taught her.")
    return rows


def named(row):
    return [row["person"]] if isinstance(row["person"], str) else row["person"]


def write_rows(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
