"""MLflow's registry in a database, and the calls on it that need a permit; runs inside MLflow's server."""

from __future__ import annotations

import logging
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModelTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from amends.errors import AmendsError, BadInput
from amends.ledger.guard import permits
from amends.ledger.guard.keys import registry_keys
from amends.ledger.guard.permits import OURS, PREFIX, Call, Permit
from amends.ledger.guard.spent import Spent

logger = logging.getLogger("mlflow.amends")  # below MLflow's own, so that its server shows it
SCHEME = "amends+"


class GuardedStore(SqlAlchemyStore):  # type: ignore[misc]  # MLflow leaves its base untyped
    """Refuses, unless a permit fits: moving and deleting aliases, deleting and renaming, stages, and our tags.

    What it does not guard stays as it was: creating models and versions, their descriptions, and all other tags.

    Args:
        store_uri: `amends+sqlite:///…` or `amends+postgresql://…`; what follows the `+` is MLflow's own.
    """

    def __init__(self, store_uri: str) -> None:
        super().__init__(store_uri.removeprefix(SCHEME))
        self.spent = Spent(self.engine)

    def set_registered_model_alias(self, name: str, alias: str, version: Any) -> None:
        """Move an alias."""
        self._need(Call("set_registered_model_alias", name, str(version), alias))
        super().set_registered_model_alias(name, alias, version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Delete an alias."""
        self._need(Call("delete_registered_model_alias", name, "", alias))
        super().delete_registered_model_alias(name, alias)

    def delete_model_version(self, name: str, version: Any) -> None:
        """Delete a version, and with it the aliases that stand for it."""
        self._need(Call("delete_model_version", name, str(version)))
        super().delete_model_version(name, version)

    def delete_registered_model(self, name: str) -> None:
        """Delete a model; made again, its numbers would start anew."""
        self._need(Call("delete_registered_model", name))
        super().delete_registered_model(name)

    def rename_registered_model(self, name: str, new_name: str) -> Any:
        """Rename a model with its aliases."""
        self._need(Call("rename_registered_model", name, "", new_name))
        return super().rename_registered_model(name, new_name)

    def transition_model_version_stage(
        self, name: str, version: Any, stage: str, archive_existing_versions: bool
    ) -> Any:
        """Move a version to a stage, which old clients take for what an alias is."""
        self._need(Call("transition_model_version_stage", name, str(version), stage))
        return super().transition_model_version_stage(name, version, stage, archive_existing_versions)

    def create_registered_model(
        self, name: str, tags: Any = None, description: str | None = None, deployment_job_id: str | None = None
    ) -> Any:
        """Make a model; it cannot bring tags of ours along, as nothing of it could hold their permit yet."""
        if _ours(tags):
            raise _refused(f"making {name!r} with tags {OURS}*")
        return super().create_registered_model(name, tags, description, deployment_job_id)

    def create_model_version(
        self, name: str, source: str, run_id: str | None = None, tags: Any = None, *args: Any, **more: Any
    ) -> Any:
        """Make a version; with tags of ours it needs a permit for them and for where its files lie."""
        found = _ours(tags)
        if found:
            self._need(Call("create_model_version", name, "", source, permits.value_of(found)))
        return super().create_model_version(name, source, run_id, tags, *args, **more)

    def set_registered_model_tag(self, name: str, tag: Any) -> None:
        """Write a model's tag: a permit that is good, or another of ours with one, or anybody's."""
        if tag.key.startswith(PREFIX):
            self._receive(name, tag)
        elif tag.key.startswith(OURS):
            self._need(Call("set_registered_model_tag", name, "", tag.key, permits.value_of(str(tag.value))))
        super().set_registered_model_tag(name, tag)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Delete a model's tag."""
        if key.startswith(OURS):
            self._need(Call("delete_registered_model_tag", name, "", key))
        super().delete_registered_model_tag(name, key)

    def set_model_version_tag(self, name: str, version: Any, tag: Any) -> None:
        """Write a version's tag."""
        if tag.key.startswith(OURS):
            value = permits.value_of(str(tag.value))
            self._need(Call("set_model_version_tag", name, str(version), tag.key, value))
        super().set_model_version_tag(name, version, tag)

    def delete_model_version_tag(self, name: str, version: Any, key: str) -> None:
        """Delete a version's tag."""
        if key.startswith(OURS):
            self._need(Call("delete_model_version_tag", name, str(version), key))
        super().delete_model_version_tag(name, version, key)

    def _need(self, call: Call) -> None:
        """Use up a permit for exactly this call, or refuse it."""
        fitting = (permit for permit in self._permits(call.model) if permit.call == call)
        permit = next((permit for permit in fitting if self.spent.spend(permit)), None)
        if permit is None:
            raise _refused(_said(call))
        super().delete_registered_model_tag(call.model, PREFIX + permit.nonce)
        logger.info("%s by decision %s", _said(call), permit.decision or "of the workspace")

    def _receive(self, name: str, tag: Any) -> None:
        """Take a permit that is good for a call on this model; those that are not any more are swept."""
        try:
            permit = permits.read(tag.key, tag.value, _keys())
        except AmendsError as error:
            raise MlflowException(str(error), error_code=PERMISSION_DENIED) from None
        if permit.call.model != name or self.spent.has(permit):
            raise _refused(f"this permit, used before or for another model than {name!r},")
        self.spent.forget()
        good = {PREFIX + found.nonce for found in self._permits(name)}
        for key in self._rows(name).keys() - good:
            super().delete_registered_model_tag(name, key)

    def _permits(self, name: str) -> list[Permit]:
        """Return the permits of a model that are good now."""
        found, keys = [], _keys()
        for key, value in self._rows(name).items():
            try:
                found.append(permits.read(key, value, keys))
            except AmendsError:  # expired, or written past this store: it permits nothing
                continue
        return found

    def _rows(self, name: str) -> dict[str, str]:
        """Return a model's permits as they were written; read where writes go, never from a replica."""
        with self.ManagedSessionMaker(read_only=False) as session:
            mine = self._get_query(session, SqlRegisteredModelTag).filter(SqlRegisteredModelTag.name == name)
            rows = mine.filter(SqlRegisteredModelTag.key.startswith(PREFIX, autoescape=True)).all()
            return {row.key: row.value or "" for row in rows}


def _keys() -> dict[str, str]:
    try:
        return registry_keys()
    except BadInput as error:
        raise MlflowException(f"this registry is guarded and has no key: {error}", PERMISSION_DENIED) from None


def _ours(tags: Any) -> dict[str, str]:
    return permits.ours_of({tag.key: tag.value for tag in tags or ()})


def _said(call: Call) -> str:
    place = f"{call.model}@{call.version}" if call.version else call.model
    return f"{call.action} on {place}" + (f" ({call.about})" if call.about else "")


def _refused(what: str) -> MlflowException:
    return MlflowException(
        f"{what} is refused: this registry is guarded by Amends; ask there, with a case and `amends cases approve`",
        error_code=PERMISSION_DENIED,
    )
