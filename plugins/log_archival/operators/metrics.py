"""What a task did, as metrics of Airflow's: they go wherever Airflow's own go, to StatsD or OpenTelemetry, or nowhere.

https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/logging-monitoring/metrics.html
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context

from log_archival.airflow_versions import Stats
from log_archival.pipeline.summary import FIGURES


def send_metrics(context: Context, outcome: Mapping[str, Any]) -> None:
    """Send the metrics of a task that ends.

    ``log_archival.files`` and so on for each of `FIGURES`, ``log_archival.duration`` since the run was started, and
    ``log_archival.failed_tries``. Where metrics have tags, these have DAG and source, or DAG and task.

    :param context: the task's
    :param outcome: what it pushes as `log_archival.history.OUTCOME`
    """
    ti, started = context["ti"], getattr(context.get("dag_run"), "start_date", None)
    tags = {"dag_id": ti.dag_id}
    if outcome.get("error"):
        Stats.incr("log_archival.failed_tries", tags={**tags, "task_id": ti.task_id})
    # The outcome of a dry run, and that of a task before the last, say nothing of the archive.
    if outcome.get("dry_run") or "stored_bytes" not in outcome:
        return
    for source, figures in outcome["sources"].items():
        for name in FIGURES:
            Stats.incr(f"log_archival.{name}", figures.get(name, 0), tags={**tags, "source": source})
    if started:
        # A timing, which StatsD and OpenTelemetry take in milliseconds.
        Stats.timing("log_archival.duration", datetime.now(UTC) - started, tags=tags)
