"""The daily archive under Airflow's own scheduler, between two accounts that enforce their policies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from dev.local_airflow import LocalAirflow
from log_archival.history import listed_archives
from tests.support.readme import readme_dag, write_log

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

ROOT = Path(__file__).parents[3]
DAYS = [date(2026, 11, 20), date(2026, 11, 21), date(2026, 11, 22)]
BATCH_MIB = 2


class Archive:
    """Airflow over the two accounts, with logs of three days."""

    def __init__(self, airflow: LocalAirflow, aws: LocalAws, bucket: str, logs: Path) -> None:
        self.airflow, self.aws, self.bucket, self.logs = airflow, aws, bucket, logs

    def versions(self, prefix: str = "") -> dict[str, list[str]]:
        """Return every key's version ids, as the archive account sees them."""
        pages = self.aws.archive_client("s3").get_paginator("list_object_versions")
        found: dict[str, list[str]] = {}
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
            for version in page.get("Versions", []):
                found.setdefault(version["Key"], []).append(version["VersionId"])
        return {key: versions for key, versions in found.items() if "_probe-" not in key}

    def run(self, conf: dict[str, Any], dag_id: str = "archive_logs", **arguments: Any) -> tuple[str, str]:
        run_id = self.airflow.trigger(dag_id, conf=conf, **arguments)
        return run_id, self.airflow.wait(dag_id, run_id, timeout=120)[run_id]


