"""`make up`: Airflow's UI over two AWS accounts on this machine, with three days of logs to archive.

It works in `.airflow/` of the checkout (another folder with `--dir`), which it empties first, and runs until Ctrl-C.
"""

import shlex
import sys
import time
from contextlib import suppress
from datetime import date
from pathlib import Path

from dev.demo import workspace
from dev.demo.checks import reader_environment
from dev.demo.report import shown, step
from dev.demo.workspace import ARCHIVE_DAG, CHECK_DAG, Workspace
from dev.local_airflow import LocalAirflow
from dev.local_aws import LocalAws


def instructions(folder: Workspace, aws: LocalAws, airflow: LocalAirflow, days: list[date]) -> str:
    """Return what to look at and what to click; write the reader's variables to a file."""
    first, *_, yesterday = days
    access = folder.path / "reader.env"
    access.touch(mode=0o600)
    variables = reader_environment(aws).items()
    access.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables))
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

  The two accounts live as long as this command: nothing is kept for the next time. Ctrl-C stops everything.
"""


def up(path: Path) -> str:
    """Start everything in this folder, print what to click, and wait for Ctrl-C; return the last line."""
    days = workspace.last_days()
    with workspace.empty(path) as folder, LocalAws.start(folder.accounts) as aws:
        step("started two AWS accounts")
        workspace.write_logs(folder, aws, days)
        step("starting Airflow")
        with workspace.start_airflow(folder, aws, schedule=True, reader=True) as airflow:
            print(instructions(folder, aws, airflow, days))
            with suppress(KeyboardInterrupt):
                while True:
                    airflow.require_running()
                    time.sleep(1)
            print("stopping Airflow and the accounts ...")
    return "stopped"


if __name__ == "__main__":
    sys.exit(workspace.run_command("up", "Airflow's UI over two AWS accounts on this machine.", ".airflow", up))
