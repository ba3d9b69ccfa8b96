"""`make demo`: archive three days of logs from one AWS account to another, both on this machine, in real Airflow.

Every claim is checked from outside, not taken from what the DAG reports about itself. The demo works in `.demo/` of the
checkout (another folder with `--dir`), which it empties first. The last line is `demo: ok` with figures; when a claim
doesn't hold, the exit status isn't 0, and the last lines say what and where to look.
"""

import sys
from datetime import date
from pathlib import Path
from typing import Any

from dev.demo import checks, report, workspace
from dev.demo.checks import require
from dev.demo.report import Keys, step
from dev.demo.workspace import ARCHIVE_DAG, CHECK_DAG, Workspace
from dev.local_airflow import LocalAirflow
from dev.local_aws import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, LocalAws

RUN_SECONDS = 400.0  # a run takes about ten; a machine under load gets time


class Demo:
    """The steps of the demo, over running accounts and a running Airflow."""

    def __init__(self, folder: Workspace, aws: LocalAws, airflow: LocalAirflow) -> None:
        self.folder, self.aws, self.airflow = folder, aws, airflow

    def run(self, files: dict[date, list[Path]]) -> str:
        """Do everything; return the last line.

        :param files: the log files of each day.
        """
        keys = {day: {checks.key_of(self.folder, day, path): path for path in paths} for day, paths in files.items()}
        *missed, yesterday = files
        summaries = self._archive(yesterday)
        step(f"archiving {missed[0]} and {missed[-1]}: a backfill, as the UI's dialog creates it")
        backfill = self.airflow.backfill(ARCHIVE_DAG, missed[0], missed[-1], max_active_runs=2)
        summaries |= self._finish(backfill)
        verified = {day: summary["verified"] for day, summary in summaries.items()}
        expected = {str(day): len(of_day) for day, of_day in keys.items()}
        require(verified == expected, f"each run archives and verifies its own day, {expected}, not {verified}")

        step("comparing every object in the archive with its file")
        versions = checks.object_versions(self.aws)
        checks.check_archived(self.aws, versions, keys)
        sizes = {key: size or 0 for (key, _), size in versions.items()}
        again = self._archive(yesterday, " a second time")[str(yesterday)]
        self._require_unchanged(versions, "a second run")
        report.show_examples(self.aws.bucket, self.folder.logs, keys[yesterday], sizes)
        report.show_figures(keys, sizes, summaries)
        print(f"\nThe second run of {yesterday}: {again['existing']} archives exist already, {again['new']} are new")
        self._try_forbidden(next(iter(keys[yesterday])))
        self._require_unchanged(versions, "what is refused")

        self._check_least_privilege()
        self._read(yesterday, keys, files[yesterday])
        paths = [path for of_day in files.values() for path in of_day]
        objects = [key for of_day in keys.values() for key in of_day]
        raw_bytes, stored_bytes = sum(path.stat().st_size for path in paths), sum(sizes[key] for key in objects)
        return (
            f"\ndemo: ok files={len(paths)} objects={len(objects)} raw_bytes={raw_bytes} stored_bytes={stored_bytes}"
            f" verified={sum(verified.values())}"
        )

    def _archive(self, day: date, how: str = "") -> dict[str, Any]:
        step(f"archiving {day}{how}: a run triggered by hand, with `date`")
        return self._finish(self.airflow.trigger(ARCHIVE_DAG, conf={"date": str(day)}))

    def _finish(self, runs: str | int) -> dict[str, Any]:
        """Wait for runs of the daily archive; return what each one's `verify` returned, by day."""
        states = self.airflow.wait(ARCHIVE_DAG, runs, timeout=RUN_SECONDS)
        for run, state in states.items():
            self._require_success(ARCHIVE_DAG, run, state)
        summaries = [self.airflow.xcom(ARCHIVE_DAG, run, "verify") for run in states]
        return {summary["partition"]: summary for summary in summaries}

    def _require_success(self, dag_id: str, run: str, state: str) -> None:
        failed = {task["task_id"] for task in self.airflow.task_instances(dag_id, run) if task["state"] == "failed"}
        require(state == "success", f"the run {run} of {dag_id} succeeds; failed: {', '.join(sorted(failed))}")

    def _require_unchanged(self, versions: dict[tuple[str, str], int | None], what: str) -> None:
        after = checks.object_versions(self.aws)
        require(
            after == versions, f"{what} changes nothing in the archive: {set(after.items()) ^ set(versions.items())}"
        )

    def _try_forbidden(self, key: str) -> None:
        print("\nWhat the source account's credentials can do besides adding logs")
        attempts = checks.try_forbidden(self.aws, key)
        report.table([("tried", "result"), *((tried, f"refused, {code}") for tried, _, code in attempts)])
        wrong = [f"{tried}: {code}" for tried, expected, code in attempts if code != expected]
        require(not wrong, f"all of this is refused, each for its own reason, but not: {'; '.join(wrong)}")

    def _check_least_privilege(self) -> None:
        other = f"{self.aws.bucket}-other"
        location = {"LocationConstraint": REGION}
        self.aws.archive_client("s3").create_bucket(Bucket=other, CreateBucketConfiguration=location)
        print()
        step("running check_least_privilege")
        run = self.airflow.trigger(CHECK_DAG, conf={"other_bucket": other})
        state = self.airflow.wait(CHECK_DAG, run, timeout=RUN_SECONDS)[run]
        report.show_privileges(self.airflow.task_log(CHECK_DAG, run, "check"))
        self._require_success(CHECK_DAG, run, state)
        verdicts = self.airflow.xcom(CHECK_DAG, run, "check")["checks"].values()
        require(set(verdicts) == {"ok"}, "the role can do what it must and nothing else")

    def _read(self, day: date, keys: Keys, originals: list[Path]) -> None:
        print("\nWhat the archive account's own people do, with a role that may only read")
        objects = sum(map(len, keys.values()))
        found = checks.run_reader(self.aws, "verify", f"s3://{self.aws.bucket}/logs/", "--depth", "bytes")
        require(found["ok"] and found["archives"] == objects, f"{objects} archives verify by every byte: {found}")
        print(f"    {objects} archives of {len(found['days'])} days downloaded and hashed: all right")
        restored = report.shown(self.folder.restored)
        checks.run_reader(self.aws, "restore", f"s3://{self.aws.bucket}/logs/{day:%Y/%m/%d}/", "--to", restored)
        count = checks.check_restored(self.folder, originals)
        print(f"    {count} files restored; compared with the originals, byte for byte: no difference")


def demo(path: Path) -> str:
    """Start everything in this folder, run the demo, stop everything; return the last line."""
    with workspace.empty(path) as folder, LocalAws.start(folder.accounts) as aws:
        step(f"started two AWS accounts: {SOURCE_ACCOUNT} has logs, {ARCHIVE_ACCOUNT} archives them in {aws.bucket}")
        files = workspace.write_logs(folder, aws, workspace.last_days())
        step("starting Airflow")
        with workspace.start_airflow(folder, aws, for_people=False) as airflow:
            step(f"started Airflow, its home is {report.shown(folder.airflow)}")
            return Demo(folder, aws, airflow).run(files)


if __name__ == "__main__":
    sys.exit(workspace.run_command("demo", "Archive three days of logs between two local accounts.", ".demo", demo))
