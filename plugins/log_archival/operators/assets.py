"""The day as an asset of Airflow: what the last task of a run updates, and other DAGs can wait for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk import Asset, Context

from log_archival.history import contents_asset_name, day_asset_name
from log_archival.keys import DEFAULT_PREFIX


def archive_assets(bucket: str, prefix: str = DEFAULT_PREFIX) -> list[Asset]:
    """Return the outlets of the task that verifies: the day asset, and the asset whose events list the archives.

    The first is what other DAGs wait for: ``PartitionedAssetTimetable(assets=Asset("s3://BUCKET/logs/"))``.

    :param bucket: the archive bucket
    :param prefix: what the archive account's policies allow
    """
    day = day_asset_name(bucket, prefix)
    return [Asset(day), Asset(contents_asset_name(day))]


def record_day(
    context: Context,
    outlets: Iterable[Any],
    assets: Sequence[Asset],
    outcome: Mapping[str, Any],
    contents: Mapping[str, Any],
) -> None:
    """Give the events of a task's outlets what is to be remembered of the day; Airflow records them when it succeeds.

    :param context: the task's
    :param outlets: the task's; others than `assets` are left alone
    :param assets: what `archive_assets` returns for the archive
    :param outcome: what the task returns
    :param contents: what `list_archives` returned
    """
    day_name, contents_name = (asset.name for asset in assets)
    for outlet in outlets:
        if not isinstance(outlet, Asset) or outlet.name not in (day_name, contents_name):
            continue
        event: Any = context["outlet_events"][outlet]
        event.extra.update(outcome if outlet.name == day_name else contents)
        # Also of a run by hand whose partition the scheduler doesn't know. (From Airflow 3.3 on.)
        if hasattr(event, "add_partitions"):
            event.add_partitions(str(outcome["partition"]))
