"""``python -m log_archival.reader.cli`` as its users run it: in a process of its own, against a real object store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.archives import KEYS, Writer, day, other_bytes
from tests.support.reader_cli import PACKAGE, Cli

RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200
FILES = {"web-1/app.log": RAW, "web-2/app.log": RAW * 2}
# Runs the command, and prints the peak of the process's resident memory in KiB. On Linux, getrusage's would include
# this process's, from the fork.
_PRINT_PEAK = """
import os, sys
from log_archival.reader.cli import main
out = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where `cat` writes to
status = main()
sys.stdout.flush()
os.dup2(out, 1)
print([line.split()[1] for line in open("/proc/self/status", "rb") if line.startswith(b"VmHWM:")][0].decode())
sys.exit(status)
"""
# Runs the command, and prints a line when the first megabytes of a large file have been written.
_PRINT_UNDER_WAY = """
import sys
from log_archival.reader import cli, restore
decompress = restore.decompress
def announced(*arguments):
    for number, data in enumerate(decompress(*arguments)):
        yield data
        if number == 3:
            print("under way", flush=True)
restore.decompress = announced
sys.exit(cli.main())
"""


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_thousand_archives_are_verified_and_restored(cli: Cli, writer: Writer, tmp_path: Path) -> None:
    contents = {f"web-{n % 7}/{n}.log": RAW + b"%d\n" % n for n in range(1000)}
    with ThreadPoolExecutor(8) as pool:
        archives = [made for some in pool.map(lambda item: writer.file(*item), contents.items()) for made in some]
    writer.manifest(archives)
    url = f"s3://{writer.bucket}/logs/2026/11/22/"

    good = cli("verify", url)
    assert good.returncode == 0
    assert good.stdout.endswith(": no problems\n")
    assert "1,000 files in 1,000 archives" in good.stdout
    assert cli.json("verify", url, "--depth", "bytes")["archives"] == 1000

    for name, raw in contents.items():
        original = tmp_path / "original" / name
        original.parent.mkdir(parents=True, exist_ok=True)
        original.write_bytes(raw)
    assert cli.json("restore", url, "--to", "restored")["restored"] == 1000
    diff = ["diff", "-r", str(tmp_path / "original"), str(tmp_path / "restored" / "app")]
    assert subprocess.run(diff, capture_output=True, check=False).stdout == b""
    assert cli.json("restore", url, "--to", "restored")["already"] == 1000

    victim = archives[500]
    body = bytearray(writer.written[victim.key])
    body[len(body) // 2] ^= 1
    writer.put(victim.key, bytes(body))
    for depth in ("checksums", "bytes"):
        (problem,) = cli.json("verify", url, "--depth", depth, status=1)["problems"]
        assert (problem["kind"], problem["source"], problem["path"]) == ("differs", "app", victim.name)
        assert problem["key"] == victim.key
        assert problem["expected"] != problem["found"]


def test_verify_prints_every_problem_in_words_and_in_json(cli: Cli, writer: Writer) -> None:
    archives = writer.files(FILES)
    writer.files({"a.log": RAW}, on="2026-11-24", source="web")
    url = f"s3://{writer.bucket}/logs/"
    writer.client.delete_object(Bucket=writer.bucket, Key=archives[0].key)
    writer.put("logs/2026/11/22/stray\x1b[2J", b"?")
    bad = KEYS.manifest_key(day("2026-11-24"), "0" * 64)
    writer.put(bad, b"{}")
    done = cli("verify", url)
    assert done.returncode == 1
    # The store's clock is today's, so that these objects may have arrived late, which is a note.
    kinds = [line.split(":")[0] for line in done.stdout.splitlines()[:-1]]
    assert [kind for kind in kinds if kind != "note"] == ["missing", "manifest", "unlisted", "day"]
    assert archives[0].key in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("checked by checksums: 4 problems")
    assert "checked 3 files" in done.stderr
    printed = cli.json("verify", url, status=1)
    assert [problem["kind"] for problem in printed["problems"]] == ["missing", "manifest", "unlisted", "day"]
    assert {name: printed[name] for name in ("ok", "depth", "days", "manifests", "files", "archives")} == {
        "ok": False, "depth": "checksums", "days": ["2026-11-22", "2026-11-24"], "manifests": 2, "files": 3,
        "archives": 3,
    }  # fmt: skip
    assert cli("verify", f"{url}2026/11/", "--from", "2026-11-25", "--to", "2026-11-26").stdout.count("day: ") == 2
    assert cli("verify", f"{url}2031/").returncode == 1


def test_list_find_and_cat_read_what_is_there(cli: Cli, writer: Writer) -> None:
    writer.files(FILES | {"odd \udcff\n.log": b"odd"}, mtime_ns=1_795_435_200_123_456_789)
    writer.files({"web-1/app.log": b"the next day's\n"}, on="2026-11-24")
    url = f"s3://{writer.bucket}/logs/"
    listed = cli.json("list", url)
    assert [(one["day"], one["sources"]) for one in listed["days"]] == [
        ("2026-11-22", {"app": 3}),
        ("2026-11-24", {"app": 1}),
    ]
    assert listed["missing"] == [{"first": "2026-11-23", "last": "2026-11-23"}]
    assert cli("list", url).stdout.splitlines()[2] == "2026-11-23  no manifest"
    assert cli("find", url, "odd*").stdout.endswith("  app/odd \\xff\\n.log\n")
    assert [one["day"] for one in cli.json("find", url, "web-1/*")["files"]] == ["2026-11-22", "2026-11-24"]
    assert cli("cat", url, "web-1/app.log").stdout == RAW.decode() + "the next day's\n"
    done = cli("cat", url, "app/odd \udcff\n.log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "odd", "")
    done = cli("cat", url, "app.log")
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 files are selected, and `cat` writes one:\n  app/web-1/app.log\n  app/web-2/app.log\n" in done.stderr
    inside = cli("find", f"{url}2026/11/22/app/", "x")
    assert (inside.returncode, f"give {url}2026/11/22/ --source app" in inside.stderr) == (1, True)
    assert "NoSuchBucket" in cli("list", "s3://there-is-no-such-bucket/logs/").stderr


@pytest.mark.parametrize("command", [["verify"], ["cat", "web-1/app.log"], ["find", "**"]], ids=lambda one: one[0])
def test_closed_pipe_is_exit_status_2_without_a_traceback(cli: Cli, writer: Writer, command: list[str]) -> None:
    writer.files(FILES)
    with cli.start(command[0], f"s3://{writer.bucket}/logs/", *command[1:]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, "Traceback" in error, "BrokenPipe" in error) == (2, False, False)


def test_same_content_in_other_bytes_is_a_note(cli: Cli, writer: Writer) -> None:
    archive = writer.files({"a.log": RAW})[0]
    writer.put(archive.key, other_bytes(archive, RAW))
    url = f"s3://{writer.bucket}/logs/"
    assert cli("verify", url).returncode == 1
    printed = cli.json("verify", url, "--depth", "bytes")
    assert [note["key"] for note in printed["notes"] if "key" in note] == [archive.key]
    assert cli("restore", url, "--to", "to").returncode == 0


def test_restore_takes_what_is_selected(cli: Cli, writer: Writer, tmp_path: Path) -> None:
    writer.files(FILES | {"odd \udcff\n.log": RAW})
    url = f"s3://{writer.bucket}/logs/2026/11/22/"
    done = cli("restore", url, "--source", "app", "--path", "web-1/*", "--to", str(tmp_path / "to"))
    assert (done.returncode, files_in(tmp_path / "to")) == (0, {"app/web-1/app.log": RAW})
    assert "1 files restored" in done.stdout
    assert "restored 1 files, 6.2 kB of 6.2 kB (" in done.stderr
    # Even in a locale that has ASCII only.
    odd = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = cli("restore", url, "--path", "odd*", "--to", str(tmp_path / "odd"), **odd)
    assert (done.returncode, files_in(tmp_path / "odd")) == (0, {"app/odd \udcff\n.log": RAW})
    assert cli("restore", url, "--source", "nobody", "--to", str(tmp_path / "no")).returncode == 1


def test_content_that_is_added_later_is_a_problem_and_not_restored(cli: Cli, writer: Writer, tmp_path: Path) -> None:
    """A writer adds one object and one manifest to a day that was verified, and `restore` returned its content."""
    honest = writer.files(FILES)[0]
    url = f"s3://{writer.bucket}/logs/2026/11/22/"
    cli.json("verify", url, "--depth", "bytes")
    added = writer.files({"web-1/app.log": RAW + b"a line that never was\n"})[0]

    problems = cli.json("verify", url, "--depth", "bytes", status=1)["problems"]
    assert [(one["kind"], one["path"], one["day"]) for one in problems] == [("versions", "web-1/app.log", "2026-11-22")]
    done = cli("restore", url, "--to", "to")
    assert (done.returncode, set(files_in(tmp_path / "to"))) == (1, {"app/web-2/app.log"})
    manifests = [key for key in writer.written if "_manifest-" in key]
    for archive, manifest in zip((honest, added), manifests, strict=True):
        # S3's own times, which no writer can set.
        heads = [writer.client.head_object(Bucket=writer.bucket, Key=key) for key in (archive.key, manifest)]
        received = f"received {max(head['LastModified'] for head in heads):%Y-%m-%d %H:%M:%S} UTC"
        for text in (problems[0]["message"], done.stdout):
            assert f"{archive.file_sha256[:12]}… for 2026-11-22, {received}" in text
    assert "--first, --last, --all-versions" in done.stdout

    assert cli.json("restore", url, "--to", "first", "--first")["notes"][0]["kind"] == "note"
    assert files_in(tmp_path / "first")["app/web-1/app.log"] == RAW
    assert cli.json("restore", url, "--to", "all", "--all-versions")["restored"] == 3
    assert cli.json("restore", url, "--to", "all", "--all-versions")["already"] == 3
    names = [name for name in files_in(tmp_path / "all") if "web-1" in name]
    assert {name.rpartition("-")[2] for name in names} == {honest.file_sha256[:12], added.file_sha256[:12]}


def test_restore_of_different_days_leaves_out_what_differs_until_one_chooses(
    cli: Cli, writer: Writer, tmp_path: Path
) -> None:
    writer.files({"a.log": RAW, "same.log": RAW})
    writer.files({"a.log": RAW * 2, "same.log": RAW}, on="2026-11-23")
    url = f"s3://{writer.bucket}/logs/"
    done = cli("restore", url, "--to", "to")
    assert (done.returncode, "--by-day" in done.stdout) == (1, True)
    assert files_in(tmp_path / "to") == {"app/same.log": RAW}
    assert cli.json("restore", url, "--to", "last", "--last")["restored"] == 2
    assert files_in(tmp_path / "last")["app/a.log"] == RAW * 2
    assert cli.json("restore", url, "--to", "days", "--by-day")["restored"] == 4
    assert cli("restore", url, "--to", "to", "--first", "--last").returncode == 2


@pytest.mark.parametrize("command", ["list", "find", "cat", "restore", "verify"])
def test_denied_command_names_the_permission(cli: Cli, writer: Writer, command: str) -> None:
    writer.files(FILES)
    arguments = {"restore": ["--to", "to"], "find": ["a"], "cat": ["a"]}.get(command, [])
    done = cli(command, f"s3://{writer.bucket}/logs/", "--profile", "writer", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    for named in ("ListObjectsV2", "AccessDenied", "s3:ListBucket", "CreateReaderRole"):
        assert named in done.stderr


def test_missing_bucket_is_exit_status_2(cli: Cli) -> None:
    done = cli("verify", "s3://there-is-no-such-bucket/logs/")
    assert (done.returncode, "NoSuchBucket" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("stop", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)], ids=["interrupted", "killed"]
)
def test_restore_continues_after_it_was_stopped(
    cli: Cli, writer: Writer, tmp_path: Path, stop: signal.Signals, status: int
) -> None:
    small = {f"{n}.log": RAW for n in range(20)}
    # Few stored bytes, that take longer to write than the signal takes to arrive.
    large = bytes(1 << 20) * 500
    archives = [archive for name, raw in small.items() for archive in writer.file(name, raw)]
    writer.manifest(archives + writer.file("huge.log", large))
    url = f"s3://{writer.bucket}/logs/"
    temporary = tmp_path / "to" / ".restoring"
    with cli.start("restore", url, "--to", "to", "--workers", "2", script=_PRINT_UNDER_WAY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n"
        process.send_signal(stop)
        process.communicate(timeout=30)
    assert process.returncode == status
    assert not (tmp_path / "to/app/huge.log").exists()
    assert temporary.exists() == (stop == signal.SIGKILL)
    printed = cli.json("restore", url, "--to", "to")
    assert printed["restored"] + printed["already"] == 21
    assert printed["restored"] >= 1
    assert not temporary.exists()
    assert sorted(os.listdir(tmp_path / "to/app")) == sorted([*small, "huge.log"])
    assert (tmp_path / "to/app/huge.log").stat().st_size == len(large)


def test_memory_does_not_grow_with_the_files(cli: Cli, writer: Writer) -> None:
    def peak(*arguments: str) -> int:
        """Return the peak of the process's resident memory in KiB."""
        with cli.start(*arguments, script=_PRINT_PEAK) as process:
            out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        return int(out.split()[-1])

    commands: list[Callable[[str], list[str]]] = [
        lambda url: ["verify", url, "--depth", "bytes"],
        lambda url: ["restore", url, "--to", "to", "--by-day"],
        lambda url: ["cat", url, "**"],
    ]
    writer.files({"small.log": os.urandom(1 << 20)})
    writer.files({"large.log": os.urandom(80 << 20)}, on="2026-11-23")
    for command in commands:
        small = peak(*command(f"s3://{writer.bucket}/logs/2026/11/22/"))
        large = peak(*command(f"s3://{writer.bucket}/logs/2026/11/23/"))
        assert large - small < 16 << 10


