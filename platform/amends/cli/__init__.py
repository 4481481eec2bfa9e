"""The command line: arguments in, the governor's verbs called, nothing else."""

from __future__ import annotations


def run() -> None:
    """Run `amends` with the arguments of this process and leave with its exit code."""
    from amends.cli.root import root

    root.main(prog_name="amends")
