"""The day as an asset of Airflow: what `verify` updates, and other DAGs can wait for."""

from airflow.sdk import Asset

from log_archival.history import CONTENTS_GROUP, DAY_GROUP
from log_archival.keys import DEFAULT_PREFIX


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
