"""`make demo`: three days of logs go from one AWS account to another, both on this machine, in real Airflow.

Everything that it says is looked at from outside, not taken from what the DAG reports about itself. It works in
`.demo/` of the checkout (another folder with `--dir`), which it empties first. The last line is `demo: ok` with
figures; when anything is not as it is said to be, it ends with another status than 0, and says what and where to look.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from demo_checks import check_archived, check_restored, key_of, object_versions, try_what_is_forbidden
from demo_console import Console, human
from demo_settings import (
    ARCHIVE_DAG,
    ROOT,
    DemoError,
    DemoFolder,
    demo_days,
    fresh_folder,
    shown,
    start_airflow,
    write_logs,
)
from local_airflow import LocalAirflow, LocalAirflowError
from local_aws import REGION, LocalAws, LocalAwsError

RUN_SECONDS = 180.0  # a run takes about ten; a machine under load gets time


class Demo:
    """The steps, in order."""

    def __init__(self, folder: DemoFolder, aws: LocalAws, airflow: LocalAirflow, console: Console) -> None:
        self.folder, self.aws, self.airflow, self.console = folder, aws, airflow, console

    def run(self, days: list[date], files: dict[date, list[Path]]) -> str:
        """Do everything; answer the figures of the last line."""
        keys = {day: {key_of(self.folder, day, path): path for path in paths} for day, paths in files.items()}
        objects = sum(map(len, keys.values()))
        *missed, yesterday = days

        self.console.step(f"archiving {yesterday}: a run by hand, with `date`")
        summaries = self._finish([self.airflow.trigger(ARCHIVE_DAG, conf={"date": str(yesterday)})])
        self.console.step(f"archiving {missed[0]} and {missed[1]}: a backfill, as the UI asks for one")
        summaries += self._finish(self.airflow.backfill(ARCHIVE_DAG, missed[0], missed[1], max_active_runs=2))
        self.console.step("comparing every object in the archive with its file")
        before = object_versions(self.aws)
        stored = check_archived(self.aws, before, keys)
        verified = self._verified(summaries, keys)

        self.console.step(f"archiving {yesterday} a second time")
        again = self._finish([self.airflow.trigger(ARCHIVE_DAG, conf={"date": str(yesterday)})])[0]
        after = object_versions(self.aws)
        _claim(after == before, f"the second run added nothing: {len(before)} object versions, then {len(after)}")
        _claim(again["new"] == 0, f"the second run found everything archived, yet it reports {again['new']} as new")

        self._show_archived(keys, before, stored, summaries)
        self.console.title(f"The second run of {yesterday}")
        self.console.line(
            f"  {again['already']} logs were archived already, {again['new']} are new;"
            f" {len(before)} object versions before, {len(after)} after"
        )
        self._show_refusals(next(iter(keys[yesterday])))
        _claim(object_versions(self.aws) == before, "the refused requests changed nothing in the archive")
        self._show_readers(yesterday, files[yesterday], objects)
        raw = sum(path.stat().st_size for paths in files.values() for path in paths)
        return (
            f"files={sum(map(len, files.values()))} objects={objects} raw_bytes={raw} stored_bytes={stored}"
            f" verified={verified}"
        )

    def _finish(self, runs: list[str] | int) -> list[dict[str, Any]]:
        """Wait for runs to succeed; answer what each one's `verify` returned."""
        states = self.airflow.wait(ARCHIVE_DAG, runs, timeout=RUN_SECONDS, on_progress=self.console.tasks)
        for run, state in states.items():
            failed = [task for task in self.airflow.task_instances(ARCHIVE_DAG, run) if task["state"] == "failed"]
            names = ", ".join(sorted({task["task_id"] for task in failed}))
            _claim(state == "success", f"the run {run} succeeds; it {state}, in {names or 'no task'}")
        return [self.airflow.xcom(ARCHIVE_DAG, run, "verify") for run in states]

    def _verified(self, summaries: list[dict[str, Any]], keys: dict[date, dict[str, Path]]) -> int:
        verified = {summary["partition"]: summary["verified"] for summary in summaries}
        expected = {str(day): len(of_day) for day, of_day in keys.items()}
        _claim(verified == expected, f"each run archives its own day and verifies all of it: {verified}")
        return sum(verified.values())

    def _show_archived(
        self,
        keys: dict[date, dict[str, Path]],
        versions: dict[tuple[str, str], int | None],
        stored: int,
        summaries: list[dict[str, Any]],
    ) -> None:
        sizes = {key: size or 0 for (key, _), size in versions.items()}
        self.console.title(f"What went where: from {shown(self.folder.logs)} to s3://{self.aws.bucket}, for example")
        yesterday = max(keys)
        largest = {
            path.relative_to(self.folder.logs).parts[0]: (key, path)
            for key, path in sorted(keys[yesterday].items(), key=lambda item: item[1].stat().st_size)
        }
        for key, path in largest.values():
            self.console.line(f"  {path.relative_to(self.folder.logs)}, {human(path.stat().st_size)}")
            self.console.line(f"    -> {key}, {human(sizes[key])}")
        manifests = sorted(key for key in sizes if "/_manifest-" in key)
        self.console.line(f"  and for each day a manifest that lists its archives: {manifests[-1]}")
        self.console.title("How much, and how sure")
        rows = [("day", "files", "objects", "raw", "stored", "ratio", "verified", "tier")]
        of_day = {summary["partition"]: summary for summary in summaries}
        for day, of in keys.items():
            raw, kept = sum(path.stat().st_size for path in of.values()), sum(sizes[key] for key in of)
            count, told = str(len(of)), of_day[str(day)]
            rows.append(
                (
                    str(day),
                    count,
                    count,
                    human(raw),
                    human(kept),
                    f"{raw / kept:.2f}",
                    str(told["verified"]),
                    told["tier"],
                )
            )
        self.console.table(rows)
        self.console.line(
            "  The tier `probe` asks for each key with nothing but the permission to add. After that, the archive\n"
            f"  account's administrator compared all {human(stored)} with the files: byte for byte what was collected."
        )

    def _show_refusals(self, key: str) -> None:
        refusals = try_what_is_forbidden(self.aws, key)
        self.console.title("What the source account's credentials can do besides adding logs")
        rows = [(refusal.tried, refusal.answer or "IT WAS DONE") for refusal in refusals]
        self.console.table([("tried", "answer"), *rows])
        wrong = [refusal.tried for refusal in refusals if not refusal.refused]
        _claim(not wrong, f"all of this is refused, each for its own reason; not so: {', '.join(wrong)}")

    def _show_readers(self, day: date, originals: list[Path], objects: int) -> None:
        self.console.title("What the archive account's own people do, with a role that may only read")
        verify = self._command("verify", f"s3://{self.aws.bucket}/logs/", "--depth", "bytes")
        _claim(
            verify["ok"] and verify["archives"] == objects, f"the archive verifies, all {objects} archives: {verify}"
        )
        self.console.line(
            f"  {verify['archives']} archives of {len(verify['days'])} days, downloaded and hashed: all right"
        )
        self._command("restore", f"s3://{self.aws.bucket}/logs/{day:%Y/%m/%d}/", "--to", shown(self.folder.restored))
        count = check_restored(self.folder, originals)
        self.console.line(f"  {count} files, compared with the originals byte for byte: no difference")

    def _command(self, *arguments: str) -> dict[str, Any]:
        """Run the command line with the reader's credentials and nothing else; answer its JSON."""
        self.console.line(f"  $ python -m log_archival {' '.join(arguments)}")
        credentials = self.aws.assume_reader().credentials
        environment = {
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT / "plugins"),
            "PYTHONNOUSERSITE": "1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_SESSION_TOKEN": credentials.token or "",
        }
        options = ["--json", "--endpoint-url", self.aws.endpoint_url, "--region", REGION]
        done = subprocess.run(
            [sys.executable, "-m", "log_archival", *arguments, *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        _claim(
            done.returncode == 0, f"`{arguments[0]}` ends with status 0:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def _claim(holds: bool, what: str) -> None:
    if not holds:
        raise DemoError(f"this is not so: {what}")


@contextmanager
def _everything(folder: DemoFolder, console: Console) -> Iterator[tuple[Demo, list[date], dict[date, list[Path]]]]:
    days = demo_days()
    with LocalAws.start(directory=folder.accounts) as aws:
        console.step("started two AWS accounts on this machine: one has logs, one archives them")
        files = write_logs(folder, days, console)
        console.moving("starting Airflow")
        with start_airflow(folder, aws, schedule=False) as airflow:
            console.step(f"started Airflow, in {shown(folder.airflow)}")
            yield Demo(folder, aws, airflow, console), days, files
            console.moving("stopping Airflow and the accounts")


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
        with fresh_folder(options.dir) as folder, _everything(folder, console) as (demo, days, files):
            figures = demo.run(days, files)
    except (DemoError, LocalAirflowError, LocalAwsError) as error:
        console.line()
        print(f"demo: failed: {error}", file=sys.stderr)
        print(f"Airflow's logs are in {shown(options.dir.resolve() / 'airflow' / 'logs')}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.line("\ndemo: interrupted")
        return 128 + signal.SIGINT
    console.line(f"\ndemo: ok {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
