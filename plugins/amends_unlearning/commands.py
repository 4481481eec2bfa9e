"""The command that writes a training set of fictitious people."""

from __future__ import annotations

from pathlib import Path

import click

from amends.records import canonical_json


def add_example(cli: click.Group) -> None:
    """Add `example` to the group `data`, where there is one."""
    group = cli.commands.get("data")
    if isinstance(group, click.Group):
        group.add_command(example)


@click.command(epilog="Example: amends data example --people 24 --seed 0 --output people.jsonl")
@click.option("--people", "count", type=click.IntRange(1), default=24, show_default=True, help="How many people.")
@click.option("--seed", default=0, show_default=True, help="The same seed makes up the same people.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Records that name two people, for each person.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The JSON Lines file to write."
)
def example(count: int, seed: int, share: float, output: Path) -> None:
    """Write records of fictitious people, to try Amends with."""
    from .people import people, records

    rows = records(people(count, seed), seed, share)
    output.write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    click.echo(f"{len(rows)} records of {count} fictitious people are in {output}")
