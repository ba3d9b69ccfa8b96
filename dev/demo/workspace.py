"""What `make demo` and `make up` share: a folder, some days of logs, an archive.yaml, and Airflow over them."""

import argparse
import fcntl
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from dev import sample_logs
from dev.demo.report import human, shown, step
from dev.local_airflow import LocalAirflow, LocalAirflowError
from dev.local_aws import REGION, SOURCE_ACCOUNT, LocalAws, LocalAwsError

ROOT = Path(__file__).parents[2]
ARCHIVE_DAG = "archive_logs"
CHECK_DAG = "check_least_privilege"
_BUCKET, _LOG_GROUP, _CONNECTION = "acme-service-logs", "/aws/lambda/orders", "aws_source"
_MARKER = "made-by-log-archival"


class DemoError(RuntimeError):
    """Something isn't as the demo claims."""


class Workspace:
    """The folder in which the demo works."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"  # the source account's log files
        self.config = path / "archive.yaml"
        self.airflow = path / "airflow"  # AIRFLOW_HOME, with Airflow's own logs and the tasks'
        self.accounts = path / "accounts"  # the log of the local AWS accounts
        self.restored = path / "restored"  # where the archive account restores to


@contextmanager
def empty(path: Path) -> Iterator[Workspace]:
    """Create the folder, or empty it, and lock it meanwhile.

    :raises DemoError: when it holds something that wasn't made here, or another run works in it.
    """
    path = path.resolve()
    marker = path / _MARKER
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not marker.exists())):
        raise DemoError(f"{path} would be emptied, but holds other files: choose another folder with --dir")
    path.mkdir(parents=True, exist_ok=True)
    with marker.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another run works in {path}: end it, or choose another folder with --dir") from None
        for entry in path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()
        yield Workspace(path)


def last_days(count: int = 3) -> list[date]:
    """Return the last days that are over, in UTC, the oldest first."""
    today = datetime.now(UTC).date()
    return [today - timedelta(days=ago) for ago in range(count, 0, -1)]


def write_logs(
    folder: Workspace, aws: LocalAws, days: Sequence[date], small_days: Sequence[date] = ()
) -> dict[date, list[Path]]:
    """Write the days' logs as three kinds of sources; return what each day's log files contain, as local files.

    :param small_days: days of some kilobytes.
    """
    files = {day: _write_small_day(folder.logs, day) for day in small_days}
    files |= {day: sample_logs.write_day(folder.logs, day) for day in days}
    s3 = aws.source_client("s3")
    s3.create_bucket(Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    for path in sorted((folder.logs / "batch").rglob("*.jsonl")):
        s3.upload_file(str(path), _BUCKET, path.relative_to(folder.logs).as_posix())
    aws.source_client("logs").create_log_group(logGroupName=_LOG_GROUP)
    for day, paths in files.items():
        size = 2_000 if day in small_days else 200_000
        paths += [_write_stream(folder, aws, day, instance, size) for instance in ("4f1c22", "9be07d")]
    for name, source in {"s3": {"BucketName": _BUCKET}, "logs": {"LogGroups": _LOG_GROUP}}.items():
        aws.stack(SOURCE_ACCOUNT, f"log-sources-{name}", "log_sources.yaml", {"AirflowUserName": "airflow", **source})
    sizes = [path.stat().st_size for paths in files.values() for path in paths]
    step(
        f"wrote {len(sizes)} log files of {len(files)} days, {human(sum(sizes))}: app and nginx to"
        f" {shown(folder.logs)}, batch to s3://{_BUCKET}, lambda to the CloudWatch log group {_LOG_GROUP}"
    )
    return files


def _write_small_day(root: Path, day: date) -> list[Path]:
    """Write a log file of each of the three sources."""
    hour = (day - date(1970, 1, 1)).days * 24
    services = {
        f"app/web-1/app-{day}.log": "app",
        f"nginx/edge-1/access-{hour}.log": "nginx",
        f"batch/{day}/billing/run-01.jsonl": "batch",
    }
    for name, service in services.items():
        sample_logs.write_log(root / name, 8_000, hour, service=service, day=day)
    return [root / name for name in services]


def _write_stream(folder: Workspace, aws: LocalAws, day: date, instance: str, size: int) -> Path:
    """Put a day's events into a stream of CloudWatch Logs; return a file with the lines that they become."""
    logs, stream = aws.source_client("logs"), f"{day:%Y/%m/%d}/[$LATEST]{instance}"
    where = {"logGroupName": _LOG_GROUP, "logStreamName": stream}
    logs.create_log_stream(**where)
    lines = b"".join(sample_logs.log_bytes(size, int(instance, 16), service="batch", day=day)).decode().splitlines()
    times = [datetime.fromisoformat(json.loads(line)["time"]) for line in lines]
    events: list[dict[str, Any]] = [
        {"timestamp": round(time.timestamp() * 1000), "message": line} for time, line in zip(times, lines, strict=True)
    ]
    logs.put_log_events(**where, logEvents=sorted(events, key=lambda event: event["timestamp"]))
    path = folder.logs / "lambda" / _LOG_GROUP[1:] / f"{stream.replace('/', ':')}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    page = logs.get_log_events(**where, startFromHead=True)
    with path.open("w") as file:
        while page["events"]:
            for event in page["events"]:
                at = [datetime.fromtimestamp(event[name] / 1000, UTC) for name in ("timestamp", "ingestionTime")]
                time, ingestion = (f"{one:%Y-%m-%dT%H:%M:%S}.{one.microsecond // 1000:03d}Z" for one in at)
                line = json.dumps({"time": time, "ingestion_time": ingestion, "message": event["message"]})
                file.write(f"{line}\n")
            page = logs.get_log_events(**where, startFromHead=True, nextToken=page["nextForwardToken"])
    return path


