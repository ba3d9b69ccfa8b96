"""The day as an asset of Airflow: what the last task of a run updates, and other DAGs can wait for."""

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Asset, Context

from log_archival.history import CONTENTS_GROUP, DAY_GROUP, list_archives
from log_archival.keys import DEFAULT_PREFIX
from log_archival.pipeline.run_dir import RunRecords


def archive_assets(bucket: str, prefix: str = DEFAULT_PREFIX) -> list[Asset]:
    """Return the outlets of the task that verifies: the day asset, and the asset whose events list the archives.

    The first is what other DAGs wait for: ``PartitionedAssetTimetable(assets=Asset("s3://BUCKET/logs/"))``.

    :param bucket: the archive bucket
    :param prefix: what the archive account's policies allow
    """
    return [
        Asset(f"s3://{bucket}/{prefix}", group=DAY_GROUP),
        Asset(f"x-log-archive://{bucket}/{prefix}contents", group=CONTENTS_GROUP),
    ]


def record_day(context: Context, outlets: Iterable[Any], outcome: Mapping[str, Any], records: RunRecords) -> None:
    """Give the events of a task's outlets what is to be remembered of the day; Airflow records them when it succeeds.

    :param context: the task's
    :param outlets: the task's; those that are not of `archive_assets` are left alone
    :param outcome: what the task returns
    :param records: of the run
    """
    extras = {DAY_GROUP: dict(outcome), CONTENTS_GROUP: list_archives(records.archives, records.receipts)}
    for outlet in outlets:
        if isinstance(outlet, Asset) and outlet.group in extras:
            event: Any = context["outlet_events"][outlet]
            event.extra.update(extras[outlet.group])
            # Also of a run by hand whose partition the scheduler doesn't know. (From Airflow 3.3 on.)
            if hasattr(event, "add_partitions"):
                event.add_partitions(str(outcome["partition"]))
