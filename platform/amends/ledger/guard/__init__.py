"""A registry that MLflow's own server guards: what names or removes a version needs a permit that Amends signed.

MLflow has no permission for "may not move this alias". So an MLflow server is started on a store of ours::

    mlflow server --backend-store-uri sqlite:///mlflow.db --registry-store-uri amends+sqlite:///mlflow.db

It refuses every guarded call (see `store.py`) that no permit fits. A permit is a short-lived DSSE envelope under the
workspace's key; Amends hands it over through MLflow's plain API, as a tag of the registered model, right before the
call. It names that call and nothing else, so whoever reads it can do with it only what was decided, and that once.

MLflow finds this package by the entry points `mlflow.model_registry_store` and calls `open_store`.
"""

from __future__ import annotations

from typing import Any


def open_store(store_uri: str, tracking_uri: str | None = None) -> Any:
    """Open the guarded registry at `amends+sqlite:///…` or `amends+postgresql://…`, for MLflow's server."""
    from amends.ledger.guard.store import GuardedStore

    return GuardedStore(store_uri)
