"""What `make demo` and `make up` share: a folder, three days of logs, an archive.yaml, and Airflow over it all."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import yaml

from dev import sample_logs
from dev.demo.console import Console, human
from dev.local_airflow import LocalAirflow
from dev.local_aws import LocalAws

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE_DAG = "archive_logs"
CHECK_DAG = "check_least_privilege"
# Of the sources that sample_logs writes: a day in the file's name, in none (so by time), and in a folder's name.
PATTERNS = {"app": "**/*-%Y-%m-%d.log*", "nginx": "**/access-*.log", "batch": "%Y-%m-%d/**/*.jsonl"}
_MARKER = "made-by-log-archival"


class DemoError(RuntimeError):
    """Something was not as the demo claims it is."""


@dataclass(frozen=True)
class DemoFolder:
    """Where the demo works; everything in it is made anew each time."""

    path: Path

    @property
    def logs(self) -> Path:
        """The source account's log files."""
        return self.path / "logs"

    @property
    def settings(self) -> Path:
        """The archive.yaml of the demo."""
        return self.path / "archive.yaml"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME, with Airflow's own logs and those of the tasks."""
        return self.path / "airflow"

    @property
    def accounts(self) -> Path:
        """What the local AWS accounts write: their log, and the objects."""
        return self.path / "accounts"

    @property
    def restored(self) -> Path:
        """Where the archive account restores to."""
        return self.path / "restored"


@contextmanager
def fresh_folder(path: Path) -> Iterator[DemoFolder]:
    """Empty the folder, or make it, and keep others of our kind out of it meanwhile.

    :raises DemoError: when it holds something that was not made here, or another run works in it
    """
    path = path.resolve()
    marker = path / _MARKER
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not marker.exists())):
        raise DemoError(f"{path} is emptied first, and holds what was not made here: choose another folder with --dir")
    path.mkdir(parents=True, exist_ok=True)
    with marker.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another one is running in {path}: end it, or choose another folder with --dir") from None
        for entry in path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()
        yield DemoFolder(path)


def demo_days() -> list[date]:
    """The last three days that are over, in UTC, the oldest first."""
    today = datetime.now(UTC).date()
    return [today - timedelta(days=ago) for ago in (3, 2, 1)]


def write_logs(folder: DemoFolder, days: list[date], console: Console) -> dict[date, list[Path]]:
    """Write the days' logs; answer each day's files."""
    files: dict[date, list[Path]] = {}
    for day in days:
        console.moving(f"writing the logs of {day}")
        files[day] = sample_logs.write_day(folder.logs, day)
    every = [path for paths in files.values() for path in paths]
    size = sum(path.stat().st_size for path in every)
    console.step(f"wrote {len(every)} log files of three days, {human(size)}, to {shown(folder.logs)}")
    return files


def write_settings(folder: DemoFolder, bucket: str, read_connection: str | None = None) -> None:
    """Write the demo's archive.yaml: the shipped one with the demo's bucket, sources and smaller batches."""
    settings = yaml.safe_load((ROOT / "include" / "archive.yaml").read_text(encoding="utf-8"))
    settings["archive"]["bucket"] = bucket
    # A day is 54 MB: two batches, so that there is something to see of the mapping.
    settings["batch_size"] = "32 MiB"
    settings["sources"] = [
        {"name": name, "path": str(folder.logs / name), "pattern": pattern} for name, pattern in PATTERNS.items()
    ]
    if read_connection:
        settings["verify"]["read_connection"] = read_connection
    folder.settings.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def start_airflow(
    folder: DemoFolder, aws: LocalAws, *, schedule: bool, reader: bool = False, extra: Mapping[str, str] | None = None
) -> LocalAirflow:
    """Start Airflow with this checkout's DAGs over the local accounts.

    :param schedule: whether scheduled runs start by themselves
    :param reader: whether there is a connection that may read, for verification at tier `read`
    """
    read_connection = "log_archive_reader"
    connections = {"log_archive": aws.connection_json()}
    if reader:
        connections[read_connection] = json.dumps(aws.reader_connection())
    write_settings(folder, aws.bucket, read_connection if reader else None)
    return LocalAirflow.start(
        folder.airflow,
        dags=ROOT / "dags",
        plugins=ROOT / "plugins",
        wanted=[ARCHIVE_DAG, CHECK_DAG],
        connections=connections,
        environment={
            "LOG_ARCHIVAL_SETTINGS": str(folder.settings),
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(schedule),
            **(extra or {}),
        },
    )


def shown(path: Path) -> str:
    """A path as people read it: below the current folder, relative to it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
