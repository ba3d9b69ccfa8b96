"""The settings of a DAG: where they are found, and which schedules an old Airflow would get wrong."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from log_archival.airflow_versions import names_partitions_by_utc_day
from log_archival.config import SETTINGS_VARIABLE
from log_archival.exceptions import SettingsError
from log_archival.hooks import settings
from log_archival.hooks.settings import dag_settings

TEXT = "archive: {{bucket: acme-log-archive}}\nsources: [{{name: app, path: /var/log/app}}]\nschedule: {schedule}\n"
SCHEDULES = {
    "UTC": ("{}", True),
    "Berlin, noon": ("{cron: '0 12 * * *', timezone: Europe/Berlin}", True),
    "Tokyo, after midnight": ("{cron: '15 2 * * *', timezone: Asia/Tokyo}", False),
    "New York, evening": ("{cron: '15 20 * * *', timezone: America/New_York}", False),
    "New York, in winter only": ("{cron: '15 19 * * *', timezone: America/New_York}", False),
}


def write(folder: Path, schedule: str = "{}", more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "archive.yaml").write_text(TEXT.format(schedule=schedule) + more)
    return folder


@pytest.mark.parametrize("version", ["3.2.1", "3.3.0"])
@pytest.mark.parametrize(("schedule", "safe"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedule_on_another_utc_day_is_refused_before_airflow_3_3(
    schedule: str, safe: bool, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "names_partitions_by_utc_day", partial(names_partitions_by_utc_day, version))
    dag = write(tmp_path, schedule) / "archive_logs.py"
    if safe or version == "3.3.0":
        assert dag_settings(dag).archive.bucket == "acme-log-archive"
    else:
        with pytest.raises(SettingsError, match=r"schedule\.cron: before Airflow 3\.3.*\n.*UTC"):
            dag_settings(dag)


@pytest.mark.parametrize("place", ["dags", "dags/include", "include"])
def test_settings_are_found(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTINGS_VARIABLE, raising=False)
    write(tmp_path / place)
    assert dag_settings(tmp_path / "dags" / "archive_logs.py").archive.bucket == "acme-log-archive"


def test_settings_file_that_is_named_and_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "none.yaml"))
    with pytest.raises(SettingsError, match="can't read"):
        dag_settings(tmp_path / "archive_logs.py")


def test_notifier_that_does_not_exist_is_named_with_the_file(tmp_path: Path) -> None:
    folder = write(tmp_path, more="notify: {notifiers: [{class: nowhere.Notifier}]}\n")
    with pytest.raises(SettingsError, match=rf"{tmp_path}/archive\.yaml is not right:\n  notify\.notifiers\.0: class"):
        dag_settings(folder / "archive_logs.py")
