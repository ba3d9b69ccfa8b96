"""Sources of several kinds through the operators: one that fails fails only itself, and another team's class works."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from log_archival import codec as codecs
from log_archival.airflow_versions import AirflowFailException, AirflowSkipException
from log_archival.config import load_settings
from log_archival.exceptions import SourceError
from log_archival.operators import CrossAccountPutOperator
from log_archival.records import Failure
from log_archival.sources.base import Listing, Source
from log_archival.sources.files import FileSource
from tests.support.memory_s3 import BUCKET, MemoryS3
from tests.support.operating import Run, context, write_logs
from tests.support.other_team import BrokenSource, LetterSource

DAY = "2026-11-22"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(BUCKET, tmp_path / "staging", DAY)


def files(root: Path, name: str, *, pattern: str = "**/*-%Y-%m-%d.log*", **settings: Any) -> FileSource:
    """A source of one file of the day."""
    write_logs(root / name, DAY, {f"web/{name}-{DAY}.log": f"{name} GET /\n".encode() * 50})
    return FileSource(name, str(root / name), pattern, **settings)


def last_try(run: Run) -> None:
    run.context["ti"].try_number = run.context["ti"].max_tries + 1


def archive(run: Run, **arguments: Any) -> dict[str, Any]:
    """Do what follows `collect`."""
    run.compress()
    run.upload()
    return run.verify(**arguments)


def listed(s3: MemoryS3) -> list[tuple[str, str]]:
    """Return source and path of what the only manifest lists."""
    manifest = json.loads(s3.objects[s3.only("_manifest-")].body)
    return [(entry["source"], entry["path"]) for entry in manifest["archives"]]


def failed_and_skipped(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[int, int]]:
    """Return the last two columns of the table in the log, by source."""
    rows = re.finditer(r"^(\w+) .* (\d+) +(\d+)(?: +\[.*)?$", capsys.readouterr().out, re.MULTILINE)
    return {row[1]: (int(row[2]), int(row[3])) for row in rows}


# A source that fails

FAILING: dict[str, tuple[Callable[[Path], Source], str, bool]] = {
    "too few files": (
        lambda root: files(root, "web", pattern="*.txt"), r"source web: 0 log files match '\*\.txt' in ", False,
    ),
    "setting that can't work": (
        lambda root: files(root, "web", pattern="%Y-%m.log"), "does not distinguish one day from the next", True,
    ),
    "mistake of another team": (
        lambda _: BrokenSource("web", "a"), "source web: BrokenSource.find failed: KeyError\n", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message", "permanent"), FAILING.values(), ids=FAILING)
def test_failing_source_fails_only_itself(
    s3: MemoryS3, run: Run, make: Callable[[Path], Source], message: str, permanent: bool, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sources = [files(tmp_path, "app"), make(tmp_path), files(tmp_path, "db", after="delete")]
    if not permanent:
        for try_number in range(1, run.context["ti"].max_tries + 1):
            run.context["ti"].try_number = try_number
            with pytest.raises(SourceError, match=message):
                run.collect(*sources)
        last_try(run)
    run.collect(*sources)
    assert [batch["files"] for batch in run.batches] == [2]
    with pytest.raises(AirflowFailException, match=message) as failure:
        archive(run)
    assert str(failure.value).startswith(
        f"{DAY}: 1 sources or log files are not archived as they should be:\n  source web: "
    )
    assert "a-password" not in str(failure.value)
    assert listed(s3) == [("app", f"web/app-{DAY}.log"), ("db", f"web/db-{DAY}.log")]
    assert failed_and_skipped(capsys) == {"app": (0, 0), "db": (0, 0), "web": (1, 0)}
    assert Path(str(run.run_dir)).exists()
    assert (tmp_path / "db" / "web" / f"db-{DAY}.log").exists(), "nothing is cleaned up until all is archived"


def test_failing_source_that_recovers_is_archived_when_collect_is_cleared(
    s3: MemoryS3, run: Run, tmp_path: Path
) -> None:
    sources = [files(tmp_path, "app"), FileSource("web", str(tmp_path / "web"), "**/*-%Y-%m-%d.log")]
    last_try(run)
    run.collect(*sources)
    with pytest.raises(AirflowFailException, match="source web: 0 log files"):
        archive(run)
    files(tmp_path, "web")
    run.collect(*sources)
    summary = archive(run)
    assert (summary["new"], summary["existing"], summary["failed"]) == (1, 1, 0)
    assert [path.name for path in Path(str(run.run_dir)).iterdir()] == ["verified.json"]


@pytest.mark.parametrize("permanent", [False, True], ids=["transient", "permanent"])
def test_collect_fails_when_all_sources_fail(s3: MemoryS3, run: Run, permanent: bool, tmp_path: Path) -> None:
    last_try(run)
    pattern = "%Y-%m" if permanent else "*.txt"
    with pytest.raises(AirflowFailException if permanent else SourceError, match=r"source a: .*\n(.*\n)*source b: "):
        run.collect(*(files(tmp_path, name, pattern=pattern) for name in ("a", "b")))


def test_transient_error_is_retried_though_another_is_permanent(s3: MemoryS3, run: Run, tmp_path: Path) -> None:
    sources = [files(tmp_path, "app"), BrokenSource("b", "a"), files(tmp_path, "web", pattern="*.txt")]
    with pytest.raises(SourceError, match=r"source b: .*\n(.*\n)*source web: 0 log files"):
        run.collect(*sources)


def test_dry_run_names_what_would_fail(
    s3: MemoryS3, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken, letters = BrokenSource("b", "a"), LetterSource("letters", "xy")
    with caplog.at_level(logging.INFO), pytest.raises(AirflowSkipException):
        run.collect(files(tmp_path, "app"), broken, files(tmp_path, "web", pattern="*.txt"), letters, dry_run=True)
    for line in (
        f"app/web/app-{DAY}.log (",
        f"letters://{DAY}/x.log -> logs/2026/11/22/letters/x-",
        "would fail the run: source b: BrokenSource.find failed: KeyError",
        "would fail the run: source web: 0 log files match '*.txt'",
        "dry run: 3 files, ",
    ):
        assert line in caplog.text
    assert s3.requests == []


class Complaining(LetterSource):
    """Names what it leaves out."""

    def find(self, partition: Any) -> Listing:
        skipped = Failure(self.name, "link.log", "a link", accepted=True)
        return Listing(super().find(partition).files, [skipped, Failure(self.name, "b.log", "not rotated")])


def test_failure_of_a_listing_fails_the_run_unless_it_is_accepted(
    s3: MemoryS3, run: Run, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run.collect(Complaining("letters", "ab"))
    ours = [record for record in caplog.records if record.name.startswith("log_archival.")]
    assert [(record.levelname, record.getMessage()) for record in ours] == [
        ("WARNING", "source letters: skipped link.log: a link"),
        ("ERROR", "source letters: not archived, or not as it should be: b.log: not rotated"),
    ]
    with pytest.raises(AirflowFailException, match=r"1 sources or log files .*:\n  letters: b\.log: not rotated\n"):
        archive(run)
    assert listed(s3) == [("letters", "a.log"), ("letters", "b.log")]
    assert failed_and_skipped(capsys) == {"letters": (1, 1)}


def test_source_that_was_removed_from_the_settings_is_named(s3: MemoryS3, run: Run, tmp_path: Path) -> None:
    run.collect(files(tmp_path, "app"), LetterSource("letters", "a"))
    message = "a.log was collected from source letters, and there is no source of that name now\n.*Clear the run's"
    with pytest.raises(AirflowFailException, match=message):
        run.compress(sources=[files(tmp_path, "app")])


# Another team's class

SETTINGS: dict[str, Any] = {
    "archive": {"bucket": BUCKET},
    "sources": [
        {"name": "letters", "class": "tests.support.other_team.LetterSource", "letters": "cab", "lines": 7_000}
    ],
}


def stored(s3: MemoryS3, letter: str) -> bytes:
    """Return the content of a letter's archive."""
    return b"".join(codecs.decompress(io.BytesIO(s3.objects[s3.only(f"/{letter}-")].body), codecs.ZSTD))


