"""Fills an Airflow database with the history of an archive, as its runs would have written it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from airflow.models.asset import AssetEvent, AssetModel, TaskOutletAssetReference
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from log_archival.history import OUTCOME, contents_asset_name, day_asset_name, list_archives
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.records import Archive, Receipt

OPERATORS = {
    "collect": "CollectLogsOperator",
    "archive.compress": "CompressLogsOperator",
    "archive.upload": "CrossAccountPutOperator",
    "verify": "VerifyArchiveOperator",
    "check": "LeastPrivilegeCheckOperator",
}
KEYS = KeyTemplate()


def summary(day: date, sources: Mapping[str, int], **changed: Any) -> dict[str, Any]:
    """Return what `verify` returns of a day, given how many files of 1 MB each source has."""
    by_source = {
        name: {
            "files": files,
            "objects": files,
            "raw_bytes": files * 1_000_000,
            "stored_bytes": files * 120_000,
            "new": files,
            "existing": 0,
            "failed": 0,
            "skipped": 0,
            "ratio": 8.33 if files else None,
        }
        for name, files in sources.items()
    }
    count = sum(sources.values())
    found = {
        "partition": str(day),
        "timezone": "UTC",
        "verified": count,
        "tier": "probe",
        "tier_reason": "",
        "manifests": [f"logs/{day:%Y/%m/%d}/_manifest-{hashlib.sha256(str(day).encode()).hexdigest()[:32]}.json"],
        "files": count,
        "objects": count,
        "raw_bytes": count * 1_000_000,
        "stored_bytes": count * 120_000,
        "new": count,
        "existing": 0,
        "failed": 0,
        "skipped": 0,
        "sources": by_source,
        "only": None,
    }
    return found | changed


def archives(day: date, sources: Mapping[str, int]) -> list[Archive]:
    """Return the archives of a day."""
    return [_archive(day, source, number) for source, files in sources.items() for number in range(files)]


def _archive(day: date, source: str, number: int) -> Archive:
    name = f"web-{number}/{source}.log"
    digest = hashlib.sha256(os.fsencode(f"{day} {source} {number}")).hexdigest()
    key = KEYS.archive_key(Partition(day), source=source, name=name, digest=digest, codec_suffix=".zst", part=None)
    return Archive(
        source=source, root=f"/var/log/{source}", name=name, file_size=1_000_000, file_mtime_ns=0, file_sha256=digest,
        part=1, parts=1, key=key, codec="zstd", content_type="application/zstd", raw_size=1_000_000, raw_sha256=digest,
        stored_size=120_000, stored_sha256=digest,
    )  # fmt: skip


def listing(found: Iterable[Archive], outcome: str = "new") -> dict[str, Any]:
    """Return the extra of the contents asset's event."""
    found = list(found)
    receipts = [Receipt(one.key, outcome, one.stored_size, one.stored_sha256) for one in found]  # type: ignore[arg-type]
    return list_archives(found, receipts)


