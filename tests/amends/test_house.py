"""The house keeps its rules: where things lie, what a wheel holds, what start-up imports, how it is deployed."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import amends
from amends.governor.settings import read_settings

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "transformers",
    "ray",
    "mlflow",
    "sentence_transformers",
    "pydantic",
    "peft",
    "dbos",
    "numpy",
    "scipy",
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted([*(ROOT / "platform").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])


def tracked(*patterns: str) -> list[str]:
    """Return the files that git knows, or would add, under these patterns."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_standard_library_finds_its_platform():
    assert Path(platform.__file__).parent == Path(sysconfig.get_path("stdlib"))
    assert not (ROOT / "platform" / "__init__.py").exists() and not (ROOT / "plugins" / "__init__.py").exists()
    code = "import platform, amends; platform.system()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_tests_are_no_package_and_every_conftest_is_a_test_s():
    assert not tracked("tests/**/__init__.py", "tests/__init__.py")
    assert all(file.startswith("tests/") for file in tracked("*conftest.py"))
    assert not tracked("platform/**/test_*.py", "plugins/**/test_*.py")


def test_no_module_takes_the_name_of_another_library_at_the_top_level():
    taken = {"platform", "types", "queue", "ray", "mlflow", "torch", "logging", "json", "random"}
    assert not taken & {file.stem for file in (ROOT / "platform" / "amends").glob("*.py")}


@pytest.mark.parametrize("line", ["--help", "plugins"])
def test_start_up_imports_nothing_heavy(line):
    code = (
        "import json, sys\nfrom amends.cli.root import root\n"
        f"try:\n    root.main([{line!r}], prog_name='amends')\n"
        f"finally:\n    sys.stderr.write(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(told.stderr) == []


def test_public_names_are_sorted_and_there():
    assert amends.__all__ == sorted(amends.__all__, key=lambda name: (name[0].islower(), name))
    assert all(hasattr(amends, name) for name in amends.__all__)
    for file in SOURCES:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
                names = ast.literal_eval(node.value)
                assert len(set(names)) == len(names), file


def test_nothing_prints_because_anybody_could_read_it():
    for file in SOURCES:
        calls = (
            node.func for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        )
        assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"], file


def test_the_version_is_the_distribution_s():
    assert amends.__version__ == PROJECT["project"]["version"] == importlib.metadata.version("amends")


def wanted(requirement: Requirement, extras: set[str]) -> bool:
    """Whether a requirement holds on this machine, with one of some extras or without any."""
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ({""} | extras))


def test_every_package_that_setup_installs_is_pinned():
    pins = dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    waiting, seen = [("amends", frozenset({"dev", "postgres"}))], set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found = importlib.metadata.distribution(name)
        assert name == "amends" or pins.get(name) == found.version.partition("+")[0], name
        for needed in map(Requirement, found.requires or ()):
            if wanted(needed, set(extras)):
                waiting.append((re.sub(r"[-_.]+", "-", needed.name).lower(), frozenset(needed.extras)))


