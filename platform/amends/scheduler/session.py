"""Start a small Ray on this machine, or join a cluster, and tidy up after."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amends.errors import AmendsError, BadInput
from amends.scheduler.keeper import Keeper

_STORE_BYTES = 100 * 1024 * 1024
_INNER = "ray"  # Ray opens its directory to everybody, so it lies inside one that is closed
_LONGEST = 36  # Ray puts sockets some sixty letters below, and a socket's path ends at 107
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_process_group_cleanup_enabled": "1",  # a killed worker's children go with it
    "RAY_task_oom_retries": "2",  # without end by default
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Session:
    """A connection to Ray, of which there is one per process.

    Args:
        address: A cluster's address, or None for a Ray of its own.
        cpus: Cores of that own Ray.
        gpus: GPUs of that own Ray, what Ray finds by default; more than there are is fine for tests.
        temp_dir: Where that own Ray keeps sockets and logs; short.
    """

    def __init__(self, address: str | None, cpus: int, gpus: float | None, temp_dir: Path) -> None:
        self._before: dict[str, str | None] = {}
        self._keeper: Keeper | None = None
        self.temp_dir = temp_dir if address is None else None
        self.is_owner = "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
        if self.is_owner and address is None:
            _prepare(temp_dir)
            self._set({**_SETTINGS, **_token(temp_dir)})
            own: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False}
            own |= {"object_store_memory": _STORE_BYTES, "_temp_dir": str(temp_dir / _INNER)}
            self._keeper = Keeper(lambda: _start(**own))
        elif self.is_owner:
            _start(address=address)
        else:
            _check_same(address)

    def close(self) -> None:
        """Leave Ray; an own one ends, and its files go."""
        import ray

        if not self.is_owner:
            return
        ray.shutdown()
        if self._keeper is not None:
            self._keeper.release()
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _reread_settings()
        if self.temp_dir is not None:
            _drop_dead(self.temp_dir, os.getpid())

    def _set(self, settings: Mapping[str, str]) -> None:
        for name, value in settings.items():
            self._before[name] = os.environ.get(name)
            os.environ[name] = value
        _reread_settings()


def _start(**given: Any) -> None:
    import ray

    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, namespace="amends", **given)
    except Exception as error:  # a plain one where its processes do not come up within its 30 seconds
        raise AmendsError(
            f"Ray did not start ({type(error).__name__}); if this machine is busy, ask again once other work has ended"
        ) from error


def _check_same(address: str | None) -> None:
    import ray

    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", here):
        raise BadInput(f"this process is already connected to Ray at {here}; close that before joining {address}")


def _reread_settings() -> None:
    """Ray reads its environment when it is imported; tell it of a change after that."""
    if "ray" in sys.modules:
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def short_directory(cache_directory: Path) -> Path:
    """Return a short directory of this user's for Ray's sockets and logs, the same one for the same cache."""
    name = hashlib.sha256(f"{os.getuid()}:{cache_directory.absolute()}".encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"amends-{name}"


def _prepare(temp_dir: Path) -> None:
    if len(str(temp_dir)) > _LONGEST:
        raise BadInput(f"{temp_dir} is too long for Ray's sockets; set temp_dir to at most {_LONGEST} letters")
    temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if temp_dir.stat().st_uid != os.getuid():
        raise BadInput(f"{temp_dir} belongs to somebody else; set temp_dir to a directory of your own")
    temp_dir.chmod(0o700)
    _drop_dead(temp_dir)


def _token(temp_dir: Path) -> dict[str, str]:
    """Return the settings for Ray's token, unless the user made them; never the one in somebody's home."""
    if any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return {}
    path = temp_dir / "auth_token"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def _drop_dead(temp_dir: Path, *ended: int) -> None:
    for session in (temp_dir / _INNER).glob("session_*"):
        pid = session.name.rpartition("_")[2]
        if not session.is_symlink() and pid.isdigit() and (int(pid) in ended or not Path(f"/proc/{pid}").exists()):
            shutil.rmtree(session, ignore_errors=True)
