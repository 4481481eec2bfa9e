"""The side of Amends: hand a permit over to a guarded server right before the call that it is for."""

from __future__ import annotations

from typing import Any

from amends.errors import Broken
from amends.ledger.guard import permits
from amends.ledger.guard.permits import Call
from amends.vault.keys import Keyring

_NOBODY = "amends-guard-check"  # no version is called so


class Permits:
    """Signs permits for what the workspace decided.

    Args:
        keyring: Whose current key signs; the server knows its public half.
    """

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self._is_checked = False

    def hand_over(self, client: Any, call: Call, decision: str = "") -> None:
        """Write the permit for a call to the server that is about to be asked for it.

        Raises:
            Broken: The server guards nothing, so anybody could do the same.
        """
        if not self._is_checked and not is_guarded(client, call.model):
            raise Broken(
                "guarded_registry is set and the MLflow server guards nothing; start it with "
                "--registry-store-uri amends+… and AMENDS_REGISTRY_KEY, or take the setting out"
            )
        self._is_checked = True
        client.set_registered_model_tag(call.model, *permits.issue(self.keyring, call, decision))

    def prove(self, client: Any, model: str) -> None:
        """Let a permit through to the end, for deleting an alias that a model has not.

        Raises:
            Broken: The server does not know this workspace's key, or its clock is minutes away.
        """
        from mlflow.exceptions import MlflowException

        try:
            self.hand_over(client, Call("delete_registered_model_alias", model, "", _NOBODY), "amends doctor")
            client.delete_registered_model_alias(model, _NOBODY)
        except MlflowException as error:
            raise Broken(
                "the guarded MLflow server does not take this workspace's permits; give it the keys that "
                "`amends keys show --export` writes, as AMENDS_REGISTRY_KEY, and set both clocks"
            ) from error


def is_guarded(client: Any, model: str) -> bool:
    """Whether a server refuses to delete an alias that a model has not; one that guards nothing has nothing to do."""
    from mlflow.exceptions import MlflowException

    try:
        client.delete_registered_model_alias(model, _NOBODY)
    except MlflowException as error:
        if error.error_code == "PERMISSION_DENIED":
            return True
        raise
    return False
