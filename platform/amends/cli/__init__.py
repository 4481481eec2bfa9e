"""The command line: arguments in, the governor's verbs called, nothing else."""

from __future__ import annotations

import os
import sys
import warnings

QUIET = {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""What keeps libraries from writing between our lines; what a user has set stays."""
CALM = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait must sleep: spinning, they take the cores from other workers. Ray's workers inherit it."""


def run() -> None:
    """Run `amends` with the arguments of this process and leave with its exit code."""
    for name, value in {**QUIET, **CALM}.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from amends.cli.root import root

    root.main(prog_name="amends")
