"""What every benchmark shares: its options, the machine, a calibration, and measurements that outlive a crash."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from figures import Reading, show

THREADS = 1
GEMM = 1024
LIBRARIES = ("torch", "transformers", "ray", "mlflow")


@dataclass
class Stopwatch:
    """Seconds on the clock, and on the cores of this process and of the children that it waited for."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measure what the body takes."""
    watch, wall, cpu = Stopwatch(), time.perf_counter(), _cpu_seconds()
    yield watch
    watch.wall, watch.cpu = time.perf_counter() - wall, _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def gemm() -> float:
    """Return how many GFLOP of a float32 matrix product a CPU-second gives here and now, on one thread."""
    import torch

    torch.set_num_threads(THREADS)
    left, right = torch.rand(GEMM, GEMM), torch.rand(GEMM, GEMM)
    torch.mm(left, right)
    began, products = time.process_time(), 0
    while time.process_time() - began < 0.5:
        torch.mm(left, right)
        products += 1
    return products * 2 * GEMM**3 / (time.process_time() - began) / 1e9


def machine() -> dict[str, Any]:
    """Describe what this runs on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def options(name: str, about: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of a benchmark."""
    parser = argparse.ArgumentParser(prog=f"bench-{name}", description=about)
    parser.add_argument("--data", type=Path, help="a JSON Lines file of raw records, or a directory of public sets")
    parser.add_argument("--n", type=_size, help="how many, or `full` for the closing figure; a subset by default")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", choices=("smollm2", "tiny"), default="smollm2")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="measure this part; repeatable")
    parser.add_argument("--output", type=Path, default=Path(".bench"), help="where the figures go")
    return parser.parse_args(argv)


def _size(text: str) -> int | str:
    if text == "full":
        return text
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor full")
    return int(text)


class Bench:
    """One run of a benchmark, which an interrupted one with the same settings hands what it measured.

    Args:
        name: The figures go to `NAME.json`.
        given: The command line.
        settings: What else the figures depend on; they are written beside the machine.
    """

    def __init__(self, name: str, given: argparse.Namespace, settings: dict[str, Any]) -> None:
        self.name, self.output, self.only = name, given.output.absolute(), given.only
        told = {key: getattr(given, key) for key in ("n", "seed", "model", "only")}
        self.run = json.loads(json.dumps(told | {"data": given.data and given.data.name} | settings))
        self.work = self.output / f"{name}.work"
        self.partial = self.output / f"{name}.partial.json"
        self.readings: list[Reading] = []
        self.kept: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self._resume()

    def _resume(self) -> None:
        if self.partial.exists():
            found = json.loads(self.partial.read_bytes())
            if found["run"] == self.run and found["machine"] == machine():
                self.kept = found["kept"]
                self.say(f"going on after {len(self.kept)} measurements of an interrupted run")
        if not self.kept:
            shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)

    def empty(self, name: str) -> Path:
        """Return an empty folder of that name, without what an interrupted run left in it."""
        shutil.rmtree(self.work / name, ignore_errors=True)
        (self.work / name).mkdir(parents=True)
        return self.work / name

    def say(self, sentence: str) -> None:
        """Tell whoever watches."""
        from rich.console import Console

        Console(stderr=True, highlight=False).print(f"{time.strftime('%H:%M:%S')} {sentence}", markup=False)

    def once(self, key: str, measure: Callable[[], Any]) -> Any:
        """Return what `measure` gives as JSON; not measured again by a run that goes on after this one.

        Raises:
            ValueError: It is not JSON, such as NaN; nothing is kept.
        """
        if key not in self.kept:
            with stopwatch() as watch:
                value = measure()
            json.dumps(value, allow_nan=False)  # what cannot be written must not stand in the way of what comes after
            self.kept[key] = value
            self._write(self.partial, {"run": self.run, "machine": machine(), "kept": self.kept})
            self.say(f"{key}: {watch.wall:.1f} s, {watch.cpu:.1f} CPU-s")
        return self.kept[key]

    def calibrate(self) -> None:
        """Measure a matrix product now: once before the first part, and after each."""
        done = sum(key.startswith("calibration") for key in self.kept)
        self.once(f"calibration {done + 1}", gemm)

    def part(self, name: str, measure: Callable[[], Iterable[Reading]]) -> None:
        """Measure a part, unless other parts alone are wanted or an interrupted run has measured it.

        One that fails is named at the end and leaves the others alone; a run that goes on tries it again. A part
        `a: b` is one of the parts `a`, which are wanted by that name or by their own.
        """
        if self.only and not {name, name.partition(":")[0]} & set(self.only):
            return
        if name not in self.kept:
            self.calibrate()
            self.say(f"measuring {name}")
        try:
            found = self.once(name, lambda: [asdict(r) for r in measure()])
        except Exception as error:
            self.failed[name] = f"{type(error).__name__}: {error}"
            self.say(f"{name} failed, the others go on:\n{traceback.format_exc()}")
            return
        self.readings += [Reading(**one) for one in found]

    def finish(self) -> Path:
        """Write `NAME.json`, show the table, and drop what was kept for going on.

        Raises:
            SystemExit: A part failed. What was measured is shown and kept, so that the same command tries the rest.
        """
        self.calibrate()
        gflops = [value for key, value in self.kept.items() if key.startswith("calibration")]
        calibration = {"what": f"float32 product of two {GEMM} x {GEMM} matrices", "unit": "GFLOP per CPU-second"}
        calibration |= {"threads": THREADS, "value": statistics.median(gflops), "n": len(gflops)}
        calibration |= {"low": min(gflops), "high": max(gflops)}
        told = {**machine(), "load": os.getloadavg()[0], "run": self.run}
        file = self.output / f"{self.name}.json"
        readings = [asdict(reading) for reading in self.readings]
        self._write(file, {"machine": told, "calibration": calibration, "readings": readings})
        show(self.name, self.readings, f"{calibration['value']:.1f} {calibration['unit']}; {file}")
        if self.failed:
            told = "; ".join(f"{name} ({why})" for name, why in self.failed.items())
            raise SystemExit(f"bench-{self.name}: failed: {told}; mend it and run the same command again")
        self.partial.unlink(missing_ok=True)
        shutil.rmtree(self.work, ignore_errors=True)
        return file

    def _write(self, file: Path, value: Any) -> None:
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(unfinished, file)
