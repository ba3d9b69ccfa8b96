"""What lies elsewhere, or isn't there, in some of the versions of Airflow from 3.0 on."""

from typing import Any

from airflow import __version__

try:  # from Airflow 3.2 on
    from airflow.sdk.exceptions import AirflowFailException as AirflowFailException
    from airflow.sdk.exceptions import AirflowNotFoundException as AirflowNotFoundException
    from airflow.sdk.exceptions import AirflowSkipException as AirflowSkipException
except ImportError:
    from airflow.exceptions import AirflowFailException as AirflowFailException  # type: ignore[no-redef]
    from airflow.exceptions import (  # type: ignore[attr-defined]
        AirflowNotFoundException as AirflowNotFoundException,
    )
    from airflow.exceptions import AirflowSkipException as AirflowSkipException  # type: ignore[no-redef]
try:  # from Airflow 3.2 on
    from airflow.sdk.observability.stats import Stats as Stats
except ImportError:
    from airflow.stats import Stats as Stats
try:  # from Airflow 3.1 on
    from airflow.sdk import BaseHook as BaseHook
    from airflow.sdk.log import mask_secret as mask_secret
except ImportError:
    from airflow.hooks.base import BaseHook as BaseHook  # type: ignore[attr-defined,no-redef]
    from airflow.sdk.execution_time.secrets_masker import mask_secret as mask_secret  # type: ignore[no-redef]


def partition_key(dag_run: Any) -> str | None:
    """Return a run's partition key; before Airflow 3.2 there is none.

    :param dag_run: the run of the task's context
    """
    key: str | None = getattr(dag_run, "partition_key", None)
    return key


def backfills_by_run_date(version: str = __version__) -> bool:
    """Return whether the dates of a backfill are those of its runs, and not those of their partitions.

    So it is before Airflow 3.3: with ``run_offset=-1`` a backfill of the 20th makes the run of partition 19.

    :param version: Airflow's
    """
    return _before_3_3(version)


def names_partitions_by_utc_day(version: str = __version__) -> bool:
    """Return whether a run's partition key is the day in UTC, and not in the time zone of the timetable.

    So it is before Airflow 3.3: the run of 02:15 in Tokyo has the key of two days before.

    :param version: Airflow's
    """
    return _before_3_3(version)


def _before_3_3(version: str) -> bool:
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) < (3, 3)