@pytest.mark.slow
def test_the_wheel_holds_the_packages_the_policies_and_nothing_else(tmp_path):
    made = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(made, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.partition("/")[0] for name in names}
    own = {Path(package).name for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert folders == {*own, f"amends-{amends.__version__}.dist-info"}
    assert own == {"amends", *(path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py"))}
    for needed in ("detox", "editing", "erasure", "finding", "promotion", "regimes"):
        assert f"amends/policies/{needed}.yaml" in names
    templates = "amends/governor/proof/templates"
    for template in ("certificate", "parts/finding", "parts/verdict"):
        assert f"{templates}/{template}.html.j2" in names
    assert "amends_probes/texts/neutral.txt" in names
    assert not [name for name in names if Path(name).name.startswith(("test_", "conftest")) or name.endswith(".pyc")]


@pytest.mark.slow
def test_the_layers_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


def test_the_eight_words_of_the_makefile_are_the_documented_ones():
    words = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"setup", "demo", "test", "lint", "fix", "docs", "bench", "help"} <= set(words)
    assert (ROOT / ".ci" / "run").read_text().rstrip().splitlines()[-1] == "make lint test </dev/null"


COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def instructions(name: str) -> list[str]:
    """Return the arguments of one instruction of the Dockerfile, continued lines joined, in order."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


def test_the_image_is_slim_runs_as_nobody_special_and_watches_itself():
    assert instructions("FROM") == ["python:3.11-slim"]
    assert instructions("USER") == ["amends"]
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nHEALTHCHECK ") < DOCKERFILE.index("\nCMD ")
    (health,) = instructions("HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2]) == ["amends", "doctor", "--json"]
    assert "pip install ${PIP_ARGS} -c requirements.lock '.[postgres]'" in DOCKERFILE


def test_the_image_copies_what_is_there_and_what_its_context_lets_through():
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [source for line in instructions("COPY") for source in line.split()[:-1]]
    assert ignore[0] == "*" and {line[1:] for line in ignore if line.startswith("!")} == set(sources)
    assert all((ROOT / source).exists() for source in sources)


def test_the_compose_file_declares_what_it_uses():
    services = COMPOSE["services"]
    for name, service in services.items():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        assert set(service.get("depends_on", ())) <= set(services), name
        assert all("healthcheck" in services[other] for other in service.get("depends_on", ())), name
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / "deploy" / source).is_file(), volume
    assert (ROOT / "deploy" / services["amends"]["build"]["dockerfile"].removeprefix("deploy/")).is_file()


def test_no_password_stands_in_the_compose_file_and_ray_asks_for_a_token():
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASS|TOKEN|SECRET", variable):
                assert str(value).startswith("/run/secrets/"), (name, variable)
    environment = COMPOSE["services"]["amends"]["environment"]
    assert environment["RAY_AUTH_MODE"] == "token" and environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert all(port.startswith("127.0.0.1:") for s in COMPOSE["services"].values() for port in s.get("ports", ()))
    assert not re.search(r"://[^\s/@]+:[^\s/@]+@", (ROOT / "deploy" / "compose.yaml").read_text())
    assert "secrets/" in (ROOT / "deploy" / ".gitignore").read_text().splitlines()


def test_the_deployed_workspace_has_valid_settings_that_name_the_services(tmp_path):
    shutil.copy(ROOT / "deploy" / "amends.toml", tmp_path)
    settings = read_settings(tmp_path)
    assert settings.mlflow == "http://mlflow:5000" and settings.blobs.startswith("mlflow-artifacts:/")
    databases = {"amends", *re.findall(r"CREATE DATABASE (\w+)", (ROOT / "deploy" / "databases.sql").read_text())}
    command = " ".join(COMPOSE["services"]["mlflow"]["command"])
    for url in (settings.database, settings.workflows, *re.findall(r"--backend-store-uri=(\S+)", command)):
        assert re.fullmatch(r"postgresql(\+psycopg)?://amends@postgres/(\w+)", url)[2] in databases


def has_compose() -> bool:
    """Whether this machine has Docker's client with its compose plugin."""
    asked = ["docker", "compose", "version"]
    return bool(shutil.which("docker")) and subprocess.run(asked, capture_output=True, check=False).returncode == 0


def test_docker_s_own_client_reads_the_compose_file_where_there_is_one():
    if has_compose():
        asked = ["docker", "compose", "--file", str(ROOT / "deploy" / "compose.yaml"), "config", "--quiet"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
    assert set(COMPOSE) == {"name", "x-image", "x-careful", "services", "secrets", "volumes"}


OLD_LOCK = """# Every package.
# Regenerate with `make lock`.
click==8.0
gone==1.0
torch==2.13.0

# Only where pip takes the ordinary build of torch, which brings CUDA along.
nvidia-nccl-cu13==2.29.7 ; platform_system == "Linux"
triton==3.7.1 ; platform_system == "Linux"
"""


def test_the_lock_is_written_from_what_is_installed_and_keeps_the_block_of_cuda():
    spec = importlib.util.spec_from_file_location("lock", ROOT / "deploy" / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frozen = [
        "Click==8.5.1",
        "torch==2.13.0+cpu",
        "amends==0.1.0",
        "pip==26.0",
        "typing_extensions==4.16",
        "triton==3.8",
    ]
    written = module.lock(OLD_LOCK, module.pins(frozen))
    assert written.splitlines() == [
        "# Every package.",
        "# Regenerate with `make lock`.",
        "click==8.5.1",
        "torch==2.13.0",
        "typing-extensions==4.16",
        "",
        "# Only where pip takes the ordinary build of torch, which brings CUDA along.",
        'nvidia-nccl-cu13==2.29.7 ; platform_system == "Linux"',
        'triton==3.8 ; platform_system == "Linux"',
    ]
    assert module.lock(written, module.pins(frozen)) == written
