"""Write requirements.lock from what is installed in this environment; run by `make lock`.

The comment at the top and the block of CUDA packages at the end are kept: that block is for machines where pip takes
the ordinary build of torch, which may not be this one. Versions of it that are installed here replace those that are
not. Local parts (`2.13.0+cpu`) are dropped, because no other index has them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
OURS = {"amends", "pip"}
PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==([^\s;+]+)(?:\+[^\s;]*)?( ;.*)?")


def normal(name: str) -> str:
    """Return a package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: Iterable[str]) -> dict[str, str]:
    """Return the versions of `name==version` lines by normal name, without local parts."""
    found = (PIN.fullmatch(line.strip()) for line in lines)
    return {normal(match[1]): match[2] for match in found if match}


def lock(old: str, installed: Mapping[str, str]) -> str:
    """Return the new text of the lock.

    Args:
        old: The text as it is, for its comment and its block of CUDA packages.
        installed: Versions by normal name.
    """
    head = [line for line in old.partition("\n\n")[0].splitlines() if line.startswith("#")]
    tail = old.partition("\n\n")[2].splitlines()
    cuda = pins(tail)
    body = [f"{name}=={installed[name]}" for name in sorted(installed.keys() - cuda.keys() - OURS)]
    return "\n".join([*head, *body, "", *(_fresh(line, installed) for line in tail)]) + "\n"


def _fresh(line: str, installed: Mapping[str, str]) -> str:
    match = PIN.fullmatch(line)
    if match is None or normal(match[1]) not in installed:
        return line
    return f"{match[1]}=={installed[normal(match[1])]}{match[3] or ''}"


def main() -> None:
    """Write the lock of this environment."""
    freeze = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable"]
    told = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    LOCK.write_text(lock(LOCK.read_text(encoding="utf-8"), pins(told.splitlines())), encoding="utf-8")


if __name__ == "__main__":
    main()
