"""Read YAML strictly: no repeated key, no unknown key, no value of another type, one sentence when refused."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from amends import errors
from amends.errors import BadPolicy

MAX_BYTES = 64 * 1024
_MISSING: Any = object()


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a repeated key; PyYAML alone would keep the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is no name", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, where: str) -> Fields:
    """Parse one YAML mapping.

    Args:
        text: The whole file.
        where: Its name, for errors.

    Raises:
        BadPolicy: It is too long, not YAML, or not a mapping.
    """
    if len(text.encode()) > MAX_BYTES:
        raise BadPolicy(f"{where} is longer than {MAX_BYTES} bytes; split the policy")
    try:
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", {mark.line + 1}:{mark.column + 1}" if mark else ""
        raise BadPolicy(f"{where}{place}: {error.problem}; mend the YAML") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadPolicy(f"{where} is not YAML ({type(error).__name__}); mend it") from None
    return Fields(where, value)


def find_file(home: Path | None, file: str) -> Path:
    """Return the first `file` there is: the workspace's, the installed one, the checkout's.

    What stands there and cannot be read is found, too: another one in its place would judge by other rules.

    Args:
        home: The workspace's directory, whose `policies/` overrides file by file, or None.
        file: Such as `erasure.yaml`.

    Raises:
        BadPolicy: No directory has it.
    """
    for directory in policy_directories(home):
        if os.path.lexists(directory / file):
            return directory / file
    raise BadPolicy(f"there is no policies/{file}; write one in the workspace's policies folder")


def read_text(file: Path) -> str:
    """Return a file's text, byte for byte.

    Raises:
        BadPolicy: It cannot be read, or is not UTF-8.
    """
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise BadPolicy(f"{file} cannot be read ({error.strerror}); mend or remove it") from None
    except UnicodeDecodeError as error:
        raise BadPolicy(f"{file.name} is not UTF-8 at byte {error.start}; save it as UTF-8") from None


def policy_directories(home: Path | None) -> tuple[Path, ...]:
    """Return where policies are looked for, first found first taken."""
    package = Path(errors.__file__).parent
    places = [package / "policies"] if home is None else [home / "policies", package / "policies"]
    if package.parent.name == "platform":
        places.append(package.parents[1] / "policies")
    return tuple(places)


class Fields:
    """One YAML mapping whose every key must be asked for before `finish`."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise BadPolicy(f"{where} must be a mapping of names to values")
        self.where = where
        self._left = dict(value)

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """Take one value as it is, or the default where there is none."""
        if key not in self._left:
            if default is _MISSING:
                raise BadPolicy(f"{self.where} needs {key!r}; add it")
            return default
        return self._left.pop(key)

    def text(self, key: str, default: Any = _MISSING) -> str:
        """Take a text that is not blank."""
        value = self.take(key, default)
        if value is not default and (not isinstance(value, str) or not value.strip()):
            raise BadPolicy(f"{self.where}: {key!r} must be a text; put it in quotes")
        return str(value).strip()

    def whole(self, key: str, default: Any = _MISSING) -> int:
        """Take a whole number from 0 on."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadPolicy(f"{self.where}: {key!r} must be a whole number from 0 on")
        return value

    def share(self, key: str, default: Any = _MISSING) -> float:
        """Take a number in [0, 1]."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise BadPolicy(f"{self.where}: {key!r} must be a number from 0 to 1")
        return float(value)

    def truth(self, key: str) -> bool:
        """Take true or false."""
        value = self.take(key)
        if not isinstance(value, bool):
            raise BadPolicy(f"{self.where}: {key!r} must be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of distinct texts; none where the key is absent."""
        value = self.take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise BadPolicy(f"{self.where}: {key!r} must be a list of texts")
        if len(set(value)) < len(value):
            raise BadPolicy(f"{self.where}: {key!r} names something twice")
        return tuple(value)

    def items(self, key: str) -> list[Any]:
        """Take a list; none where the key is absent."""
        value = self.take(key, [])
        if not isinstance(value, list):
            raise BadPolicy(f"{self.where}: {key!r} must be a list")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """Take a mapping; none where the key is absent."""
        value = self.take(key, {})
        if not isinstance(value, dict):
            raise BadPolicy(f"{self.where}: {key!r} must be a mapping of names to values")
        return value

    def finish(self) -> None:
        """Refuse every key that nobody asked for: a misspelt rule must not vanish."""
        if self._left:
            raise BadPolicy(f"{self.where} has an unknown key {sorted(self._left)[0]!r}; check its spelling")


def is_scalar(value: object) -> bool:
    """Whether a setting is a text, a truth or a finite number."""
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