def test_another_teams_class_is_archived_from_its_settings(s3: MemoryS3, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "archive.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    [source] = load_settings(path).sources
    assert source == LetterSource("letters", "cab", 7_000)
    run.collect(source)
    label = "letters, 1 of 1"
    assert run.batches == [{"run_directory": str(run.run_dir), "batch": 1, "label": label, "files": 3, "raw_bytes": 0}]
    summary = archive(run)
    assert listed(s3) == [("letters", f"{letter}.log") for letter in "abc"]
    for letter in "abc":
        assert stored(s3, letter) == source.content(letter)
    assert summary["raw_bytes"] == sum(len(source.content(letter)) for letter in "abc")
    assert (summary["files"], summary["verified"], summary["failed"], summary["skipped"]) == (3, 3, 0, 0)


def test_another_teams_class_is_archived_in_one_task(s3: MemoryS3) -> None:
    source = LetterSource("letters", "cab", 7_000)
    task = CrossAccountPutOperator(task_id="archive", bucket=BUCKET, sources=[source])
    summary = task.execute(context(DAY))
    assert listed(s3) == [("letters", f"{letter}.log") for letter in "abc"]
    assert all(stored(s3, letter) == source.content(letter) for letter in "abc")
    assert (summary["partition"], summary["tier"], summary["files"], summary["new"]) == (DAY, "receipts", 3, 3)