def start_airflow(folder: Workspace, aws: LocalAws, *, for_people: bool) -> LocalAirflow:
    """Start Airflow with this checkout's DAGs over the local accounts.

    :param for_people: whether scheduled runs start by themselves, there is a triggerer, and a connection that may read,
        for verification at tier `read`.
    """
    config = yaml.safe_load((ROOT / "include" / "archive.yaml").read_text(encoding="utf-8"))
    config["archive"]["bucket"] = aws.bucket
    config["batch_size"] = "32 MiB"  # a day is 54 MB: two batches, so that the grid shows the mapping
    # A day in the file's name, in none (so by time), in a prefix, and by the time of each event.
    config["sources"] = [
        {"name": "app", "path": str(folder.logs / "app"), "pattern": "**/*-%Y-%m-%d.log*"},
        {"name": "nginx", "path": str(folder.logs / "nginx"), "pattern": "**/access-*.log"},
        {"name": "batch", "s3": f"s3://{_BUCKET}/batch", "pattern": "%Y-%m-%d/**/*.jsonl", "connection": _CONNECTION},
        {"name": "lambda", "cloudwatch": _LOG_GROUP, "connection": _CONNECTION},
    ]
    connections = {"log_archive": aws.connection_json(), _CONNECTION: json.dumps(aws.source_connection())}
    if for_people:
        config["verify"]["read_connection"] = "log_archive_reader"
        connections["log_archive_reader"] = json.dumps(aws.reader_connection())
    folder.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return LocalAirflow.start(
        folder.airflow,
        dags=ROOT / "dags",
        plugins=ROOT / "plugins",
        wanted=[ARCHIVE_DAG, CHECK_DAG],
        connections=connections,
        environment={
            "LOG_ARCHIVAL_SETTINGS": str(folder.config),
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(for_people),
        },
        triggerer=for_people,
    )


def run_command(
    name: str,
    description: str,
    default: str,
    work: Callable[..., str],
    numbers: Mapping[str, tuple[int, str]] | None = None,
) -> int:
    """Run one of the two commands in the folder that `--dir` names; return the exit status.

    :param default: the name of the folder in the checkout.
    :param work: does everything and returns the last line to print; is called with the folder, and these numbers.
    :param numbers: by the names of their options, the default of each and its help.
    """
    parser = argparse.ArgumentParser(f"make {name}", description=description)
    for option, (number, number_help) in (numbers or {}).items():
        parser.add_argument(f"--{option}", type=int, default=number, help=f"{number_help} (default: {number})")
    help_text = f"where to work; emptied first (default: {default})"
    parser.add_argument("--dir", type=Path, default=ROOT / default, help=help_text)
    options = vars(parser.parse_args())
    folder: Path = options.pop("dir")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        print(work(folder, **options))
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted")
        return 128 + signal.SIGINT
    except (DemoError, LocalAirflowError, LocalAwsError) as error:
        print(f"\n{name}: failed: {error}\nThe logs of Airflow and of its tasks are in {shown(folder)}/airflow.")
        return 1
    return 0
