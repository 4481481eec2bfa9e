"""The workspace's settings: `amends.toml`, with a default for everything."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from amends.errors import BadInput
from amends.governor.webhooks.receivers import Receiver, read_receivers

FILE = "amends.toml"
TEMPLATE = """# Settings of this Amends workspace. Every line is optional; what is commented out shows the default.

# jurisdiction = "DE"            # whose public holidays move a deadline; required for GDPR requests
# regime = "gdpr"                # or "ccpa"

# Where the ledger keeps cases, approvals, lineage and the audit chain (PostgreSQL in production).
# database = "sqlite:///{home}/amends.db"
# workflows = "sqlite:///{home}/workflows.db"

# Where MLflow keeps runs and the registry: a database URL, or an MLflow server.
# mlflow = "sqlite:///{home}/mlflow.db"
# artifacts = "{home}/mlartifacts"
# guarded_registry = false        # true: that server refuses what Amends did not sign a permit for
# reconcile_minutes = 60          # how often `amends work` compares MLflow with the ledger; 0 is never

# Where bytes are kept by digest: a directory, or mlflow-artifacts:/amends through the MLflow server.
# blobs = "{home}/blobs"

# Where operations run: "ray" (local, or the cluster at RAY_ADDRESS), or "inline" (this process).
# scheduler = "ray"
# cpus = 2
# gpus = 0

# Whom to tell of what happens, each in a [[webhooks]] table with url, secret_env and events: see docs/webhooks.md.
# webhooks = []
"""


@dataclass(frozen=True)
class Settings:
    """Where things are and how operations run; paths may name `{home}`."""

    jurisdiction: str = ""
    regime: str = "gdpr"
    database: str = "sqlite:///{home}/amends.db"
    workflows: str = "sqlite:///{home}/workflows.db"
    mlflow: str = "sqlite:///{home}/mlflow.db"
    artifacts: str = "{home}/mlartifacts"
    guarded_registry: bool = False
    reconcile_minutes: int = 60
    blobs: str = "{home}/blobs"
    scheduler: str = "ray"
    cpus: int = 0
    gpus: int = 0
    webhooks: tuple[Receiver, ...] = ()

    def placed(self, home: Path) -> Settings:
        """Return these settings with `{home}` and the number of cores filled in."""
        values: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name] = value.replace("{home}", str(home)) if isinstance(value, str) else value
        values["cpus"] = values["cpus"] or len(os.sched_getaffinity(0))
        return Settings(**values)


def read_settings(home: Path) -> Settings:
    """Read `amends.toml` of a workspace, or the defaults where there is none.

    Raises:
        BadInput: The file is not TOML, or has an unknown or ill-typed key.
    """
    file = home / FILE
    if not file.exists():
        return Settings().placed(home)
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {error}; mend the line or remove it") from None
    if "webhooks" in given:
        given["webhooks"] = read_receivers(given["webhooks"], str(file))
    known = {field.name: type(getattr(Settings(), field.name)) for field in fields(Settings)}
    for name, value in given.items():
        if name not in known:
            raise BadInput(f"{file} has an unknown key {name!r}; it may have {', '.join(sorted(known))}")
        if not isinstance(value, known[name]):
            raise BadInput(f"{file}: {name} must be {known[name].__name__}, not {type(value).__name__}")
    return Settings(**given).placed(home)
