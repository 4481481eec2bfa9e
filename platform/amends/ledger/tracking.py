"""MLflow as a mirror that people read: a run per case, a nested run per step, datasets and checkpoints."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from amends.errors import BadInput, Broken
from amends.records import Reading

DATA, AUDIT = "amends/data", "amends/audit"
_PLAIN = re.compile(r"[A-Za-z0-9._:/@+-]{1,250}")
_BATCH = 900
_DIGEST_LETTERS = 36  # what MLflow has room for
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # its own 7 would wait for minutes
}


class Tracking:
    """Runs and experiments in one MLflow, a database beside us or a server.

    Never touches MLflow's global state: the URI stays out of the environment and of other threads.

    Args:
        tracking_uri: `sqlite:///path/mlflow.db`, another database, or `http(s)://…`.
        artifact_root: Where artifacts of a database beside us lie; a server has its own.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None = None) -> None:
        self.uri = tracking_uri
        self.is_server = tracking_uri.startswith(("http://", "https://"))
        self.artifact_root = None if self.is_server else (artifact_root or _beside(tracking_uri)).absolute()
        self._client: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'server' if self.is_server else 'database'})"

    @property
    def client(self) -> Any:
        """The `MlflowClient`, made on first use; a new database takes some seconds."""
        if self._client is None:
            for name, value in _QUIET.items():
                os.environ.setdefault(name, value)
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
            from mlflow import MlflowClient

            with answering("opening"):
                self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._client

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, made if there is none yet.

        Raises:
            BadInput: Somebody deleted it.
        """
        with answering("experiments"):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                place = None if self.artifact_root is None else (self.artifact_root / name).as_uri()
                made: str = self.client.create_experiment(name, artifact_location=place)
                return made
        if found.lifecycle_stage != "active":
            raise BadInput(f"the MLflow experiment {name!r} was deleted; restore it in MLflow and try again")
        return str(found.experiment_id)

    def log_case(
        self,
        case: str,
        kind: str,
        *,
        step: str | None = None,
        before: Sequence[Reading] = (),
        after: Sequence[Reading] = (),
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        artifacts: Path | None = None,
        description: str = "",
        status: str | None = None,
    ) -> str:
        """Write a case, or a step nested in it, to its run and return the run's id; written twice, it is there once.

        Args:
            case: The case's id.
            kind: Its kind; each has an experiment `amends/KIND`.
            step: A step's name, or None for the case itself.
            before: Readings of the parent, at metric step 0.
            after: Readings of the candidate, at metric step 1.
            metrics: Further figures, at metric step 0.
            tags: Digests and pseudonyms, never anything of a person.
            artifacts: A directory whose files are copied into the run.
            description: What people read above the run, in Markdown.
            status: `FINISHED`, `FAILED` or `KILLED` to end the run.
        """
        experiment = self.experiment(f"amends/{kind}")
        parent = None if step is None else self._run(experiment, case, "case")
        run = self._run(experiment, case, step or "case", parent)
        figures = [
            *_figures(before, 0),
            *_figures(after, 1),
            *((name, value, 0) for name, value in (metrics or {}).items()),
        ]
        described = {"mlflow.note.content": description} if description else {}
        self._write(run, figures, {**(tags or {}), **described})
        with answering("artifacts"):
            if artifacts is not None:
                self.client.log_artifacts(run, str(artifacts))
            if status is not None:
                self.client.set_terminated(run, status)
        return run

    def page_of(self, kind: str, run: str) -> str:
        """Return the address of a case's run inside MLflow's own pages, whatever host shows them."""
        return f"#/experiments/{self.experiment(f'amends/{kind}')}/runs/{run}"

    def log_dataset(self, name: str, digest: str, source: str) -> str:
        """Enter a dataset in a run of its own and return the run's id.

        Args:
            name: What people call it.
            digest: sha256 of its prepared records; MLflow shows the first 36 letters, the tag has it whole.
            source: Where it is from, without personal data, such as `amends:records`.
        """
        run = self._run(self.experiment(DATA), digest, "dataset", name=name)
        with answering("datasets"):
            from mlflow.entities import Dataset, DatasetInput

            place = json.dumps({"uri": source})
            entered = Dataset(name=name, digest=digest[:_DIGEST_LETTERS], source_type="amends", source=place)
            self.client.log_inputs(run, [DatasetInput(entered, [])])
            self.client.set_tag(run, "amends.digest", digest)
            self.client.set_terminated(run, "FINISHED")
        return run

    def mirror_checkpoint(self, envelope: Mapping[str, Any]) -> str:
        """Copy a signed checkpoint of the audit log to MLflow, outside our database, and return its path there."""
        size = int(json.loads(base64.b64decode(envelope["payload"]))["size"])
        name = f"checkpoints/{size:012d}.json"
        with answering("artifacts"):
            self.client.log_text(self._audit_run(), json.dumps(envelope, sort_keys=True), name)
        return name

    def mirrored_checkpoints(self) -> Iterator[dict[str, Any]]:
        """Yield the checkpoints that lie in MLflow, oldest first; compare them with those of the database."""
        run = self._audit_run()
        with answering("artifacts"), tempfile.TemporaryDirectory() as scratch:
            for file in sorted(found.path for found in self.client.list_artifacts(run, "checkpoints")):
                yield json.loads(Path(self.client.download_artifacts(run, file, scratch)).read_text())

    def vacuum(self) -> None:
        """Rewrite an SQLite database beside us, so that deleted rows are in no page of it; a server has its own."""
        if self.uri.startswith("sqlite:///"):
            with closing(sqlite3.connect(self.uri.removeprefix("sqlite:///"), timeout=30)) as connection:
                connection.execute("VACUUM")

    def _audit_run(self) -> str:
        return self._run(self.experiment(AUDIT), "audit", "checkpoints")

    def _run(self, experiment: str, key: str, step: str, parent: str | None = None, name: str | None = None) -> str:
        wanted = f"tags.`amends.case` = '{plain(key)}' and tags.`amends.step` = '{plain(step)}'"
        with answering("runs"):
            found = self.client.search_runs([experiment], wanted, max_results=1)
            if found:
                return str(found[0].info.run_id)
            tags = {"amends.case": key, "amends.step": step}
            if parent is not None:
                tags["mlflow.parentRunId"] = parent
            shown = name or (key if step == "case" else step)
            return str(self.client.create_run(experiment, tags=tags, run_name=shown).info.run_id)

    def _write(self, run: str, figures: Sequence[tuple[str, float, int]], tags: Mapping[str, str]) -> None:
        with answering("metrics"):
            from mlflow.entities import Metric, RunTag

            at = self.client.get_run(run).info.start_time  # the same each time, so that a repeated write adds no point
            written = [Metric(metric_name(name), float(value), at, step) for name, value, step in figures]
            for start in range(0, len(written), _BATCH):
                self.client.log_batch(run, metrics=written[start : start + _BATCH])
            named = [RunTag(key, str(value)) for key, value in tags.items()]
            for start in range(0, len(named), 100):
                self.client.log_batch(run, tags=named[start : start + 100])


@contextmanager
def answering(what: str) -> Iterator[None]:
    """Turn a failure of MLflow into one sentence; its own texts may name paths and passwords.

    Raises:
        Broken: MLflow refused.
        BadInput: It does not answer, or its disk is full.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as Unreachable
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except Unreachable as error:
        raise BadInput("the MLflow server does not answer; check its address and that it runs") from error
    except SQLAlchemyError as error:
        raise BadInput("MLflow's database cannot be opened; check its URL and permissions") from error
    except MlflowException as error:
        if "Max retries exceeded" in str(error) or "API request to" in str(error):
            raise BadInput("the MLflow server does not answer; check its address and that it runs") from error
        raise Broken(f"MLflow refused a call about {what} ({error.error_code}); see amends doctor") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInput(f"MLflow's {what} cannot be written or read ({reason}); make room or mend the path") from error


def plain(text: str) -> str:
    """Return text that can stand in one of MLflow's filters.

    Raises:
        BadInput: It holds other signs than letters, digits and `._:/@+-`.
    """
    if not _PLAIN.fullmatch(text):
        raise BadInput("an id for MLflow must be letters, digits and ._:/@+- only; choose another")
    return text


def metric_name(name: str) -> str:
    """Return a name that MLflow accepts: letters, digits and `/ . _ -`, no empty or dotted parts."""
    parts = (re.sub(r"[^A-Za-z0-9._-]", "_", part) for part in name.split("/"))
    return "/".join(part for part in parts if part.strip(".")) or "unnamed"


def _figures(readings: Sequence[Reading], step: int) -> Iterator[tuple[str, float, int]]:
    for reading in readings:
        for name, value in (("", reading.value), (".low", reading.low), (".high", reading.high)):
            if value is not None:
                yield reading.name + name, value, step


def _beside(tracking_uri: str) -> Path:
    if not tracking_uri.startswith("sqlite:///"):
        raise BadInput("MLflow on this database needs an artifact root; name a directory for its artifacts")
    return Path(tracking_uri.removeprefix("sqlite:///")).parent / "artifacts"
