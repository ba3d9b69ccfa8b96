"""The command without a server: its help, its arguments, its output."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from log_archival.codec import NONE
from log_archival.reader import commands
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.cli import main
from tests.support.archives import MemoryS3, Writer
from tests.support.reader_cli import Cli


@pytest.fixture(autouse=True)
def sigint_handler() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def run(*arguments: str) -> int:
    """Run the command in this process, and return its exit status."""
    try:
        return main(list(arguments))
    except SystemExit as end:
        return cast("int", end.code)


COMMANDS = ["list", "find", "cat", "restore", "verify"]


@pytest.mark.parametrize("command", [[], *([one] for one in COMMANDS)], ids=["log-archival", *COMMANDS])
def test_help_names_exit_statuses_and_permissions(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    out, error = capsys.readouterr()
    assert error == ""
    words = " ".join(out.split())
    for named in ("0 no problems; 1 problems", "2 the command failed", "130", "CreateReaderRole", "s3:GetObject"):
        assert named in words


WRONG_ARGUMENTS = {
    "nothing": ([], "the following arguments are required"),
    "unknown command": (["remove"], "invalid choice: 'remove'"),
    "no bucket": (["verify", "s3://"], "'s3://' is not of the form s3://BUCKET/PREFIX"),
    "no URL": (["verify", "logs/2026/11/22/"], "is not of the form"),
    "another scheme": (["verify", "gs://bucket/logs/"], "is not of the form"),
    "unknown depth": (["verify", "s3://b/l/", "--depth", "deep"], "invalid choice: 'deep'"),
    "no day": (["verify", "s3://b/l/", "--from", "2026-13-01"], "'2026-13-01' is not a day"),
    "days in reverse": (
        ["verify", "s3://b/l/", "--from", "2026-11-23", "--to", "2026-11-22", "--region", "eu-central-1"],
        "the first day, 2026-11-23, is after the last one, 2026-11-22",
    ),
    "days of find in reverse": (
        ["find", "s3://b/l/", "a", "--from", "2026-11-23", "--until", "2026-11-22", "--region", "eu-central-1"],
        "the first day, 2026-11-23, is after the last one, 2026-11-22",
    ),
    "pattern before the prefix": (["find", "web-1/*", "s3://b/l/"], "'web-1/*' is not of the form s3://BUCKET/PREFIX"),
    "no pattern": (["find", "s3://b/l/"], "required: PATTERN"),
    "wrong pattern": (["find", "s3://b/l/", "a**", "--region", "eu-central-1"], "Unable to locate credentials"),
    "no file": (["cat", "s3://b/l/"], "required: FILE"),
    "two files": (["cat", "s3://b/l/", "a", "b"], "unrecognized arguments: b"),
    "all versions of cat": (["cat", "s3://b/l/", "a", "--all-versions"], "unrecognized arguments: --all-versions"),
    "no folder": (["restore", "s3://b/l/"], "required: --to"),
    "standard output": (["restore", "s3://b/l/", "--to", "-"], "- is no folder; `log-archival cat` writes a file to"),
    "no workers": (["verify", "s3://b/l/", "--workers", "0"], "'0' is not a number from 1 to 256"),
    "unknown profile": (["verify", "s3://b/l/", "--profile", "nobody"], "no S3 client can be created: The config"),
    "impossible region": (["verify", "s3://b/l/", "--region", "not a region"], "no S3 client can be created"),
    "no credentials": (["verify", "s3://b/l/", "--region", "eu-central-1"], "Unable to locate credentials"),
    "impossible bucket": (["verify", "s3://B_/l/", "--region", "eu-central-1"], "could not be sent"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_wrong_arguments_are_exit_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert "log-archival" in error
    assert message in error


def test_unreachable_server_is_exit_status_2_with_an_error_in_json(tmp_path: Path) -> None:
    secrets = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    cli = Cli(tmp_path, secrets | {"AWS_MAX_ATTEMPTS": "1", "AWS_REGION": "eu-central-1"})
    # Port 9, discard, where nothing listens.
    done = cli("verify", "s3://bucket/logs/", "--json", "--endpoint-url", "http://127.0.0.1:9")
    assert done.returncode == 2
    printed = json.loads(done.stdout)
    assert printed["ok"] is False
    assert "ListObjectsV2 s3://bucket/logs/ failed: Could not connect" in printed["error"]
    assert "very-secret" not in done.stdout + done.stderr


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Return the writer of an archive in memory, which the command reads."""
    writer = Writer(MemoryS3(), "archive")
    monkeypatch.setattr(commands, "_reader", lambda options: ArchiveReader(writer.client, "archive"))
    return writer