@pytest.fixture(scope="module")
def archive(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    aws = aws.deploy()  # a bucket of its own: other tests put into the shared one, under the same days
    root = tmp_path_factory.mktemp("archive")
    logs = root / "logs"
    for day in DAYS:
        folder = logs / "app" / "web-1"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(4):
            lines = b"".join(
                b"%s %d GET /orders/%d 200\n" % (day.isoformat().encode(), n, number) for n in range(20_000)
            )
            (folder / f"{number}-{day}.log").write_bytes(lines)
    (logs / "nginx").mkdir()
    write_log(logs / "nginx" / "access.log", DAYS[2])
    document = yaml.safe_load((ROOT / "include" / "archive.yaml").read_text())
    document["archive"]["bucket"] = aws.bucket
    document["batch_size"] = f"{BATCH_MIB} MiB"
    document["sources"] = [
        {"name": "app", "path": str(logs / "app"), "pattern": "**/*-%Y-%m-%d.log"},
        {"name": "audit", "path": str(logs / "audit"), "pattern": "audit-%Y-%m-%d.log", "min_files": 0},
    ]
    settings = root / "archive.yaml"
    settings.write_text(yaml.safe_dump(document))
    dags = root / "dags"
    dags.mkdir()
    (dags / "another_team.py").write_text(readme_dag(aws.bucket, logs / "nginx"))
    with LocalAirflow.start(
        root / "home",
        dags=[ROOT / "dags", dags],
        plugins=ROOT / "plugins",
        wanted=["archive_logs", "archive_nginx"],
        connections={"log_archive": aws.connection_json()},
        environment={"LOG_ARCHIVAL_SETTINGS": str(settings), "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False"},
    ) as airflow:
        yield Archive(airflow, aws, aws.bucket, logs)


def test_dags_and_plugins_load(archive: Archive) -> None:
    assert archive.airflow.dag_import_errors() == {}
    assert archive.airflow.api("GET", "/plugins/importErrors")["import_errors"] == []


def test_plugins_folder_leaves_the_standard_library_alone(archive: Archive) -> None:
    """Airflow executes each .py of plugins/ under its bare name: none of ours may become one of Python's."""
    program = (
        "from airflow import plugins_manager; plugins_manager.ensure_plugins_loaded() if hasattr(plugins_manager,"
        " 'ensure_plugins_loaded') else plugins_manager.get_plugin_info();"
        "import codecs, log_archival.codec; print(codecs.lookup('utf-8').name, codecs.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=archive.airflow.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "utf-8" in done.stdout
    assert "log_archival" not in done.stdout.splitlines()[-1]


def test_backfill_archives_each_day_and_a_second_adds_nothing(archive: Archive) -> None:
    backfill = archive.airflow.backfill("archive_logs", DAYS[0], DAYS[2], max_active_runs=3)
    runs = archive.airflow.wait("archive_logs", backfill, timeout=180)
    assert list(runs.values()) == ["success"] * 3
    found = archive.versions()
    for day in DAYS:
        keys = [key for key in found if key.startswith(f"logs/{day:%Y/%m/%d}/")]
        assert sum("/app/web-1/" in key for key in keys) == 4
        assert all(str(day) in key for key in keys if "/app/" in key)
        assert sum("_manifest-" in key for key in keys) == 1
    run_id = next(iter(runs))
    tasks = archive.airflow.task_instances("archive_logs", run_id)
    assert sum(task["task_id"] == "archive.upload" for task in tasks) > 1, "a day of several batches was expected"
    summary = archive.airflow.xcom("archive_logs", run_id, "verify")
    # The local accounts compare checksums before they look whether the key exists.
    assert (summary["tier"], summary["verified"], summary["new"]) == ("receipts", 4, 4)
    assert "compares checksums before it looks" in summary["tier_reason"]

    backfill = archive.airflow.backfill("archive_logs", DAYS[0], DAYS[2], reprocess="completed", max_active_runs=3)
    again = archive.airflow.wait("archive_logs", backfill, timeout=180)
    assert list(again.values()) == ["success"] * 3
    assert archive.versions() == found
    assert archive.airflow.xcom("archive_logs", next(iter(again)), "verify")["existing"] == 4


def test_manual_run_with_a_date_archives_that_day(archive: Archive) -> None:
    run_id, state = archive.run({"date": "2026-11-21", "verify": "receipts"})
    assert state == "success"
    assert sum(key.endswith(".log.zst") for key in archive.versions("logs/2026/11/21/app/")) == 4
    summary = archive.airflow.xcom("archive_logs", run_id, "verify")
    assert (summary["tier"], summary["tier_reason"]) == ("receipts", "")
    run = archive.airflow.run("archive_logs", run_id)
    assert run["partition_key"] == "2026-11-21"
    assert "**2026-11-21 is archived**, verified at tier receipts: 4 files, " in run["note"]
    assert f"({archive.airflow.url}/log-archive/#/archive_logs/2026-11-21)" in run["note"]
    path = f"/dags/archive_logs/dagRuns/{run_id}/taskInstances"
    tasks = archive.airflow.task_instances("archive_logs", run_id)
    labels = {task["rendered_map_index"] for task in tasks if task["task_id"] == "archive.upload"}
    assert labels == {f"app, {number} of {len(labels)}" for number in range(1, len(labels) + 1)}
    links = archive.airflow.api("GET", f"{path}/archive.upload/links?map_index=0")["extra_links"]
    assert links["Archive account's S3"].endswith(
        f"/{archive.bucket}?prefix=logs%2F2026%2F11%2F21%2F&showversions=false"
    )
    assert links["Log archive"] == f"{archive.airflow.url}/log-archive/#/archive_logs/2026-11-21"


def test_page_has_the_day_with_its_archives_and_run(archive: Archive) -> None:
    """In this Airflow's own server; without a login there is nothing."""
    day = "2026-11-22"
    run_id, state = archive.run({"date": day})
    assert state == "success"
    assert "archive_logs" in archive.airflow.get("/log-archive/api/overview")["dags"]
    found = archive.airflow.get(f"/log-archive/api/day?dag=archive_logs&day={day}")
    assert {one["key"] for one in found["archives"]} == set(archive.versions("logs/2026/11/22/app/"))
    assert {source["name"]: source["state"] for source in found["sources"]} == {"app": "verified", "audit": "verified"}
    assert run_id in {run["run_id"] for run in found["runs"]}
    assert httpx.get(f"{archive.airflow.url}/log-archive/api/overview", trust_env=False).status_code == 401


def test_verified_day_is_an_event_of_the_assets(archive: Archive) -> None:
    run_id, state = archive.run({"date": "2026-11-20", "sources": ["audit"]})
    assert state == "success"
    events = archive.airflow.api("GET", f"/assets/events?source_run_id={quote(run_id)}")["asset_events"]
    by_name = {event["name"]: event for event in events}
    day, contents = by_name.pop(f"s3://{archive.bucket}/logs/"), *by_name.values()
    assert (day["partition_key"], contents["partition_key"]) == ("2026-11-20", "2026-11-20")
    assert day["extra"] == archive.airflow.xcom("archive_logs", run_id, "verify")
    assert (day["extra"]["only"], day["extra"]["sources"]["audit"]["files"]) == (["audit"], 0)
    assert listed_archives(contents["extra"]) == []


def test_run_of_the_trigger_form_as_it_opens_archives_yesterday(archive: Archive) -> None:
    today = datetime.now(UTC).date()
    for day in (today - timedelta(days=1), today):  # the run may start after midnight
        (archive.logs / "app" / f"late-{day}.log").write_text(f"{day} GET / 200\n")
    run_id, state = archive.run({})
    assert state == "success"
    run = archive.airflow.run("archive_logs", run_id)
    yesterday = datetime.fromisoformat(run["run_after"]).date() - timedelta(days=1)
    assert archive.airflow.xcom("archive_logs", run_id, "verify")["partition"] == str(yesterday)
    assert (run["logical_date"], run["partition_key"]) == (None, str(yesterday))
    assert len(archive.versions(f"logs/{yesterday:%Y/%m/%d}/app/late-{yesterday}-")) == 1


def test_day_without_files_fails_and_names_source_and_pattern(archive: Archive) -> None:
    before = archive.versions()
    run_id = archive.airflow.trigger("archive_logs", conf={"date": "2026-11-19"})
    log = wait_for_log(archive, run_id, "collect", "files match")
    assert "source app: 0 log files match '**/*-2026-11-19.log'" in log
    archive.airflow.api("PATCH", f"/dags/archive_logs/dagRuns/{run_id}", {"state": "failed"})
    assert archive.versions() == before


def wait_for_log(archive: Archive, run_id: str, task_id: str, text: str) -> str:
    """Return the log of a try that failed and waits for the next."""
    deadline = time.monotonic() + 60
    while True:
        tasks = archive.airflow.task_instances("archive_logs", run_id)
        started = any(task["task_id"] == task_id and task["try_number"] for task in tasks)
        log = archive.airflow.task_log("archive_logs", run_id, task_id) if started else ""
        if text in log:
            return log
        assert time.monotonic() < deadline, log
        time.sleep(0.3)


def test_source_that_may_be_empty_does_not_stop_the_day(archive: Archive) -> None:
    run_id, state = archive.run({"date": "2026-11-18", "sources": ["audit"]})
    assert state == "success"
    tasks = {task["task_id"]: task["state"] for task in archive.airflow.task_instances("archive_logs", run_id)}
    assert tasks["verify"] == "success"


def test_today_is_refused_at_once(archive: Archive) -> None:
    before = archive.versions()
    today = datetime.now(UTC).date()
    run_id, state = archive.run({"date": str(today)})
    assert state == "failed"
    assert f"{today} is not over in UTC" in archive.airflow.task_log("archive_logs", run_id, "collect")
    assert archive.airflow.task_instances("archive_logs", run_id)[0]["try_number"] == 1, "retried for nothing"
    note = archive.airflow.run("archive_logs", run_id)["note"]
    assert f"**{today} failed** in collect: {today} is not over in UTC" in note
    assert archive.versions() == before


def test_dry_run_logs_the_plan_and_adds_nothing(archive: Archive) -> None:
    before = archive.versions()
    run_id, state = archive.run({"date": "2026-11-20", "dry_run": True})
    log = archive.airflow.task_log("archive_logs", run_id, "collect")
    assert state == "success"
    keys = set(re.findall(r"-> (logs/2026/11/20/app/\S+)", log))
    assert len(keys) == 4
    assert keys <= set(before), "the plan has other keys than the run had"
    assert "dry run: 4 files" in log
    run = archive.airflow.run("archive_logs", run_id)
    assert "- app: 4 files, " in run["note"]
    assert "; 4 files are archived already" in run["note"]
    # A backfill of missing days must not leave out this one.
    assert (run["partition_key"], run["partition_date"]) == ("2026-11-20", None)
    assert archive.versions() == before


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"date": "2026-11-20", "verify": "full"}, "verify"),
        ({"date": "20 November"}, "date"),
        ({"date": "2026-11-20", "sources": ["nowhere"]}, "sources"),
    ],
    ids=["tier", "date", "source"],
)
def test_trigger_form_refuses_impossible_values(archive: Archive, conf: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        archive.airflow.trigger("archive_logs", conf=conf)


def test_dag_of_another_team_in_the_readme_works(archive: Archive) -> None:
    run_id = archive.airflow.trigger("archive_nginx", logical_date=datetime(2026, 11, 22, tzinfo=UTC))
    assert archive.airflow.wait("archive_nginx", run_id, timeout=60) == {run_id: "success"}
    keys = list(archive.versions("logs/2026/11/22/nginx/"))
    assert len(keys) == 1
    assert re.fullmatch(r"logs/2026/11/22/nginx/access-[0-9a-f]{32}\.log\.zst", keys[0])
    summary = archive.airflow.xcom("archive_nginx", run_id, "archive")
    assert json.loads(json.dumps(summary))["new"] == 1
