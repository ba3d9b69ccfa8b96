"""`make demo`: three days of logs go from one AWS account to another, both on this machine, in real Airflow.

Everything that it says is looked at from outside, not taken from what the DAG reports about itself. It works in
`.demo/` of the checkout (another folder with `--dir`), which it empties first. The last line is `demo: ok` with
figures; when anything is not as it is said to be, it ends with another status than 0, and says what and where to look.
"""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import date
from pathlib import Path
from typing import Any

from dev.demo.checks import check_archived, key_of, object_versions, try_what_is_forbidden
from dev.demo.console import Console
from dev.demo.readers import check_restored, run_command
from dev.demo.report import Keys, show_examples, show_figures, show_privileges, show_refusals
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
from dev.local_aws import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, LocalAws, LocalAwsError

RUN_SECONDS = 400.0  # for one run, which takes about ten, or thirty for the checks; a machine under load gets time


class Demo:
    """The steps, in order."""

    def __init__(self, folder: DemoFolder, aws: LocalAws, airflow: LocalAirflow, console: Console) -> None:
        self.folder, self.aws, self.airflow, self.console = folder, aws, airflow, console

    def run(self, files: dict[date, list[Path]]) -> str:
        """Do everything; answer the figures of the last line.

        :param files: by day, the log files that there are
        """
        keys = {day: {key_of(self.folder, day, path): path for path in paths} for day, paths in files.items()}
        *missed, yesterday = files
        summaries = self._archive_by_hand(yesterday)
        self.console.step(f"archiving {missed[0]} and {missed[-1]}: a backfill, asked for as the UI's dialog does")
        summaries += self._finish(self.airflow.backfill(ARCHIVE_DAG, missed[0], missed[-1], max_active_runs=2))
        verified = {summary["partition"]: summary["verified"] for summary in summaries}
        expected = {str(day): len(of_day) for day, of_day in keys.items()}
        _claim(verified == expected, f"each run archives and verifies its own day, {expected}; they say {verified}")

        self.console.step("comparing every object in the archive with its file")
        before = object_versions(self.aws)
        stored = check_archived(self.aws, before, keys)
        again = self._archive_by_hand(yesterday, " a second time")[0]
        after = object_versions(self.aws)
        _claim(
            after == before, f"a second run adds nothing; there were {len(before)} object versions, now {len(after)}"
        )
        refusals = try_what_is_forbidden(self.aws, next(iter(keys[yesterday])))
        _claim(object_versions(self.aws) == before, "what is refused changes nothing in the archive")

        show_examples(self.console, self.folder, self.aws.bucket, keys, before)
        show_figures(self.console, keys, before, summaries)
        self.console.title(f"The second run of {yesterday}")
        self.console.line(f"  {again['already']} archives were there already, {again['new']} are new;")
        self.console.line(f"  {len(before)} object versions in the bucket before it, {len(after)} after it")
        show_refusals(self.console, refusals)
        wrong = [refusal.tried for refusal in refusals if not refusal.refused]
        _claim(not wrong, f"all of this is refused, each for its own reason; it is otherwise with: {'; '.join(wrong)}")

        self._check_least_privilege()
        self._read_as_the_archive_account(yesterday, keys, files[yesterday])
        paths = [path for of_day in files.values() for path in of_day]
        return (
            f"files={len(paths)} objects={sum(map(len, keys.values()))}"
            f" raw_bytes={sum(path.stat().st_size for path in paths)} stored_bytes={stored}"
            f" verified={sum(verified.values())}"
        )

    def _archive_by_hand(self, day: date, how: str = "") -> list[dict[str, Any]]:
        self.console.step(f"archiving {day}{how}: a run triggered by hand, with `date`")
        return self._finish([self.airflow.trigger(ARCHIVE_DAG, conf={"date": str(day)})])

    def _finish(self, runs: list[str] | int) -> list[dict[str, Any]]:
        """Wait for runs of the daily archive; answer what each one's `verify` returned."""
        states = self.airflow.wait(ARCHIVE_DAG, runs, timeout=RUN_SECONDS, on_progress=self.console.tasks)
        for run, state in states.items():
            self._claim_success(ARCHIVE_DAG, run, state)
        return [self.airflow.xcom(ARCHIVE_DAG, run, "verify") for run in states]

    def _claim_success(self, dag_id: str, run: str, state: str) -> None:
        if state != "success":
            tasks = self.airflow.task_instances(dag_id, run)
            failed = sorted({task["task_id"] for task in tasks if task["state"] == "failed"})
            _claim(False, f"the run {run} of {dag_id} succeeds; it {state}, in {', '.join(failed) or 'no task'}")

    def _read_as_the_archive_account(self, day: date, keys: Keys, originals: list[Path]) -> None:
        self.console.title("What the archive account's own people do, with a role that may only read")
        objects = sum(map(len, keys.values()))
        found = self._command("verify", f"s3://{self.aws.bucket}/logs/", "--depth", "bytes")
        _claim(found["ok"] and found["archives"] == objects, f"{objects} archives verify by every byte: {found}")
        self.console.line(f"    {objects} archives of {len(found['days'])} days downloaded and hashed: all right")
        self._command("restore", f"s3://{self.aws.bucket}/logs/{day:%Y/%m/%d}/", "--to", shown(self.folder.restored))
        count = check_restored(self.folder, originals)
        self.console.line(f"    {count} files restored; compared with the originals, byte for byte: no difference")

    def _command(self, *arguments: str) -> dict[str, Any]:
        self.console.line(f"  $ python -m log_archival {' '.join(arguments)}")
        return run_command(self.aws, *arguments)

    def _check_least_privilege(self) -> None:
        other = f"{self.aws.bucket}-other"
        self.aws.archive_client("s3").create_bucket(
            Bucket=other, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self.console.line()
        self.console.step("running check_least_privilege, a task a check")
        run = self.airflow.trigger(CHECK_DAG, conf={"other_bucket": other})
        state = self.airflow.wait(CHECK_DAG, run, timeout=RUN_SECONDS, on_progress=self.console.tasks)[run]
        checks = [task for task in self.airflow.task_instances(CHECK_DAG, run) if task["task_id"] == "check"]
        left = [self.airflow.xcom(CHECK_DAG, run, "check", task["map_index"], "result") for task in checks]
        show_privileges(self.console, left, self.airflow.xcom(CHECK_DAG, run, "choose", key="not_tried"))
        self._claim_success(CHECK_DAG, run, state)
        _claim(all(one["verdict"] == "ok" for one in left), "the role can do what it must and nothing else")


def _claim(holds: bool, what: str) -> None:
    if not holds:
        raise DemoError(f"this should be so, and is not: {what}")


def run_demo(path: Path, console: Console) -> str:
    """Start everything in this folder, run the demo, stop everything; answer the figures of the last line.

    :raises DemoError: for a claim that is not so
    :raises LocalAirflowError: when Airflow doesn't start, or a run takes too long
    :raises LocalAwsError: when the local accounts don't start
    """
    with fresh_folder(path) as folder, LocalAws.start(directory=folder.accounts) as aws:
        console.step(
            f"started two AWS accounts: {SOURCE_ACCOUNT} has log files, {ARCHIVE_ACCOUNT} archives them in {aws.bucket}"
        )
        files = write_logs(folder, demo_days(), console)
        console.moving("starting Airflow")
        with start_airflow(folder, aws, schedule=False) as airflow:
            console.step(f"started Airflow, its home is {shown(folder.airflow)}")
            figures = Demo(folder, aws, airflow, console).run(files)
            console.moving("stopping Airflow and the accounts")
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; answer the exit status."""
    parser = argparse.ArgumentParser("demo.py", description="Archive three days of logs between two local accounts.")
    parser.add_argument(
        "--dir", type=Path, default=ROOT / ".demo", help="where to work; emptied first (default: .demo)"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console()
    try:
        figures = run_demo(options.dir, console)
    except (DemoError, LocalAirflowError, LocalAwsError) as error:
        console.line(
            f"\ndemo: failed: {error}\nThe logs of Airflow and of its tasks are in {shown(options.dir)}/airflow."
        )
        return 1
    except KeyboardInterrupt:
        console.line("\ndemo: interrupted")
        return 128 + signal.SIGINT
    console.line(f"\ndemo: ok {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
