"""What the operators tell Airflow of their work: outcomes, also of tasks that fail, and the events of a day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import OutletEventAccessors

from log_archival.airflow_versions import AirflowFailException, AirflowSkipException
from log_archival.exceptions import SourceError
from log_archival.history import listed_archives
from log_archival.operators import CrossAccountPutOperator, archive_assets
from log_archival.operators.base import reported_outcome
from log_archival.operators.links import console_url
from log_archival.sources.files import FileSource
from tests.support.memory_s3 import BUCKET, MemoryS3
from tests.support.operating import Run, context, pushed_outcome, write_logs

DAY = "2026-11-22"
DAY_ASSET, CONTENTS_ASSET = archive_assets(BUCKET)
ROLE = "arn:{}:iam::222222222222:role/LogWriterRole"


def with_events(given: Any) -> Any:
    given["outlet_events"] = OutletEventAccessors()
    return given


@pytest.fixture
def run(s3: MemoryS3, tmp_path: Path) -> Run:
    run = Run(BUCKET, tmp_path / "staging", DAY)
    with_events(run.context)
    run.collect(
        write_logs(tmp_path / "logs", DAY), FileSource("audit", str(tmp_path / "logs"), "x-%Y-%m-%d", min_files=0)
    )
    run.compress()
    run.upload()
    return run


def test_verified_day_is_an_event_with_its_figures_and_its_archives(run: Run) -> None:
    another, archives = Asset("another-teams"), run.archives()
    summary = run.verify(outlets=[*archive_assets(BUCKET), another])
    day, contents = (run.context["outlet_events"][asset].extra for asset in (DAY_ASSET, CONTENTS_ASSET))
    assert day == summary == pushed_outcome(run.context)
    assert (day["partition"], day["timezone"], day["tier"], day["only"]) == (DAY, "UTC", "probe", None)
    assert day["sources"]["app"]["files"] == 4
    assert day["sources"]["audit"]["files"] == 0, "a source without files isn't named"
    assert [(one.path, one.is_new) for one in listed_archives(contents)] == [(one.path, True) for one in archives]
    assert run.context["outlet_events"][another].extra == {}


def test_event_of_one_task_is_that_of_a_verified_day(s3: MemoryS3, tmp_path: Path) -> None:
    write_logs(tmp_path, DAY, {"a.log": b"1\n"})
    task = CrossAccountPutOperator(
        task_id="archive", bucket=BUCKET, paths=str(tmp_path / "*.log"), outlets=archive_assets(BUCKET)
    )
    given = with_events(context(DAY))
    summary = task.execute(given)
    assert given["outlet_events"][DAY_ASSET].extra == summary == pushed_outcome(given)
    assert (summary["partition"], summary["files"]) == (DAY, 1)
    assert len(listed_archives(given["outlet_events"][CONTENTS_ASSET].extra)) == 1


def test_run_whose_source_failed_has_figures_an_error_and_no_event(s3: MemoryS3, tmp_path: Path) -> None:
    run = Run(BUCKET, tmp_path / "staging", DAY)
    with_events(run.context)["ti"].max_tries = 0
    run.collect(write_logs(tmp_path / "logs", DAY), FileSource("gone", str(tmp_path / "logs"), "x-%Y-%m-%d"))
    run.compress()
    run.upload()
    with pytest.raises(AirflowFailException):
        run.verify(outlets=archive_assets(BUCKET))
    outcome = pushed_outcome(run.context)
    assert (outcome["tier"], outcome["files"], outcome["failed"]) == ("probe", 4, 1)
    assert outcome["sources"]["gone"]["failed"] == 1
    assert outcome["error"].splitlines()[1].startswith("  source gone: 0 log files match")
    assert run.context["outlet_events"][DAY_ASSET].extra == {}


def test_dry_run_pushes_its_plan(s3: MemoryS3, tmp_path: Path) -> None:
    run = Run(BUCKET, tmp_path / "staging", DAY)
    with pytest.raises(AirflowSkipException):
        run.collect(write_logs(tmp_path / "logs", DAY, {f"app-{DAY}.log": b"12\n"}), dry_run=True)
    plan = {"app": {"files": 1, "raw_bytes": 3, "failed": 0}}
    assert pushed_outcome(run.context) == {"partition": DAY, "dry_run": True, "sources": plan}


@pytest.mark.parametrize("permanent", [True, False])
def test_error_is_raised_without_what_caused_it(permanent: bool) -> None:
    error, given = SourceError("file caf\udce9.log: gone", hint="Wait."), context(DAY)
    error.permanent = permanent
    error.__cause__ = OSError("from the system")
    with pytest.raises((AirflowFailException, SourceError)) as caught, reported_outcome(given):
        raise error
    assert isinstance(caught.value, AirflowFailException) == permanent
    assert str(caught.value) == str(error)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    # PostgreSQL's JSONB takes no lone surrogates.
    assert pushed_outcome(given) == {"error": "file caf\\xe9.log: gone\nWait."}


def test_error_that_is_not_ours_is_left_alone() -> None:
    given = context(DAY)
    with pytest.raises(ZeroDivisionError), reported_outcome(given):
        raise ZeroDivisionError
    assert pushed_outcome(given) is None


@pytest.mark.parametrize(
    ("partition", "host"),
    [
        ("aws", "console.aws.amazon.com"),
        ("aws-cn", "console.amazonaws.cn"),
        ("aws-us-gov", "console.amazonaws-us-gov.com"),
        ("aws-iso", "console.aws.amazon.com"),
    ],
)
def test_link_leads_to_the_day_in_the_console_of_the_roles_partition(partition: str, host: str) -> None:
    url = console_url(ROLE.format(partition), BUCKET, "logs/2026/11/22/")
    assert url == f"https://{host}/s3/buckets/{BUCKET}?prefix=logs%2F2026%2F11%2F22%2F&showversions=false"
