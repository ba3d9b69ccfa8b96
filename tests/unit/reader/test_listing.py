"""The commands list and find: what the archive has, and why something is not found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from log_archival.reader.archive import ArchiveReader
from log_archival.reader.days import DateRange
from log_archival.reader.listing import find_files, list_days
from log_archival.reader.search import Search
from log_archival.reader.selection import Selection
from log_archival.reader.verify import verify
from tests.support.archives import Writer, no_progress

RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200
TIME_NS = 1_795_435_200_123_456_789


def search(writer: Writer, prefix: str = "logs/", **selection: Any) -> Search:
    return Search(ArchiveReader(writer.client, writer.bucket), prefix, Selection(**selection))


@pytest.fixture
def november(writer: Writer) -> Writer:
    """A few days, with a gap of one and one of three."""
    for on in ("2026-11-20", "2026-11-21", "2026-11-23", "2026-11-27"):
        archives = writer.file("web-1/app.log", RAW + on.encode(), on=on, mtime_ns=TIME_NS)
        writer.manifest(archives + writer.file("n.log", RAW, on=on, source="nginx"), on=on)
    return writer


def test_list_has_a_line_for_each_day_and_shows_gaps(november: Writer) -> None:
    report = list_days(search(november))
    lines = list(report.lines())
    assert lines[0].split() == ["day", "files", "raw", "stored", "sources"]
    assert [line[:10] for line in lines[1:]] == [
        "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24", "2026-11-27",
    ]  # fmt: skip
    assert lines[1].split()[1:4] == ["2", "12.4", "kB"]
    assert lines[1].endswith("  app 1, nginx 1")
    assert lines[3] == "2026-11-22  no manifest"
    assert lines[5] == "2026-11-24 to 2026-11-26  no manifest"
    assert report.summary.startswith("4 days, 8 files, 49.6 kB raw, ")
    printed = report.to_dict()
    assert printed["ok"]
    stored = [key for key in november.written if key.startswith(("logs/2026/11/20/app/", "logs/2026/11/20/nginx/"))]
    assert printed["days"][0] == {
        "day": "2026-11-20", "sources": {"app": 1, "nginx": 1}, "raw_size": 2 * len(RAW) + 10,
        "stored_size": sum(len(november.written[key]) for key in stored),
    }  # fmt: skip
    assert printed["missing"][1] == {"first": "2026-11-24", "last": "2026-11-26"}
    assert len(november.client.sent("GetObject")) == 4  # manifests alone
    assert november.client.sent("HeadObject") == []


def test_list_counts_as_verify_does(november: Writer) -> None:
    november.files({"n.log": RAW}, on="2026-11-20", source="nginx")  # listed twice
    november.files({"n.log": b"another content"}, on="2026-11-20", source="nginx")
    days = list_days(search(november)).days
    report = verify(ArchiveReader(november.client, "archive"), "logs/", "checksums", date.min, date.max, no_progress)
    assert sum(one.sources.total() for one in days) == report.files
    assert sum(one.raw_size for one in days) == report.raw_size
    assert sum(one.stored_size for one in days) == report.stored_size


def test_list_of_a_selection_counts_only_that(november: Writer) -> None:
    november.files({"w.log": RAW}, on="2026-11-22", source="web")
    days = DateRange(date(2026, 11, 19), date(2026, 11, 22))
    report = list_days(search(november, sources=["app"], days=days))
    assert [line.split()[:2] for line in list(report.lines())[1:]] == [
        ["2026-11-19", "no"], ["2026-11-20", "1"], ["2026-11-21", "1"], ["2026-11-22", "0"],
    ]  # fmt: skip


def test_list_of_days_of_any_year_is_short(writer: Writer) -> None:
    for on in ("1001-01-01", "9999-12-31"):
        writer.files({"a.log": RAW}, on=on)
    assert list(list_days(search(writer)).lines())[2] == "1001-01-02 to 9999-12-30  no manifest"


def test_find_names_the_days_that_have_a_file(november: Writer) -> None:
    report = find_files(search(november, paths=["web-1/*"], days=DateRange(date(2026, 11, 21))))
    files = report.to_dict()["files"]
    assert [one["day"] for one in files] == ["2026-11-21", "2026-11-23", "2026-11-27"]
    assert files[0].items() >= {
        "source": "app", "path": "web-1/app.log", "size": len(RAW) + 10, "modified": "2026-11-23T12:00:00Z",
    }.items()  # fmt: skip
    assert all(key in november.written for one in files for key in one["keys"])
    assert next(report.lines()) == (
        f"2026-11-21  2026-11-23T12:00:00Z           6,210  {files[0]['sha256'][:12]}  app/web-1/app.log"
    )
    assert report.summary == "3 files on 3 days, 18.6 kB"
    [note] = report.findings
    assert note.message == "days without a manifest: 2026-11-22 to 2026-11-22, 2026-11-24 to 2026-11-26"


def test_find_prints_a_dash_for_a_file_without_a_time(november: Writer) -> None:
    report = find_files(search(november, "logs/2026/11/20/", paths=["n.log"]))
    assert next(report.lines()).split()[:2] == ["2026-11-20", "-"]
    assert report.to_dict()["files"][0]["modified"] is None


def test_find_names_each_content_of_a_path_once(writer: Writer) -> None:
    first = writer.files({"a.log": RAW})
    writer.files({"a.log": b"other"})
    writer.manifest(first + writer.file("b.log", b""))
    assert [one.size for one in find_files(search(writer)).files] == [len(RAW), 5, 0]


def test_hostile_name_is_printed_escaped(writer: Writer) -> None:
    writer.files({"a\x1b[2J\n.log": RAW})
    assert next(find_files(search(writer)).lines()).endswith(r"  app/a\x1b[2J\n.log")


def test_unusable_manifest_is_a_problem_of_list_and_find(november: Writer) -> None:
    bad = november.put_manifest(b"{}")
    for report in (list_days(search(november)), find_files(search(november))):
        assert [(one.kind, one.key) for one in report.problems] == [("manifest", bad)]


# --- nothing


NOTHING: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such file": (
        "logs/2026/11/", {"paths": ["web-9/app.log"]},
        "no file that was selected is listed below s3://archive/logs/2026/11/ (2026-11-20 to 2026-11-27, 4 days with a"
        " manifest; sources: app, nginx)",
    ),
    "no such source": ("logs/", {"sources": ["ap"]}, "sources: app, nginx)"),
    "pattern of the top": ("logs/", {"paths": ["*app*"]}, "; *app* is of files in no folder, **/*app* of those in any"),
    "source's folder": (
        "logs/2026/11/20/app/", {},
        "s3://archive/logs/2026/11/20/app/ is inside the folder of a day, and the day's manifests lie above it; give"
        " s3://archive/logs/2026/11/20/ --source app",
    ),
    "object": ("logs/2026/11/20/app/web-1/app.log", {}, "give s3://archive/logs/2026/11/20/ --source app"),
    "beginning of a source": ("logs/2026/11/20/ap", {}, "give s3://archive/logs/2026/11/20/"),
    "hostile source": ("logs/2026/11/20/\x1b;x/", {}, r"/20/ --source '\x1b;x'"),
    "other days": (
        "logs/", {"days": DateRange(date(2026, 12, 1), date(2026, 12, 2))},
        "there is no manifest of 2026-12-01 to 2026-12-02 below s3://archive/logs/",
    ),
    "later days": ("logs/", {"days": DateRange(date(2026, 12, 1))}, "no manifest of 2026-12-01 or later below"),
    "earlier days": ("logs/", {"days": DateRange(last=date(2026, 1, 1))}, "no manifest of 2026-01-01 or earlier below"),
    "no such month": (
        "logs/2026/13/", {},
        "there is nothing below s3://archive/logs/2026/13/; s3://archive/logs/2026/ has 11/",
    ),
    "no such prefix": ("log/2026/11/", {}, "there is nothing below s3://archive/log/2026/11/; s3://archive/ has logs/"),
    "run that never ended": ("logs/2026/11/29/", {}, "there are objects below s3://archive/logs/2026/11/29/, and no m"),
}  # fmt: skip


@pytest.mark.parametrize(("prefix", "selection", "message"), NOTHING.values(), ids=NOTHING)
def test_where_nothing_is_found_the_answer_says_what_to_give(
    november: Writer, prefix: str, selection: dict[str, Any], message: str
) -> None:
    november.file("a.log", RAW, on="2026-11-29")
    for report in (list_days(search(november, prefix, **selection)), find_files(search(november, prefix, **selection))):
        [finding] = report.findings
        assert finding.kind == "empty"
        assert message in str(finding)
        assert list(report.lines()) == []


def test_empty_bucket_is_told(writer: Writer) -> None:
    assert list_days(search(writer)).findings[0].message == "there is nothing below s3://archive/logs/"


def test_what_is_above_the_prefix_need_not_be_listable(november: Writer) -> None:
    november.client.errors["logs/"] = "AccessDenied"
    [finding] = list_days(search(november, "logs/2031/")).findings
    assert finding.message == "there is nothing below s3://archive/logs/2031/"


def test_many_names_are_cut(writer: Writer) -> None:
    archives = [
        replace(writer.file("a.log", RAW)[0], source=f"s{n:02}", key=f"logs/2026/11/22/s/{n}") for n in range(15)
    ]
    writer.manifest(archives)
    [line] = list(list_days(search(writer)).lines())[1:]
    assert line.endswith("s08 1, s09 1 and 5 more")
