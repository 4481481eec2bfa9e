"""MLflow as the registry of versions: byte-exact, never twice, and really purged.

Facts about MLflow that shape this file: it re-shards what it saves itself, so files are uploaded
as they are; an alias moves without comparing; a deleted version leaves its files and tags behind;
`mlflow gc` deletes other people's things, so it is never called; a download of files that are
gone succeeds with an empty folder; deleting a registered model makes its numbers start again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from amends.errors import BadInput, Broken, Denied, DigestMismatch, UnknownModel
from amends.ledger.columns import now, stamp
from amends.ledger.guard.permits import Call, ours_of, value_of
from amends.ledger.guard.writing import Permits
from amends.ledger.tracking import Tracking, answering, plain
from amends.ledger.uploads import check_directory, files_of, tree_of
from amends.store.trees import Manifest

MODELS = "amends/models"
KEY, DIGEST, MODEL_ID = "amends.key", "amends.digest", "amends.model_id"


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in MLflow; `version` is MLflow's number, `uri` where the files lie."""

    name: str
    version: int
    model_id: str
    uri: str
    digest: str


class Registry(Tracking):
    """Registers, fetches, names and purges versions in one MLflow.

    Args:
        tracking_uri: As `Tracking` takes it.
        artifact_root: The same.
        permits: Signs what a guarded server is asked for; None where the registry is not guarded.

    Raises:
        BadInput: A database beside us cannot be guarded: whoever can write it needs no registry.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None = None, permits: Permits | None = None) -> None:
        super().__init__(tracking_uri, artifact_root)
        if permits is not None and not self.is_server:
            raise BadInput("guarded_registry needs an MLflow server; give its address as mlflow, or take it out")
        self.permits = permits

    @cached_property
    def versions(self) -> Any:
        """What `client` hands a call on one version to, once it has read every version of the model for each call."""
        from mlflow.tracking._model_registry.client import ModelRegistryClient

        return ModelRegistryClient(self.uri, self.uri)

    def register_version(
        self,
        name: str,
        directory: Path,
        manifest: Manifest,
        *,
        key: str,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
        description: str = "",
    ) -> RegisteredVersion:
        """Upload a version's files as they are and register them; the same key never makes a second version.

        Args:
            name: The registered model's name.
            directory: The tree with an `MLmodel` file beside it.
            manifest: The tree's files; nothing else but what `uploads.ADDED` names may be in the directory.
            key: Names this registration, so that it can be repeated after a crash at any point.
            tags: Digests and links, never anything of a person.
            run_id: The run that made the version.
            description: What people read about it, in Markdown.

        Raises:
            BadInput: The directory holds something else than the manifest says.
        """
        known = self.find_version(name, key)
        if known is not None:
            return known
        check_directory(directory, manifest)
        model = self._uploaded(name, directory, manifest, key, run_id)
        with answering("registered models"):
            if not self.client.search_registered_models(f"name = '{plain(name)}'"):
                self.client.create_registered_model(name)
            # A server resolves the model itself; beside a database MLflow would ask its global URI, which is not ours.
            source = (
                {"source": f"models:/{model.model_id}", "model_id": model.model_id}
                if self.is_server
                else {"source": model.artifact_location, "run_id": run_id}
            )
            marks = {KEY: key, DIGEST: manifest.digest, MODEL_ID: model.model_id}
            written = {**(tags or {}), **marks}
            self._permit("create_model_version", name, about=source["source"], value=ours_of(written))
            made = self.client.create_model_version(
                name, **source, tags=written, description=description, await_creation_for=0
            )
        return RegisteredVersion(name, int(made.version), model.model_id, model.artifact_location, manifest.digest)

    def find_version(self, name: str, key: str) -> RegisteredVersion | None:
        """Return the version that was registered under a key, or None."""
        with answering("versions"):
            wanted = f"name = '{plain(name)}' and tags.`{KEY}` = '{plain(key)}'"
            found = sorted(self.client.search_model_versions(wanted), key=lambda version: int(version.version))
        return self._described(found[0]) if found else None

    def get_version(self, name: str, version: int) -> RegisteredVersion:
        """Return a version.

        Raises:
            UnknownModel: There is none.
        """
        return self._described(self._version(name, version))

    def download(self, name: str, version: int, destination: Path, digest: str | None = None) -> Manifest:
        """Fetch a version's files to a new or empty directory and check them.

        Args:
            name: The registered model's name.
            version: MLflow's number.
            destination: Where the files go.
            digest: The tree digest they must have; by default the one that MLflow's tag names.

        Raises:
            Broken: MLflow has no files for it.
            DigestMismatch: The files are not those of the version.
        """
        if destination.exists() and any(destination.iterdir()):
            raise BadInput(f"{destination} is not empty; name a new directory")
        destination.mkdir(parents=True, exist_ok=True)
        found = self.get_version(name, version)
        with answering("artifacts"):
            self._files(found.uri).download_artifacts("", str(destination))
        manifest = tree_of(destination)
        if not manifest.files:
            raise Broken(f"MLflow has no files of {name}@{version} any more; restore them from a backup")
        if manifest.digest != (digest or found.digest):
            raise DigestMismatch(f"the files of {name}@{version} in MLflow were changed; restore them from a backup")
        return manifest

    def alias(self, name: str, alias: str) -> int | None:
        """Return MLflow's number behind an alias, or None where there is none."""
        number = self._aliases(name).get(alias)
        return None if number is None else int(number)

    def set_alias(self, name: str, alias: str, version: int, expected: int | None, decision: str = "") -> None:
        """Move an alias in MLflow if it stands where we believe, and read it back; MLflow itself does not compare.

        Args:
            name: The registered model's name.
            alias: Such as `champion`.
            version: MLflow's number that it shall stand for.
            expected: The number it stands for now, or None.
            decision: What decided, for the log of a guarded server.

        Raises:
            Denied: It was moved outside Amends.
        """
        found = self.alias(name, alias)
        if found == version:
            return
        if found != expected:
            raise Denied(f"{name}@{alias} was moved in MLflow to {found}, outside Amends; move it back to {expected}")
        with answering("aliases"):
            self._permit("set_registered_model_alias", name, version, alias, decision=decision)
            self.client.set_registered_model_alias(name, alias, str(version))
        if self.alias(name, alias) != version:
            raise Denied(f"{name}@{alias} was moved in MLflow by somebody else just now; look again and decide anew")

    def drop_alias(self, name: str, alias: str, version: int) -> None:
        """Take an alias away from a version in MLflow, if it still stands for that one."""
        if self.alias(name, alias) == version:
            with answering("aliases"):
                self._permit("delete_registered_model_alias", name, about=alias)
                self.client.delete_registered_model_alias(name, alias)

    def tag_version(self, name: str, version: int, tags: Mapping[str, str], description: str = "") -> None:
        """Write tags on a version, and what people read about it; what says the same already is left alone.

        Raises:
            UnknownModel: There is no such version.
        """
        found = self._version(name, version)
        with answering("versions"):
            for key, value in tags.items():
                if found.tags.get(key) != value:
                    self.put_tag(name, version, key, value)
            if description and found.description != description:
                self.client.update_model_version(name, str(version), description)

    def put_tag(self, name: str, version: int, key: str, value: str) -> None:
        """Write one tag of a version that is known to be there, whatever it says now."""
        with answering("versions"):
            if ours_of({key: value}):
                self._permit("set_model_version_tag", name, version, key, value)
            self.versions.set_model_version_tag(name, str(version), key, value)

    def purge_version(self, name: str, version: int, *, uri: str | None = None) -> dict[str, Any]:
        """Delete a version's files for good, its tags and itself, and return the evidence; done again, it checks again.

        Args:
            name: The registered model's name.
            version: MLflow's number.
            uri: Where its files lie, as `RegisteredVersion` said; needed to check again when the version is gone.

        Raises:
            Denied: An alias stands for it.
            Broken: Files are left.
        """
        names = sorted(alias for alias, number in self._aliases(name).items() if int(number) == version)
        if names:
            raise Denied(f"{name}@{version} is {', '.join(names)} and cannot be purged; move the alias first")
        try:
            found = self._version(name, version)
        except UnknownModel:
            found = None
        place = self._location(found) if found is not None else uri
        evidence = {"model": name, "version": version, "was_gone": found is None, "at": stamp(now())}
        files = {} if place is None else self._empty(name, version, place)
        evidence |= {"files": len(files), "bytes": sum(files.values()), "files_left": 0 if place else None}
        evidence["tags"] = [] if found is None else self._forget(name, version, found)
        return evidence

    def _uploaded(self, name: str, directory: Path, manifest: Manifest, key: str, run_id: str | None) -> Any:
        """Return a finished logged model with the files: the one a crash left, or a new one."""
        experiment = self.experiment(MODELS)
        with answering("logged models"):
            left = self.client.search_logged_models([experiment], f"tags.`{KEY}` = '{plain(key)}'")
            model, *others = sorted(left, key=lambda found: (found.creation_timestamp, found.model_id)) or [None]
            for other in others:
                self._drop(other)
            if model is None:
                tags = {KEY: key, DIGEST: manifest.digest}
                model = self.client.create_logged_model(experiment, name, source_run_id=run_id, tags=tags)
            expected = {path: (directory / path).stat().st_size for path in files_of(directory)}
            if str(model.status) != "READY" or self._listed(model.artifact_location) != expected:
                self._files(model.artifact_location).delete_artifacts()
                self.client.log_model_artifacts(model.model_id, str(directory))
                if self._listed(model.artifact_location) != expected:
                    raise Broken(f"MLflow did not keep every file of {name}; make room there and try again")
                model = self.client.finalize_logged_model(model.model_id, "READY")
        return model

    def _empty(self, name: str, version: int, place: str) -> dict[str, int]:
        with answering("artifacts"):
            files = self._listed(place)
            self._files(place).delete_artifacts()
            if self._listed(place):
                raise Broken(
                    f"files of {name}@{version} are left in MLflow after their deletion; see its artifact store"
                )
        return files

    def _forget(self, name: str, version: int, found: Any) -> list[str]:
        """Scrub tags and description, then delete the logged model and, last, the version."""
        with answering("versions"):
            model_id = found.tags.get(MODEL_ID)
            live = [] if model_id is None else self.client.search_logged_models(
                [self.experiment(MODELS)], f"model_id = '{plain(model_id)}'"
            )  # fmt: skip
            for model in live:
                self._drop(model)
            scrubbed = sorted(found.tags)
            for tag in sorted(scrubbed, key=lambda tag: tag == MODEL_ID):  # the one that a repetition needs goes last
                if ours_of({tag: ""}):
                    self._permit("delete_model_version_tag", name, version, tag)
                self.versions.delete_model_version_tag(name, str(version), tag)
            self._permit("delete_model_version", name, version)
            self.versions.delete_model_version(name, str(version))
        return scrubbed

    def _permit(
        self, action: str, name: str, version: int | str = "", about: str = "", value: Any = None, decision: str = ""
    ) -> None:
        """Hand a permit over for the call that follows, where the registry is guarded."""
        if self.permits is not None:
            call = Call(action, name, str(version), about, "" if value is None else value_of(value))
            self.permits.hand_over(self.client, call, decision)

    def _drop(self, model: Any) -> None:
        self._files(model.artifact_location).delete_artifacts()
        for tag in sorted(model.tags, key=lambda tag: tag == KEY):
            self.client.delete_logged_model_tag(model.model_id, tag)
        self.client.delete_logged_model(model.model_id)

    def _version(self, name: str, version: int) -> Any:
        with answering("versions"):
            wanted = f"name = '{plain(name)}' and version_number = {int(version)}"
            found = list(self.client.search_model_versions(wanted))
        if not found:
            raise UnknownModel(f"MLflow has no {name}@{version}; see amends models list")
        return found[0]

    def _described(self, found: Any) -> RegisteredVersion:
        tags = found.tags
        return RegisteredVersion(
            found.name, int(found.version), tags.get(MODEL_ID, ""), self._location(found), tags.get(DIGEST, "")
        )

    def _location(self, found: Any) -> str:
        with answering("versions"):
            return str(self.client.get_model_version_download_uri(found.name, found.version))

    def _aliases(self, name: str) -> dict[str, str]:
        with answering("aliases"):
            found = self.client.search_registered_models(f"name = '{plain(name)}'")
        return dict(found[0].aliases) if found else {}

    def _files(self, uri: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(uri, tracking_uri=self.uri, registry_uri=self.uri)

    def _listed(self, uri: str) -> dict[str, int]:
        files, folders, repository = {}, [""], self._files(uri)
        while folders:
            for found in repository.list_artifacts(folders.pop() or None):
                if found.is_dir:
                    folders.append(found.path)
                else:
                    files[found.path] = int(found.file_size or 0)
        return files
