"""The command line for the archive account's own people, who can read: ``python -m log_archival``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from datetime import date
from typing import TYPE_CHECKING, Any, NoReturn

from log_archival import __version__

if TYPE_CHECKING:
    # At run time they are imported by the command that needs them: --help answers at once.
    from log_archival.reader.archive import ArchiveReader, Finding

OK, PROBLEMS, FAILED = 0, 1, 2
_PREFIX = (
    "what to look at: s3://BUCKET/logs/2026/11/22/ is a day, s3://BUCKET/logs/2026/11/ a month, s3://BUCKET/logs/ all"
)
_ENDING = """\
exit status: 0 all is right; 1 there are problems, and each was printed; 2 nothing can be said, because the command was
wrong, the archive can't be reached, or reading it isn't allowed; 130 interrupted.

Credentials are boto3's usual ones: AWS_PROFILE or --profile, the environment, the machine's role. A profile with
role_arn and external_id assumes the reader role that include/cloudformation/archive_account.yaml makes
(CreateReaderRole); it has what is needed, s3:ListBucket and s3:GetObject below the prefix, and nothing else.
"""
_VERIFY = """\
Checks what each manifest lists against the objects, and reports every problem: an object that is gone or holds
something else, an object that no manifest lists, a manifest that can't be used, a day without a manifest between the
first and the last one found (or --from and --to).
"""
_RESTORE = """\
Restores log files to DIR/SOURCE/PATH, where PATH is the file's path below its source's folder: for a day,
`diff -r ORIGINAL_FOLDER DIR/SOURCE` finds no difference. Parts of a large file are joined; each file's SHA-256 is
checked before it gets its name. Files that are there already and right are skipped, so a restore that was interrupted
continues where it was. Nothing is written outside of DIR, whatever a manifest says and whatever links lie in DIR.

A file that changed after it was archived has several contents on one day: the last is restored and the others are
noted (--all-versions restores all of them). A path that has other content on other days, such as a log that is
emptied every night, is refused until you choose --by-day or --all-versions. A file in DIR that differs from the
archive's is reported and left alone, unless --overwrite is given.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; answer its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # No name of a file, and no locale, may end this with a UnicodeEncodeError.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = _parser().parse_args(arguments)
    from log_archival.exceptions import LogArchivalError

    try:
        reader = _reader(options)
        status: int = options.run(reader, options)
        sys.stdout.flush()  # here, where a closed pipe is understood
    except LogArchivalError as error:
        print(f"log-archival {options.command}: {error}", file=sys.stderr)
        if options.json:
            print(json.dumps({"ok": False, "error": str(error)}))
        return FAILED
    except KeyboardInterrupt:
        print(f"log-archival {options.command}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    shape: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": _ENDING}
    parser = argparse.ArgumentParser(
        "log-archival", description="Verify and restore archived logs, for those who may read the archive.", **shape
    )
    parser.add_argument("--version", action="version", version=f"log-archival {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{verify,restore}")

    verify = commands.add_parser("verify", help="check manifests against objects", description=_VERIFY, **shape)
    verify.set_defaults(run=_verify)
    verify.add_argument("prefix", type=_s3_prefix, metavar="s3://BUCKET/PREFIX", help=_PREFIX)
    verify.add_argument(
        "--depth",
        choices=("checksums", "bytes"),
        default="checksums",
        help="checksums (default): size and SHA-256 as S3 has them; bytes: download, decompress and hash everything",
    )
    verify.add_argument("--from", dest="first", type=_day, metavar="DAY", help="the first day, such as 2026-11-01")
    verify.add_argument("--to", dest="last", type=_day, metavar="DAY", help="the last day")

    restore = commands.add_parser("restore", help="get log files back", description=_RESTORE, **shape)
    restore.set_defaults(run=_restore)
    restore.add_argument("prefix", type=_s3_prefix, metavar="s3://BUCKET/PREFIX", help=_PREFIX)
    restore.add_argument("--to", required=True, metavar="DIR", help="the folder to restore into; made if need be")
    restore.add_argument("--source", action="append", default=[], help="this source only (may be given several times)")
    restore.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="PATTERN",
        help="these files only: a file, a folder, or a pattern such as 'web-1/*' or '**/*.log' ('*' stays within a"
        " folder, '**' does not); may be given several times",
    )
    restore.add_argument("--by-day", action="store_true", help="a folder for each day: DIR/2026-11-22/SOURCE/PATH")
    restore.add_argument(
        "--all-versions",
        action="store_true",
        help="restore every content a path had; all but the last get .version-SHA256 appended to their names",
    )
    restore.add_argument("--overwrite", action="store_true", help="replace files in DIR that differ from the archive's")

    for command in (verify, restore):
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        command.add_argument("--workers", type=_workers, default=16, help="requests at once (default: 16)")
        command.add_argument("--profile", help="of the AWS configuration")
        command.add_argument("--region", help="of the bucket")
        command.add_argument("--endpoint-url", help="of a server other than AWS")
    return parser


