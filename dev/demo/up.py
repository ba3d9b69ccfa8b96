"""`make up`: Airflow's UI over two AWS accounts on this machine, with three days of logs to archive.

It works in `.airflow/` of the checkout (another folder with `--dir`), which it empties first, and runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from datetime import date
from pathlib import Path

from dev.demo.console import Console
from dev.demo.settings import (
    ARCHIVE_DAG,
    CHECK_DAG,
    ROOT,
    DemoError,
    DemoFolder,
    demo_days,
    fresh_folder,
    shown,
    start_airflow,
    write_logs,
)
from dev.local_airflow import LocalAirflow, LocalAirflowError
from dev.local_aws import REGION, LocalAws, LocalAwsError


def explain(folder: DemoFolder, aws: LocalAws, airflow: LocalAirflow, days: list[date]) -> str:
    """What there is, and what to click."""
    first, *_, yesterday = days
    reader = aws.assume_reader().credentials
    variables = {
        "AWS_ACCESS_KEY_ID": reader.access_key,
        "AWS_SECRET_ACCESS_KEY": reader.secret_key,
        "AWS_SESSION_TOKEN": reader.token or "",
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_DEFAULT_REGION": REGION,
        "PYTHONPATH": str(ROOT / "plugins"),
    }
    access = folder.path / "reader.env"
    access.touch(mode=0o600)
    access.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))
    return f"""
  {airflow.url}   user {airflow.username}, password {airflow.password}

  Archive one day      {airflow.url}/dags/{ARCHIVE_DAG} > Trigger > Single Run, Day: {yesterday}
  Archive missed days  Trigger > Backfill, from {first} to {yesterday}
  See what would go    Trigger > Single Run, Day: {yesterday}, Dry run; then the log of `collect`
  Prove the role       {airflow.url}/dags/{CHECK_DAG} > Trigger; then the log of `report`

  The last scheduled day is being archived already, by itself. Running a day again does no harm.
  The logs are in {shown(folder.logs)}, the archive is s3://{aws.bucket}/logs/, at {aws.endpoint_url}.
  The archive account's people look into it from another terminal, for an hour:
    source {shown(access)}
    {shown(Path(sys.executable))} -m log_archival verify s3://{aws.bucket}/logs/ --depth bytes

  The two accounts live as long as this does: nothing is kept for the next time. Ctrl-C stops everything.
"""


def serve(path: Path, console: Console) -> None:
    """Start everything in this folder, say what to click, and wait for KeyboardInterrupt.

    :raises DemoError: when Airflow ends by itself, or the folder can't be used
    :raises LocalAirflowError: when Airflow doesn't start
    :raises LocalAwsError: when the local accounts don't start
    """
    days = demo_days()
    with fresh_folder(path) as folder, LocalAws.start(directory=folder.accounts) as aws:
        console.step("started two AWS accounts")
        write_logs(folder, days, console)
        console.moving("starting Airflow")
        with start_airflow(folder, aws, schedule=True, reader=True) as airflow:
            console.step("started Airflow")
            console.line(explain(folder, aws, airflow, days))
            try:
                while airflow.running:
                    time.sleep(2)
            finally:
                console.line("stopping Airflow and the accounts ...")
            raise DemoError(f"Airflow ended by itself; its logs are in {shown(folder.airflow)}")


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; answer the exit status."""
    parser = argparse.ArgumentParser("up.py", description="Airflow's UI over two AWS accounts on this machine.")
    parser.add_argument("--dir", type=Path, default=ROOT / ".airflow", help="where to work; emptied first (.airflow)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    try:
        serve(options.dir, console)
    except KeyboardInterrupt:
        console.line("stopped")
    except (DemoError, LocalAirflowError, LocalAwsError) as error:
        console.line(f"\nup: failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
