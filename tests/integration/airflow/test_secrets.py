"""What Airflow shows and keeps of a connection's secrets: in its API, its CLI, its database and its logs at DEBUG."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
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

_RUN_COMMANDS = """
import contextlib, io, json, sys
from airflow.__main__ import main
printed = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["airflow", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        main()
    printed.append(stdout.getvalue())
print(json.dumps(printed))
"""


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

    def commands(self, *commands: Sequence[str]) -> list[str]:
        """Return what `airflow` commands print, run in one process: each would load Airflow for seconds."""
        done = subprocess.run(
            [sys.executable, "-c", _RUN_COMMANDS, json.dumps(commands)],
            env=self.airflow.environment | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"},
            capture_output=True,
            text=True,
            check=True,
        )
        return [str(text) for text in json.loads(done.stdout.splitlines()[-1])]


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

    masker = SecretsMasker()  # type: ignore[no-untyped-call]
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
    shown = operated.commands(*(("connections", "get", name, "-o", "json") for name in CONNECTIONS))
    found = [str(json.loads(one)[0]["extra_dejson"]) for one in shown]
    writer, reader = operated.external_ids
    assert [writer in found[0], reader in found[1], writer in found[2]] == [True] * 3


def test_command_line_shows_the_external_id_as_it_shows_passwords(operated: Operated) -> None:
    export = operated.airflow.home.parent / "export.json"
    ids, masked, whole, _ = operated.commands(
        ("connections", "list"),
        ("connections", "list", "--show-values", "--hide-sensitive", "-o", "json"),
        ("connections", "get", "log_archive", "-o", "json"),
        ("connections", "export", str(export)),
    )
    assert "log_archive" in ids
    assert "log_archive" in masked
    assert operated.found_in(ids) == []
    [shown] = [one for one in json.loads(masked) if one["conn_id"] == "log_archive"]
    assert operated.found_in(json.dumps(shown)) == [operated.external_ids[0]]
    assert operated.found_in(shown["get_uri"]) == [operated.external_ids[0]]
    for text in (whole, export.read_text()):
        assert operated.external_ids[0] in text
        assert operated.aws.source_secret_key in text


def test_adding_a_connection_by_command_leaves_the_external_id_in_the_audit_log(operated: Operated) -> None:
    file = operated.airflow.home.parent / "connections.json"
    file.write_text(json.dumps({"imported": {"conn_type": "aws", "extra": {"external_id": "by-import"}}}))
    in_json = json.dumps({"conn_type": "aws", "extra": {"external_id": "by-conn-json"}})
    operated.commands(
        ("connections", "add", "one", "--conn-type", "aws", "--conn-extra", '{"external_id": "by-conn-extra"}'),
        ("connections", "add", "another", "--conn-json", in_json),
        ("connections", "import", str(file)),
    )
    events = json.dumps(operated.airflow.api("GET", "/eventLogs?limit=100&order_by=-id"))
    assert [external_id in events for external_id in ("by-conn-extra", "by-conn-json", "by-import")] == [
        True,
        True,
        False,
    ]


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
