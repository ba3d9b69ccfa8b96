"""The metrics of a task: by DAG and source, of what it did, and nothing of a plan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from log_archival.exceptions import SourceError
from log_archival.operators import metrics
from log_archival.operators.base import reported_outcome
from log_archival.operators.metrics import send_metrics
from tests.support.operating import context

FIGURES = {"files": 4, "objects": 5, "raw_bytes": 900, "stored_bytes": 300, "new": 5, "existing": 0, "ratio": 3.0}
SUMMARY = {"partition": "2026-11-22", "stored_bytes": 300, "sources": {"app": FIGURES}}


class RecordedStats:
    """Airflow's Stats, which keeps what it is given."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[Any, dict[str, str]]] = {}

    def incr(self, name: str, count: int = 1, *, tags: dict[str, str]) -> None:
        self.sent[name] = (count, tags)

    timing = incr


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> RecordedStats:
    stats = RecordedStats()
    monkeypatch.setattr(metrics, "Stats", stats)
    return stats


def test_metrics_of_a_day_are_its_figures_by_source_and_its_duration(stats: RecordedStats) -> None:
    run: Any = context("2026-11-22")
    run["dag_run"].start_date = datetime.now(UTC) - timedelta(minutes=5)
    send_metrics(run, SUMMARY)
    duration, tags = stats.sent.pop("log_archival.duration")
    assert (duration >= timedelta(minutes=5), tags) == (True, {"dag_id": "archive_logs"})
    counts = {"files": 4, "objects": 5, "raw_bytes": 900, "stored_bytes": 300, "new": 5}
    zeros = dict.fromkeys(("existing", "failed", "skipped"), 0)
    of_source = {"dag_id": "archive_logs", "source": "app"}
    assert stats.sent == {f"log_archival.{name}": (count, of_source) for name, count in (counts | zeros).items()}


@pytest.mark.parametrize(
    ("outcome", "sent"),
    [
        ({"partition": "2026-11-22", "error": "no files"}, {"log_archival.failed_tries"}),
        ({"dry_run": True, "stored_bytes": 0, "sources": {"app": {"files": 4}}}, set()),
        ({"checks": {"get-a-log": "ok"}, "findings": []}, set()),
    ],
    ids=["error", "dry run", "least privilege"],
)
def test_metrics_of_other_outcomes(outcome: dict[str, Any], sent: set[str], stats: RecordedStats) -> None:
    send_metrics(context("2026-11-22"), outcome)
    assert stats.sent.keys() == sent
    assert [tags for _, tags in stats.sent.values()] == [{"dag_id": "archive_logs", "task_id": "task"} for _ in sent]


def test_task_that_fails_sends_its_outcome_as_metrics(stats: RecordedStats) -> None:
    run: Any = context("2026-11-22")
    run["ti"].xcom_push = lambda **_: None
    with pytest.raises(SourceError), reported_outcome(run):
        raise SourceError("no files")
    assert stats.sent.keys() == {"log_archival.failed_tries"}
