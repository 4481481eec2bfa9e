"""The command line: arguments in, the governor's verbs called, nothing else."""

from __future__ import annotations

import os
import sys
import warnings

QUIET = {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""What keeps libraries from writing between our lines; what a user has set stays."""
CALM = {"GOMP_SPINCOUNT": "10000"}
"""Threads that wait spin shortly and then sleep: on shared cores, long spinning takes them from who works."""


def run() -> None:
    """Run `amends` with the arguments of this process and leave with its exit code."""
    for name, value in {**QUIET, **CALM}.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from amends.cli.root import root

    root.main(prog_name="amends")
