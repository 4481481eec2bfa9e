"""A job runs under steady settings, and nothing heavy is loaded before one runs."""

from __future__ import annotations

import subprocess
import sys

from amends.scheduler.steady import steady
from amends.store import put_tree

LONG = 240


def test_settings_hold_while_a_job_runs_and_are_put_back():
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with steady(threads=1, seed=3, torch_needed=True):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        first = torch.rand(3)
    with steady(threads=1, seed=3, torch_needed=True):
        assert torch.equal(torch.rand(3), first)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_a_scheduler_is_light_until_it_runs_something():
    code = (
        "import amends.scheduler, amends.scheduler.inline, amends.scheduler.on_ray, amends.store\n"
        "from amends.host import heavy_modules\n"
        "print(heavy_modules())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "()"


def test_a_probe_is_given_served_models(inline, make_job, blobs, tiny_version, make_tiny, tmp_path):
    source = put_tree(blobs, tiny_version)
    other = put_tree(blobs, make_tiny(tmp_path / "other", seed=1))
    probes = [make_job("toy.served", kind="probe", source=source, reference=against) for against in (source, other)]
    same, different = (inline.submit(probe).result(LONG).readings for probe in probes)
    assert same[0].value == 0.0 != different[0].value
    assert same[1].value == 1.0
