"""`make up`: Airflow's UI over two AWS accounts on this machine, with three weeks of history.

It works in `.airflow/` of the checkout (another folder with `--dir`), which it empties first, and runs until Ctrl-C.
"""

import os
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dev.demo import workspace
from dev.demo.checks import reader_environment
from dev.demo.report import shown, step
from dev.demo.workspace import ARCHIVE_DAG, CHECK_DAG, DemoError, Workspace
from dev.local_airflow import LocalAirflow
from dev.local_aws import LocalAws

HISTORY_DAYS, LEAST_DAYS = 21, 10
HISTORY_SECONDS = 1800.0  # it takes some minutes; a machine under load gets time
_SCHEDULED_SECONDS = 60.0


@dataclass(frozen=True)
class History:
    """The days of the history.

    :param days: all of them, the oldest first
    """

    days: list[date]

    @property
    def small(self) -> list[date]:
        """All but the last three: so many small days are archived in the time of one large one."""
        return self.days[:-3]

    @property
    def failed(self) -> date:
        """A day that fails: its log file is from another day than its name says."""
        return self.days[-9]

    @property
    def gap(self) -> date:
        """A day that nobody has archived."""
        return self.days[-6]

    @property
    def yesterday(self) -> date:
        """The last day."""
        return self.days[-1]

    def misplaced(self, folder: Workspace) -> Path:
        """Return the log file for which a day fails."""
        return folder.logs / "app" / "web-1" / f"app-{self.failed}.log"

    def break_day(self, folder: Workspace) -> None:
        """Have a day fail, with an error that no retry helps: give one of its log files the time of the day before."""
        path = self.misplaced(folder)
        moment = path.stat().st_mtime - 86_400
        os.utime(path, (moment, moment))

    def archive(self, airflow: LocalAirflow) -> None:
        """Archive the days that are neither the gap nor scheduled, and check least privilege, all with real runs."""
        checked = airflow.trigger(CHECK_DAG)
        scheduled = _scheduled_day(airflow)
        # The newest first: they are what somebody looks at first.
        left = [day for day in reversed(self.days) if str(day) not in {str(self.gap), scheduled}]
        runs = {day: airflow.trigger(ARCHIVE_DAG, partition_key=str(day)) for day in left}
        for number, (day, run) in enumerate(runs.items(), 1):
            state = airflow.wait(ARCHIVE_DAG, run, timeout=HISTORY_SECONDS)[run]
            if (state == "failed") != (day == self.failed):
                raise DemoError(f"the run {run} of {day}: {state}")
            if number % 5 == 0 or number == len(runs):
                step(f"history: {number} of {len(runs)} days")
        airflow.wait(CHECK_DAG, checked, timeout=HISTORY_SECONDS)
        step("the history is complete")


def _scheduled_day(airflow: LocalAirflow) -> str:
    """Return the day that the scheduler archives by itself when Airflow starts."""
    deadline = time.monotonic() + _SCHEDULED_SECONDS
    while time.monotonic() < deadline:
        if runs := airflow.api("GET", f"/dags/{ARCHIVE_DAG}/dagRuns?run_type=scheduled")["dag_runs"]:
            return str(runs[0]["partition_key"])
        time.sleep(0.3)
    raise DemoError(f"the scheduler starts no run of {ARCHIVE_DAG}\n{airflow.log_tail('scheduler')}")


def instructions(folder: Workspace, aws: LocalAws, airflow: LocalAirflow, history: History) -> str:
    """Return what to look at and what to click; write the reader's variables to a file."""
    access = folder.path / "reader.env"
    access.touch(mode=0o600)
    variables = reader_environment(aws).items()
    access.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables))
    return f"""
  {airflow.url}   user {airflow.username}, password {airflow.password}

  Is any day missing?  "Log archive" in the navigation shows {history.days[0]} to {history.yesterday}
  Close the gap        {history.gap} was never archived: archive it there, with a click
  Mend a failed day    {history.failed}: the log of `verify` says why it failed. Mend that, then archive it there:
                         touch -d '{history.failed} 23:59:59 UTC' {shown(history.misplaced(folder))}
  Archive one day      {airflow.url}/dags/{ARCHIVE_DAG} > Trigger > Single Run, Day: {history.yesterday}
  Archive more         Trigger > Backfill, from {history.days[-3]} to {history.yesterday}, reprocess: all runs
  See what would go    Trigger > Single Run, Day: {history.yesterday}, Dry run; then the log of `collect`
  Prove the role       {airflow.url}/dags/{CHECK_DAG} > Trigger; then the log of `check`

  Each day is archived by a run of its own, now, the newest first, which takes some minutes: the last line of the
  history says when it is complete. Running a day again does no harm.
  The logs are in {shown(folder.logs)}, the archive is s3://{aws.bucket}/logs/, at {aws.endpoint_url}.
  The archive account's people look into it from another terminal, for an hour; the gap is what they find missing:
    source {shown(access)}
    {shown(Path(sys.executable))} -m log_archival.reader.cli verify s3://{aws.bucket}/logs/ --depth bytes

  The two accounts live as long as this command: nothing is kept for the next time. Ctrl-C stops everything.
"""


def up(path: Path, days: int = HISTORY_DAYS) -> str:
    """Start everything in this folder, print what to click, make the history, and wait for Ctrl-C.

    :param days: how many days of history
    :returns: the last line to print.
    """
    if days < LEAST_DAYS:
        raise DemoError(f"{days} days have no room for a gap and a failed day; {LEAST_DAYS} do")
    history = History(workspace.last_days(days))
    with workspace.empty(path) as folder, LocalAws.start(folder.accounts) as aws:
        step("started two AWS accounts")
        workspace.write_logs(folder, aws, history.days[-3:], history.small)
        history.break_day(folder)
        step("starting Airflow")
        with workspace.start_airflow(folder, aws, for_people=True) as airflow:
            print(instructions(folder, aws, airflow, history))
            with suppress(KeyboardInterrupt):
                history.archive(airflow)
                while True:
                    airflow.require_running()
                    time.sleep(1)
            print("stopping Airflow and the accounts ...")
    return "stopped"


if __name__ == "__main__":
    numbers = {"days": (HISTORY_DAYS, f"how many days of history, {LEAST_DAYS} or more")}
    sys.exit(
        workspace.run_command("up", "Airflow's UI over two AWS accounts on this machine.", ".airflow", up, numbers)
    )