IMPORTS = {
    # The help is printed without waiting for any library.
    "help": ("main(['--help'])", ["airflow", "botocore", "boto3", "fsspec", "isal", "pydantic"]),
    "verify": (
        "sys.exit(main(['verify', 's3://b/l/', '--region', 'eu-central-1']) - 2)",
        ["airflow", "boto3", "fsspec", "s3transfer"],
    ),
    "find": (
        "sys.exit(main(['find', 's3://b/l/', 'a', '--region', 'eu-central-1']) - 2)",
        ["airflow", "boto3", "s3transfer"],
    ),
    "every module": (
        "[importlib.import_module(one.name) for one in pkgutil.walk_packages(reader.__path__, reader.__name__ + '.')]",
        ["airflow"],
    ),
}


@pytest.mark.parametrize(("script", "unwanted"), IMPORTS.values(), ids=IMPORTS)
def test_command_imports_no_airflow_and_nothing_slow(script: str, unwanted: list[str]) -> None:
    program = (
        "import atexit, importlib, pkgutil, sys\n"
        "from log_archival import reader\n"
        "from log_archival.reader.cli import main\n"
        f"atexit.register(lambda: print('imported:', *(name for name in {unwanted!r} if name in sys.modules)))\n"
        f"{script}\n"
    )
    environment = {"PYTHONPATH": str(PACKAGE), "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "imported:"