def _s3_prefix(text: str) -> tuple[str, str]:
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form s3://BUCKET/PREFIX")
    return bucket, prefix


def _day(text: str) -> date:
    from log_archival.exceptions import SettingsError
    from log_archival.partition import Partition

    try:
        return Partition.parse(text).day
    except SettingsError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2026-11-22") from None


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 256")
    return int(text)


def _reader(options: argparse.Namespace) -> ArchiveReader:
    # botocore is what boto3 gets its clients from; without the rest of boto3, starting takes half the time.
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    from log_archival.exceptions import SettingsError
    from log_archival.reader.archive import ArchiveReader

    config = Config(
        max_pool_connections=options.workers,
        retries={"mode": "standard"},  # AWS_MAX_ATTEMPTS and the profile say how many
        # We hash every byte ourselves; botocore need not do so, too.
        response_checksum_validation="when_required",
        user_agent_extra=f"log-archival/{__version__}",
    )
    try:
        session = botocore.session.Session(profile=options.profile)
        client = session.create_client(
            "s3", region_name=options.region, endpoint_url=options.endpoint_url, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"no S3 client can be made: {error}") from None
    reader = ArchiveReader(client, options.prefix[0])

    def interrupt(*_: object) -> NoReturn:
        reader.stop.set()
        raise KeyboardInterrupt

    # A shell starts what runs in the background with SIGINT ignored; that stays so.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    return reader


def _verify(reader: ArchiveReader, options: argparse.Namespace) -> int:
    from log_archival.reader.verify import verify
    from log_archival.manifest import Entry
    from log_archival.concurrency import human

    if options.first and options.last and options.first > options.last:
        from log_archival.exceptions import SettingsError

        raise SettingsError(f"--from {options.first} is after --to {options.last}")
    progress = _Progress("archives checked")

    def checked(entry: Entry) -> None:
        progress.add(1, entry.stored_size if options.depth == "bytes" else 0)

    report = verify(
        reader,
        options.prefix[1],
        depth=options.depth,
        first=options.first,
        last=options.last,
        workers=options.workers,
        on_progress=checked,
    )
    progress.done()
    summary = (
        f"{len(report.days):,} days, {report.manifests:,} manifests, {report.files:,} files in"
        f" {report.archives:,} archives, {human(report.raw_size)} raw, {human(report.stored_size)} stored,"
        f" checked by {report.depth}"
    )
    _print(options, report.to_dict(), report.findings, summary)
    return OK if report.ok else PROBLEMS


def _restore(reader: ArchiveReader, options: argparse.Namespace) -> int:
    from log_archival.reader.restore import Selection, plan, restore
    from log_archival.reader.output_dir import Tree
    from log_archival.concurrency import human

    selection = Selection(options.source, options.path, options.by_day, options.all_versions)
    versions, findings = plan(reader, options.prefix[1], selection)
    total = sum(version.size for version in versions)
    progress = _Progress(f"of {human(total)} in {len(versions):,} files restored", counts=False)
    with Tree(options.to) as tree:
        result = restore(
            reader,
            versions,
            tree,
            overwrite=options.overwrite,
            workers=options.workers,
            on_progress=lambda size: progress.add(0, size),
        )
    progress.done()
    result.findings = findings + result.findings
    summary = (
        f"{result.restored:,} files restored to {options.to}, {result.already:,} were there already,"
        f" {human(result.size)} in all"
    )
    _print(options, result.to_dict(), result.findings, summary)
    return OK if result.ok else PROBLEMS


def _print(options: argparse.Namespace, result: dict[str, Any], findings: list[Finding], summary: str) -> None:
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for finding in findings:
        print(f"{finding.kind}: {finding}")
    problems = sum(not finding.note for finding in findings)
    print(f"{summary}: {f'{problems:,} problems' if problems else 'all right'}")


class _Progress:
    """How far it is, on standard error: a line that is rewritten on a terminal, one every ten seconds elsewhere."""

    def __init__(self, what: str, *, counts: bool = True) -> None:
        self._what, self._counts = what, counts
        self._terminal = sys.stderr.isatty()
        self._every = 0.2 if self._terminal else 10.0
        self._start = self._said = time.monotonic()
        self._lock = threading.Lock()
        self._count = self._size = 0

    def add(self, count: int, size: int) -> None:
        with self._lock:
            self._count += count
            self._size += size
            now = time.monotonic()
            if now - self._said >= self._every:
                self._said = now
                self._say(now)

    def done(self) -> None:
        with self._lock:
            self._say(time.monotonic())
            if self._terminal:
                print(file=sys.stderr)

    def _say(self, now: float) -> None:
        from log_archival.concurrency import human

        seconds = max(now - self._start, 1e-3)
        parts = [f"{self._count:,}"] if self._counts else []
        if self._size or not self._counts:
            parts.append(human(self._size))
        line = f"{', '.join(parts)} {self._what} in {seconds:.1f} s"
        if self._size:
            line += f" ({human(self._size / seconds)}/s)"
        print(f"\r{line}\x1b[K" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
