"""The command ``log-archival``, for the archive account's people: they may read."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from datetime import date
from typing import Any

from log_archival import __version__
from log_archival.exceptions import LogArchivalError, SettingsError
from log_archival.partition import Partition

EXIT_FAILED = 2  # 0 and 1 are those of reader/commands.py
MAX_WORKERS = 256
_PREFIX = "a day (s3://BUCKET/logs/2026/11/22/), a month (s3://BUCKET/logs/2026/11/), or all (s3://BUCKET/logs/)"
_EPILOG = """\
exit status: 0 no problems; 1 problems were found, and each was printed; 2 the command failed: wrong arguments, an
archive that can't be reached, or no permission to read it; 130 interrupted.

Credentials are found as boto3 finds them: AWS_PROFILE or --profile, the environment, the machine's role. A profile
with role_arn and external_id assumes the reader role of include/cloudformation/archive_account.yaml (parameter
CreateReaderRole). It has the permissions that are needed: s3:ListBucket and s3:GetObject below the prefix.
"""
_VERIFY = """\
Compares every manifest with the objects that it lists, and reports all problems: an object that is missing or has
other content, an object that no manifest lists, a manifest that can't be used, a day without a manifest between the
first and the last day found (or --from and --to).
"""
_RESTORE = """\
Restores log files to DIR/SOURCE/PATH, where PATH is the file's path below its source's folder: for a day,
`diff -r ORIGINAL_FOLDER DIR/SOURCE` finds no difference. The parts of a large file are joined, and each file's SHA-256
is checked before the file gets its name. Files that already exist with the right content are skipped, so a restore
that was interrupted continues where it was. Nothing is written outside of DIR, whatever a manifest lists and whatever
links are in DIR.

A file that changed after it was archived has several contents on one day: the last is restored, and the others are
noted (--all-versions restores all of them). A path that has different contents on different days, such as a log that
is emptied every night, is refused until you choose --by-day or --all-versions. A file in DIR that differs from the
archive's is reported and left as it is, unless --overwrite is given.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit status.

    :param arguments: those of the command line; None for this process's
    """
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale, no file's name causes a UnicodeEncodeError.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = _parser().parse_args(arguments)
    try:
        from log_archival.reader.commands import run  # here: --help doesn't wait for botocore

        status = run(options)
        sys.stdout.flush()  # here, where a closed pipe is handled
    except LogArchivalError as error:
        print(f"log-archival {options.command}: {error}", file=sys.stderr)
        if options.json:
            print(json.dumps({"ok": False, "error": str(error)}))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(f"log-archival {options.command}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever reads the output has seen enough. Python would print an error when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    shape: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": _EPILOG}
    parser = argparse.ArgumentParser("log-archival", description="Verify or restore archived logs, read-only.", **shape)
    parser.add_argument("--version", action="version", version=f"log-archival {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{verify,restore}")

    verify = commands.add_parser("verify", help="compare manifests with objects", description=_VERIFY, **shape)
    verify.add_argument(
        "--depth",
        choices=("checksums", "bytes"),
        default="checksums",
        help="checksums (default): the size and SHA-256 that S3 has; bytes: download, decompress and hash everything",
    )
    verify.add_argument("--from", dest="first", type=_day, metavar="DAY", help="the first day, such as 2026-11-01")
    verify.add_argument("--to", dest="last", type=_day, metavar="DAY", help="the last day")

    restore = commands.add_parser("restore", help="get log files back", description=_RESTORE, **shape)
    restore.add_argument("--to", required=True, metavar="DIR", help="the folder to restore into, created if need be")
    restore.add_argument("--source", action="append", default=[], help="only this source (may be given several times)")
    restore.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only these files: a file, a folder, or a pattern such as 'web-1/*' or '**/*.log' ('*' matches within a"
        " folder, '**' across folders); may be given several times",
    )
    restore.add_argument("--by-day", action="store_true", help="a folder for each day: DIR/2026-11-22/SOURCE/PATH")
    restore.add_argument("--all-versions", action="store_true", help="every content; older ones get .version-SHA256")
    restore.add_argument("--overwrite", action="store_true", help="replace files in DIR that differ from the archive's")

    for command in (verify, restore):
        command.add_argument("prefix", type=_s3_prefix, metavar="s3://BUCKET/PREFIX", help=_PREFIX)
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        command.add_argument("--workers", type=_workers, default=16, help="requests at once (default: 16)")
        command.add_argument("--profile", help="profile of the AWS configuration")
        command.add_argument("--region", help="region of the bucket")
        command.add_argument("--endpoint-url", help="URL of a server other than AWS")
    return parser


def _s3_prefix(text: str) -> tuple[str, str]:
    if not (match := re.fullmatch("s3://([^/]+)/?(.*)", text, re.DOTALL)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form s3://BUCKET/PREFIX")
    return match[1], match[2]


def _day(text: str) -> date:
    try:
        return Partition.parse(text).day
    except SettingsError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2026-11-22") from None


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_WORKERS}")
    return int(text)
