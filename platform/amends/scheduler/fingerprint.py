"""Say what stack a job ran on: bits are only comparable between equal fingerprints."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

LIBRARIES = ("amends", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers")


def fingerprint(threads: int, device: str = "cpu") -> dict[str, Any]:
    """Return the device, dtype, library versions, deterministic flags and thread count of this process."""
    torch = sys.modules.get("torch")
    return {
        "device": device_model(device),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch.") if torch else "float32",
        "libraries": {name: _version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "deterministic": bool(torch.are_deterministic_algorithms_enabled()) if torch else True,
        "threads": threads,
    }


def device_model(device: str) -> str:
    """Return the model of the device, and for a CPU the vector instructions that torch uses on it."""
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch:
        return str(torch.cuda.get_device_name(device))
    return f"{_processor()}, {platform.machine()}, {_vectors()}"


@cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown processor"


def _vectors() -> str:
    torch = sys.modules.get("torch")
    return str(torch.backends.cpu.get_cpu_capability()) if torch else "no torch"


@cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
