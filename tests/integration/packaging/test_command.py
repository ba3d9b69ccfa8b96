"""The command in an environment of its own, without Airflow."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import log_archival
from tests.integration.packaging.conftest import UV
from tests.support.project import REPOSITORY, run

MAX_PACKAGES = 12


def test_command_needs_few_packages_and_no_airflow(installed: Path, tmp_path: Path) -> None:
    listed = run(UV, "pip", "list", "--format", "json", "--python", installed / "python", cwd=tmp_path)
    names = {package["name"] for package in json.loads(listed.stdout)}
    assert "log-archival" in names
    assert len(names) <= MAX_PACKAGES
    assert not [name for name in names if "airflow" in name]


def test_command_tells_its_version(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "log-archival", "--version", cwd=tmp_path, PYTHONWARNINGS="error")
    assert done.stdout == f"log-archival {log_archival.__version__}\n"


def test_command_writes_the_templates_that_it_brings_along(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "log-archival", "templates", "--to", "out", cwd=tmp_path, PYTHONWARNINGS="error")
    assert (done.returncode, done.stderr) == (0, "")
    written = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*.yaml")
    }
    include = REPOSITORY / "include"
    assert written == {str(path.relative_to(include)): path.read_bytes() for path in include.rglob("*.yaml")}


@pytest.mark.parametrize(
    "arguments",
    [("verify",), ("restore", "--path", "web-*/**", "--to", "out")],
    ids=["verify", "restore"],
)
def test_command_gets_as_far_as_its_first_request(installed: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    command, *options = arguments
    done = run(
        installed / "log-archival", command, "s3://b/logs/", "--region", "eu-central-1", *options,
        cwd=tmp_path, HOME=str(tmp_path), PYTHONWARNINGS="error",
    )  # fmt: skip
    assert done.returncode == 2
    assert "Unable to locate credentials" in done.stderr


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["words", "json"])
def test_command_names_a_missing_dependency(options: tuple[str, ...], unpacked_wheel: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-S", "-m", "log_archival.reader.cli", "verify", "s3://b/logs/")  # -S: no site-packages
    done = run(*command, *options, cwd=tmp_path, PYTHONPATH=str(unpacked_wheel))
    assert done.returncode == 2
    [sentence] = done.stderr.splitlines()
    assert re.fullmatch(
        r"log-archival verify: the Python package '[a-z.]+' is missing; install it with pip install log-archival",
        sentence,
    )
    assert not options or json.loads(done.stdout)["ok"] is False


@pytest.mark.parametrize("module", ["operators", "hooks"])
def test_module_without_airflow_names_the_extra(installed: Path, tmp_path: Path, module: str) -> None:
    done = run(installed / "python", "-c", f"import log_archival.{module}", cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: log_archival.{module} needs Apache Airflow and its Amazon provider: "
        "pip install 'log-archival[airflow]'"
    )
