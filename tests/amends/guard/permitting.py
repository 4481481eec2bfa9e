"""How a permit is handed over, and how a guarded call is refused; loaded by the fixtures beside it."""

from __future__ import annotations

import pytest
from mlflow.entities.model_registry import RegisteredModelTag
from mlflow.exceptions import MlflowException

from amends.ledger.guard import permits
from amends.ledger.guard.permits import Call

MOVE = Call("set_registered_model_alias", "bot", "2", "champion")


def hand_over(store, keyring, call, model=None, **more):
    """Write a permit as Amends does, and return its tag."""
    tag = RegisteredModelTag(*permits.issue(keyring, call, **more))
    store.set_registered_model_tag(model or call.model, tag)
    return tag


def refused(call, *arguments, **more):
    """Return the sentence with which a call is refused."""
    with pytest.raises(MlflowException) as told:
        call(*arguments, **more)
    assert told.value.error_code == "PERMISSION_DENIED"
    return told.value.message


def alias_of(store):
    return store.get_registered_model("bot").aliases.get("champion")
