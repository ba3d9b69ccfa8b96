"""What Airflow shows and keeps of a connection's secrets: in its API, its CLI, its database and its logs at DEBUG."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dev.local_airflow import LocalAirflow

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

ROOT = Path(__file__).parents[3]
DAY = "2026-11-22"
#: As docs/deployment.md has it.
SETTING = re.findall(r"^sensitive_var_conn_names = (.*)$", (ROOT / "docs" / "deployment.md").read_text(), re.M)[0]
CONNECTIONS = ("log_archive", "log_archive_reader", "providers_form")


class Operated:
    """An Airflow whose connections were made in its UI, with what must not be shown."""

    def __init__(self, airflow: LocalAirflow, aws: LocalAws) -> None:
        self.airflow, self.aws = airflow, aws
        self.external_ids = (aws.external_id, aws.reader_external_id)
        self.responses: list[Any] = []
        self.secrets = (*self.external_ids, aws.source_secret_key, aws.reader.secret_key)

    def found_in(self, text: str) -> list[str]:
        return [secret for secret in self.secrets if secret in text]

    def create(self, conn_id: str, connection: dict[str, Any]) -> None:
        body = {"connection_id": conn_id, **connection, "extra": json.dumps(connection["extra"])}
        self.responses.append(self.airflow.api("POST", "/connections", body))

    def command(self, *arguments: str) -> str:
        """Return what an `airflow` command prints."""
        command = [sys.executable, "-m", "airflow", *arguments]
        environment = self.airflow.environment | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture(scope="module")
def operated(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    root = tmp_path_factory.mktemp("secrets")
    logs = root / "logs"
    logs.mkdir()
    (logs / f"app-{DAY}.log").write_text(f"{DAY} GET / 200\n")
    document = yaml.safe_load((ROOT / "include" / "archive.yaml").read_text())
    document["archive"]["bucket"] = aws.bucket
    document["verify"] = {"tier": "read", "read_connection": "log_archive_reader"}
    document["sources"] = [{"name": "secrets", "path": str(logs), "pattern": "*-%Y-%m-%d.log"}]
    (root / "archive.yaml").write_text(yaml.safe_dump(document))
    with LocalAirflow.start(
        root / "home",
        dags=ROOT / "dags",
        plugins=ROOT / "plugins",
        wanted=["archive_logs", "check_least_privilege"],
        environment={
            "LOG_ARCHIVAL_SETTINGS": str(root / "archive.yaml"),
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        },
    ) as airflow:
        made = Operated(airflow, aws)
        connection = aws.connection()
        nested = {"ExternalId": connection["extra"].pop("external_id"), "RoleSessionName": "log-archival@test"}
        made.create("log_archive", aws.connection())
        made.create("log_archive_reader", aws.reader_connection())
        made.create("providers_form", connection | {"extra": connection["extra"] | {"assume_role_kwargs": nested}})
        yield made


@pytest.mark.parametrize(
    ("names", "masked"),
    [("", False), ("external_id,ExternalId", False), (SETTING, True)],
    ids=["unset", "not in lower case", "documented"],
)
def test_setting_decides_whether_both_forms_are_masked(names: str, masked: bool) -> None:
    from airflow._shared.secrets_masker import SecretsMasker

    masker = SecretsMasker()
    masker.sensitive_variables_fields = names.split(",") if names else []
    extra = {"external_id": "agreed", "assume_role_kwargs": {"ExternalId": "agreed"}}
    assert ("agreed" not in json.dumps(masker.redact(extra))) is masked


def test_setting_of_the_local_airflow_is_the_documented_one(operated: Operated) -> None:
    assert operated.airflow.environment["AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES"] == SETTING


def test_setting_masks_the_external_id_in_the_api(operated: Operated) -> None:
    assert operated.found_in(json.dumps(operated.responses)) == []
    shown = operated.airflow.api("GET", "/connections")
    assert {one["connection_id"] for one in shown["connections"]} == set(CONNECTIONS)
    assert operated.found_in(json.dumps(shown)) == []
    for name in CONNECTIONS:
        one = operated.airflow.api("GET", f"/connections/{name}")
        assert operated.found_in(json.dumps(one)) == []
        assert operated.aws.endpoint_url in one["extra"], "what is no secret is shown"


def test_form_that_was_saved_with_the_mask_keeps_the_external_id(operated: Operated) -> None:
    for name in CONNECTIONS:
        form = operated.airflow.api("GET", f"/connections/{name}") | {"description": "edited"}
        del form["team_name"]
        saved = operated.airflow.api("PATCH", f"/connections/{name}", form)
        assert saved["description"] == "edited"
        assert operated.found_in(json.dumps(saved)) == []
    kept = [json.loads(operated.command("connections", "get", name, "-o", "json"))[0] for name in CONNECTIONS]
    found = [str(one["extra_dejson"]) for one in kept]
    writer, reader = operated.external_ids
    assert [writer in found[0], reader in found[1], writer in found[2]] == [True] * 3


def test_command_line_shows_the_external_id_as_it_shows_passwords(operated: Operated) -> None:
    masked = [operated.command("connections", "list", *more) for more in ((), ("--show-values", "--hide-sensitive"))]
    assert operated.found_in("".join(masked).replace("\n", "")) == []
    writer, secret_key = operated.external_ids[0], operated.aws.source_secret_key
    for arguments in (("get", "log_archive", "-o", "json"), ("export", "-", "--file-format", "json")):
        shown = operated.command("connections", *arguments)
        assert writer in shown
        assert secret_key in shown


@pytest.mark.parametrize("option", ["--conn-extra", "--conn-json"])
def test_adding_a_connection_by_command_leaves_the_external_id_in_the_audit_log(
    operated: Operated, option: str
) -> None:
    name, external_id = f"by{option.replace('-', '_')}", f"given-with{option}"
    extra = {"external_id": external_id}
    given = [json.dumps(extra), "--conn-type", "aws"]
    if option == "--conn-json":
        given = [json.dumps({"conn_type": "aws", "extra": extra})]
    operated.command("connections", "add", name, option, *given)
    assert external_id in json.dumps(operated.airflow.api("GET", "/eventLogs?limit=100&order_by=-id"))
    file = operated.airflow.home.parent / "connections.json"
    file.write_text(json.dumps({f"{name}_2": {"conn_type": "aws", "extra": {"external_id": f"imported-{option}"}}}))
    operated.command("connections", "import", str(file))
    assert f"imported-{option}" not in json.dumps(operated.airflow.api("GET", "/eventLogs?limit=100&order_by=-id"))


def test_no_secret_is_kept_anywhere_at_debug(operated: Operated) -> None:
    airflow = operated.airflow
    runs = {
        "archive_logs": airflow.trigger("archive_logs", conf={"date": DAY}),
        "check_least_privilege": airflow.trigger("check_least_privilege"),
    }
    assert [airflow.wait(dag_id, run, timeout=180)[run] for dag_id, run in runs.items()] == ["success"] * 2
    for dag_id, run in runs.items():
        shown = [airflow.task_instances(dag_id, run), airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run}/taskInstances")]
        assert operated.found_in(json.dumps(shown)) == [], "rendered templates"
    assert operated.found_in(json.dumps(airflow.api("GET", "/eventLogs?limit=1000"))) == []
    # Airflow's logs, those of its tasks, and its database with XCom, where connections are encrypted.
    files = {path: path.read_bytes().decode(errors="replace") for path in airflow.home.rglob("*") if path.is_file()}
    assert {str(path): found for path, text in files.items() if (found := operated.found_in(text))} == {}
    logs = {path: text for path, text in files.items() if path.suffix == ".log"}
    assert any("Sending http request: ***" in text for text in logs.values()), "DEBUG was on"
    named = re.compile("SecretAccessKey|SessionToken|x-amz-security-token", re.IGNORECASE)
    assert {str(path): found for path, text in logs.items() if (found := named.findall(text))} == {}
