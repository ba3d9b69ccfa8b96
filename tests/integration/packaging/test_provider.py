"""The wheel beside Airflow."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import airflow
from jsonschema import Draft7Validator

import log_archival
from log_archival.provider_info import get_provider_info
from tests.support.project import run


def test_airflow_lists_the_wheel_as_a_provider(unpacked_wheel: Path, tmp_path: Path) -> None:
    done = run(
        Path(sys.executable).with_name("airflow"), "providers", "list", "--output", "json",
        cwd=tmp_path, AIRFLOW_HOME=str(tmp_path), PYTHONPATH=str(unpacked_wheel),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    providers = {provider["package_name"]: provider for provider in json.loads(done.stdout)}
    info = get_provider_info()
    assert providers["log-archival"] == {
        "package_name": "log-archival",
        "description": info["description"],
        "version": log_archival.__version__,
    }


def test_provider_info_fits_the_schema_of_airflow() -> None:
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    info = get_provider_info()
    Draft7Validator(schema).validate(info)
    assert set(info) <= set(schema["properties"])


def test_operators_of_the_wheel_are_those_that_airflow_imports(unpacked_wheel: Path, tmp_path: Path) -> None:
    script = "import log_archival.operators as module; print(module.__file__, module.CrossAccountPutOperator.__name__)"
    done = run(sys.executable, "-c", script, cwd=tmp_path, AIRFLOW_HOME=str(tmp_path), PYTHONPATH=str(unpacked_wheel))
    assert done.returncode == 0, done.stderr
    file = unpacked_wheel / "log_archival" / "operators" / "__init__.py"
    assert done.stdout.splitlines()[-1] == f"{file} CrossAccountPutOperator"