class SeededHistory:
    """Rows of one DAG; what exists already is used.

    :param session: of an Airflow database
    :param dag_id: the DAG's id
    :param archives: whether it has the day asset as outlet
    :param bucket: the archive bucket
    :param dag: columns of the DAG
    """

    def __init__(
        self,
        session: Session,
        dag_id: str = "archive_logs",
        *,
        archives: bool = True,
        bucket: str = "archive",
        **dag: Any,
    ) -> None:
        self.session, self.dag_id = session, dag_id
        self._runs: list[dict[str, Any]] = []
        self._tasks: list[dict[str, Any]] = []
        self._xcoms: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        if session.get(DagBundleModel, "dags") is None:
            session.add(DagBundleModel(name="dags"))
            session.flush()
        if session.get(DagModel, dag_id) is None:
            limits = {
                "max_active_tasks": 16,
                "max_consecutive_failed_dag_runs": 0,
                "has_task_concurrency_limits": False,
            }
            values = {"dag_id": dag_id, "bundle_name": "dags", "is_paused": False, "is_stale": False, **limits, **dag}
            session.execute(insert(DagModel), [values])
        self._day_asset = self._asset(day_asset_name(bucket, "logs/"))
        self._contents = self._asset(contents_asset_name(day_asset_name(bucket, "logs/")))
        if archives:
            for asset_id in (self._day_asset, self._contents):
                self._outlet(asset_id)

    def _asset(self, uri: str) -> int:
        asset = self.session.scalar(select(AssetModel).where(AssetModel.uri == uri))
        if asset is None:
            asset = AssetModel(name=uri, uri=uri, group="asset")
            self.session.add(asset)
            self.session.flush()
        return asset.id

    def _outlet(self, asset_id: int) -> None:
        key = {"asset_id": asset_id, "dag_id": self.dag_id, "task_id": "verify"}
        if self.session.get(TaskOutletAssetReference, key) is None:
            self.session.add(TaskOutletAssetReference(**key))
            self.session.flush()

    def archived(
        self, day: date, sources: Mapping[str, int], *, listed: bool = True, hour: int = 10, **changed: Any
    ) -> str:
        """Add a run that succeeded, and return its id. `changed`: of what `verify` returned."""
        run_id = self.run(day, "success", hour=hour, tasks={"verify": "success"})
        self.event(day, summary(day, sources, **changed), run_id, hour=hour)
        if listed:
            extra = listing(archives(day, sources))
            self.event(day, extra, run_id, hour=hour, contents=True)
        return run_id

    def event(
        self, day: date, extra: Any, run_id: str, *, hour: int = 10, key: str | None = "", contents: bool = False
    ) -> None:
        """Add an event; `key` is the partition key, the day by default."""
        self._events.append(
            {
                "asset_id": self._contents if contents else self._day_asset,
                "extra": extra,
                "source_dag_id": self.dag_id,
                "source_run_id": run_id,
                "source_task_id": "verify",
                "source_map_index": -1,
                "timestamp": _at(day, hour) + timedelta(minutes=5),
                "partition_key": str(day) if key == "" else key,
            }
        )

    def run(
        self,
        day: date,
        state: str,
        *,
        hour: int = 10,
        key: str | None = "",
        conf: Mapping[str, Any] | None = None,
        tasks: Mapping[str, str | None] | None = None,
        outcomes: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a run, with the states of its tasks and what they pushed; return its id."""
        run_id = f"scheduled__{day}T{hour:02}_{len(self._runs)}"
        at = _at(day, hour)
        self._runs.append(
            {
                "dag_id": self.dag_id,
                "run_id": run_id,
                "run_type": "manual" if conf else "scheduled",
                "run_after": at,
                "state": state,
                "start_date": at,
                "end_date": at + timedelta(minutes=5) if state in ("success", "failed") else None,
                "partition_key": str(day) if key == "" else key,
                "conf": dict(conf or {}),
                "span_status": "not_started",
            }
        )
        for task_id, task_state in (tasks or {}).items():
            self._tasks.append(
                {
                    "dag_id": self.dag_id,
                    "run_id": run_id,
                    "task_id": task_id,
                    "map_index": -1,
                    "state": task_state,
                    "operator": OPERATORS[task_id],
                    "pool": "default_pool",
                    "pool_slots": 1,
                    "try_number": 1,
                    "max_tries": 1,
                    "start_date": at,
                    "end_date": at + timedelta(minutes=5),
                    "span_status": "not_started",
                }
            )
        for task_id, value in (outcomes or {}).items():
            row = {"dag_id": self.dag_id, "run_id": run_id, "task_id": task_id, "map_index": -1, "key": OUTCOME}
            self._xcoms.append({**row, "value": value, "timestamp": at + timedelta(minutes=5)})
        return run_id

    def write(self) -> None:
        """Write what was added."""
        for model, rows in ((DagRun, self._runs), (TaskInstance, self._tasks)):
            if rows:
                self.session.execute(model.__table__.insert(), rows)
        ids = dict(self.session.execute(select(DagRun.run_id, DagRun.id).where(DagRun.dag_id == self.dag_id)).all())
        xcoms = [{**row, "dag_run_id": ids[row["run_id"]]} for row in self._xcoms]
        for table, rows in ((XComModel.__table__, xcoms), (AssetEvent.__table__, self._events)):
            if rows:
                self.session.execute(table.insert(), rows)
        self.session.commit()
        self._runs, self._tasks, self._xcoms, self._events = [], [], [], []


def _at(day: date, hour: int) -> datetime:
    """The run of a day is on the next one."""
    return datetime.combine(day + timedelta(days=1), time(hour, 30), UTC)


@dataclass(frozen=True)
class TwoYears:
    """What is special in the seeded history.

    :param sources: the names
    :param missing: days without a run
    :param failed: a day whose run failed
    :param running: the last day, whose run is running
    """

    sources: list[str]
    missing: list[date]
    failed: date
    running: date


def seed_years(session: Session, last_day: date, *, days: int = 730, sources: int = 50, **dag: Any) -> TwoYears:
    """Write a long history, by default of two years and 50 sources: a gap, a failed day, a running one."""
    history = SeededHistory(session, **dag)
    names = [f"service-{number:02}" for number in range(1, sources + 1)]
    missing = [last_day - timedelta(days=back) for back in (26, 25, 24)]
    failed = last_day - timedelta(days=12)
    files = dict.fromkeys(names, 4)
    # Of every day the same archives: only the number of bytes matters, and hashing would take seconds.
    extra = listing(archives(last_day, files))
    for back in range(days - 1, 0, -1):
        day = last_day - timedelta(days=back)
        if day == failed:
            error = "source service-03: 0 log files match *.log in /var/log/service-03; at least 1 are expected"
            history.run(day, "failed", tasks={"collect": "failed", "verify": "upstream_failed"},
                        outcomes={"collect": {"partition": str(day), "error": error}})  # fmt: skip
        elif day not in missing:
            run_id = history.archived(
                day, {name: 1 + (back + index) % 7 for index, name in enumerate(names)}, listed=False
            )
            history.event(day, extra, run_id, contents=True)
    history.run(last_day, "running", tasks={"collect": "success", "archive.upload": "running", "verify": None})
    history.write()
    return TwoYears(names, missing, failed, last_day)
