"""The settings of a DAG, wherever this Airflow has them."""

import os

from airflow.sdk import Variable

from log_archival.airflow_versions import names_partitions_by_utc_day
from log_archival.config import SETTINGS_VARIABLE, Settings, load_settings, parse_settings, settings_files
from log_archival.exceptions import SettingsError
from log_archival.notifications import require_notifiers

#: The Airflow Variable that has the text of archive.yaml, where there is no such file.
AIRFLOW_VARIABLE = "log_archival_settings"


def dag_settings(dag_file: str | os.PathLike[str]) -> Settings:
    """Return the settings of the first of these places that has any, see `log_archival.config.settings_files`.

    The Airflow Variable ``log_archival_settings`` comes last: it is a request each time the DAG is parsed, which nobody
    pays who has a file.

    :param dag_file: the path of the DAG's file
    :raises SettingsError: when there are none, naming all places, or they are wrong, or this Airflow would archive
        other days than they say
    """
    settings, where = _found_settings(dag_file)
    require_notifiers(settings, where)
    schedule = settings.schedule
    if names_partitions_by_utc_day() and not schedule.is_on_its_utc_day:
        raise SettingsError(
            f"schedule.cron: before Airflow 3.3, runs are named after the day in UTC, and {schedule.cron!r} in"
            f" {schedule.timezone} is on another day there: each run would archive another day than the one before it",
            hint="Choose a time that is on the same day in UTC, or set schedule.timezone to UTC.",
        )
    return settings


def _found_settings(dag_file: str | os.PathLike[str]) -> tuple[Settings, str]:
    files = settings_files(dag_file)
    for path in files:
        if path.exists() or os.environ.get(SETTINGS_VARIABLE):
            return load_settings(path), str(path)
    if text := Variable.get(AIRFLOW_VARIABLE, default=None):
        where = f"the Airflow Variable {AIRFLOW_VARIABLE}"
        return parse_settings(str(text), where), where
    places = [f"{SETTINGS_VARIABLE} is not set", *(f"{path} is missing" for path in files)]
    raise SettingsError(
        f"there are no settings: {'; '.join(places)}; there is no Airflow Variable {AIRFLOW_VARIABLE}",
        hint="Write archive.yaml in one of these places; they are asked in this order. docs/deployment.md says which"
        " suits which Airflow.",
    )