def test_problems_are_exit_status_1_in_words_and_in_json(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    key = writer.file("a.log", b"a line\n")[0].key
    assert run("verify", "s3://archive/logs/") == 1
    out, error = capsys.readouterr()
    assert out.splitlines()[0] == f"unlisted: {key}: no manifest lists this object of {len(writer.written[key])} bytes"
    assert out.splitlines()[1].endswith("checked by checksums: 1 problems")
    assert error == "checked 0 files\n"
    assert run("verify", "s3://archive/logs/", "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ok"], [problem["key"] for problem in printed["problems"]]) == (False, [key])


def test_success_is_exit_status_0(writer: Writer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    writer.files({"a.log": b"a line\n"})
    assert run("verify", "s3://archive/logs/") == 0
    assert run("restore", "s3://archive/logs/", "--to", str(tmp_path)) == 0
    verified, restored = capsys.readouterr().out.splitlines()
    assert verified.endswith("checked by checksums: no problems")
    assert restored == f"1 files restored to {tmp_path}, 0 already existed, 7 B in all: no problems"
    assert (tmp_path / "app/a.log").read_bytes() == b"a line\n"


def test_list_and_find_print_on_standard_output_what_they_found(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.files({"web-1/a.log": b"a line\n", "b.log": b""})
    writer.files({"web-1/a.log": b"a line\n"}, on="2026-11-24")
    for arguments, lines, words in (
        (["list", "s3://archive/logs/"], 4, "2 days, 3 files, 14 B raw, "),
        (["list", "s3://archive/logs/", "--files", "--source", "app"], 3, "3 files on 2 days, 14 B"),
        (["list", "s3://archive/logs/", "--path", "b.log", "--to", "2026-11-22"], 2, "1 days, 1 files, 0 B raw"),
        (
            ["find", "s3://archive/logs/", "web-1/*", "--from", "2026-11-23", "--to", "2026-11-30"],
            1,
            "1 files on 1 days",
        ),
        (["find", "s3://archive/logs/", "a.log", "b.log", "--until", "2026-11-22"], 2, "2 files on 1 days"),
    ):
        assert run(*arguments) == 0
        out, error = capsys.readouterr()
        assert (len(out.splitlines()), words in error) == (lines, True)
    assert run("find", "s3://archive/logs/", "a.log", "--json") == 0
    assert [one["day"] for one in json.loads(capsys.readouterr().out)["files"]] == ["2026-11-22", "2026-11-24"]
    assert run("list", "s3://archive/logs/", "--json") == 0
    assert json.loads(capsys.readouterr().out)["missing"] == [{"first": "2026-11-23", "last": "2026-11-23"}]


@pytest.mark.parametrize("command", ["list", "find", "cat", "restore"])
def test_nothing_found_is_exit_status_1_and_says_where_was_looked(
    writer: Writer, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    writer.files({"a.log": b"a line\n"})
    pattern = ["b.log"] if command in ("find", "cat") else ["--path", "b.log"]
    to = ["--to", str(tmp_path / "to")] if command == "restore" else []
    assert run(command, "s3://archive/logs/", *pattern, *to) == 1
    printed = capsys.readouterr()
    text = printed.out if command == "restore" else printed.err
    assert (
        "empty: no file that was selected is listed below s3://archive/logs/ (2026-11-22 to 2026-11-22, 1 days" in text
    )
    assert printed.out == "" or command == "restore"


def test_cat_prints_nothing_but_the_file(writer: Writer, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    raw = b"\xff\0binary\n" * 100_000
    writer.files({"web-1/a.log": raw, "b.log": b""})
    assert run("cat", "s3://archive/logs/2026/11/22/", "app/web-1/a.log") == 0
    assert capsysbinary.readouterr() == (raw, b"")


def test_cat_of_damaged_bytes_is_exit_status_2_after_the_bytes(
    writer: Writer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    [archive] = writer.files({"a.log": b"a line\n"}, codec=NONE)
    writer.put(archive.key, b"A line\n")
    assert run("cat", "s3://archive/logs/", "a.log") == 2
    out, error = capsysbinary.readouterr()
    assert out == b"A line\n"
    assert b"log-archival cat: app/a.log of 2026-11-22: what was written is not what was archived: " in error


def test_cat_beside_an_unusable_manifest_is_exit_status_1(
    writer: Writer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    writer.files({"a.log": b"a line\n"})
    writer.put_manifest(b"{}")
    assert run("cat", "s3://archive/logs/", "a.log") == 1
    out, error = capsysbinary.readouterr()
    assert (out, error.startswith(b"manifest: logs/2026/11/22/_manifest-")) == (b"a line\n", True)


def test_dry_run_of_restore_writes_nothing(writer: Writer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for on in ("2026-11-22", "2026-11-23"):
        writer.files({f"{on}.log": b"a line\n", "same.log": b"1234"}, on=on)
    to = tmp_path / "to"
    command = ["restore", "s3://archive/logs/", "--to", str(to), "--until", "2026-11-22"]
    assert run(*command, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "new     2026-11-22               7  app/2026-11-22.log",
        "new     2026-11-22               4  app/same.log",
        f"2 files would be restored to {to}, 0 already exist, 11 B in all: no problems",
    ]
    assert not to.exists()
    assert run(*command) == 0
    assert sorted(path.name for path in to.rglob("*.log")) == ["2026-11-22.log", "same.log"]
    capsys.readouterr()
    assert run("restore", "s3://archive/logs/", "--to", str(to), "--dry-run", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert {one["path"]: one["outcome"] for one in printed["files"]} == {
        "app/2026-11-22.log": "already", "app/2026-11-23.log": "restored", "app/same.log": "already",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ([], []),
        (["--first"], ["a.log"]),
        (["--last"], ["a.log"]),
        (["--all-versions"], [
            "a.log.version-20261123T000100Z-786e184927ec", "a.log.version-20261123T000300Z-b1401becea53",
        ]),
        (["--by-day"], []),
    ],
    ids=["none", "first", "last", "all", "by day"],
)  # fmt: skip
def test_restore_takes_a_choice_of_several_contents(
    writer: Writer, capsys: pytest.CaptureFixture[str], tmp_path: Path, option: list[str], names: list[str]
) -> None:
    for raw in (b"a line\n", b"another line\n"):
        writer.files({"a.log": raw})
    assert run("restore", "s3://archive/logs/", "--to", str(tmp_path), *option) == (0 if names else 1)
    assert capsys.readouterr().out.startswith(
        "" if option == ["--all-versions"] else "note: " if names else "versions: "
    )
    assert sorted(path.name for path in tmp_path.rglob("*.log*")) == names


@pytest.mark.parametrize("options", [["--first", "--last"], ["--last", "--all-versions"]], ids=" ".join)
def test_choices_exclude_each_other(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("restore", "s3://archive/logs/", "--to", "to", *options) == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_progress_on_a_terminal_rewrites_its_line(
    writer: Writer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.files({"a.log": b"a line\n"})
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("verify", "s3://archive/logs/") == 0
    assert capsys.readouterr().err.endswith("\rchecked 1 files\x1b[K\n")
