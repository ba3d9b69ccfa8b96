"""The command ``log-archival``, for the archive account's people: they may read."""

import argparse
import json
import os
import re
import signal
import sys
from datetime import date

from log_archival import __version__
from log_archival.exceptions import LogArchivalError, SettingsError
from log_archival.partition import Partition
from log_archival.reader.templates import add_templates_command, run_templates

EXIT_FAILED = 2  # 0 and 1 are those of reader/commands.py
MAX_WORKERS = 256
_EPILOG = (
    "exit status: 0 no problems; 1 problems were found, and each was printed; 2 the command failed; 130 interrupted."
    " Needs s3:ListBucket and s3:GetObject, as the reader role has (parameter CreateReaderRole, archive_account.yaml)."
)
_VERIFY = (
    "Reports objects that are missing, differ or aren't listed, unusable manifests, paths that have several contents on"
    " a day, and days without a manifest."
)
_RESTORE = "Restores log files to DIR/SOURCE/PATH, and continues where it was interrupted. See docs/reading.md."
_PREFIX = "a day (s3://BUCKET/logs/2026/11/22/), a month (s3://BUCKET/logs/2026/11/), or all (s3://BUCKET/logs/)"
_DEPTH = "checksums (default): the size and SHA-256 that S3 has; bytes: download, decompress and hash everything"
_PATH = "only this file, folder or pattern; '*' matches within a folder, '**' across (may be given several times)"

_CHOICES = (
    (
        "--first",
        "first",
        "of several contents of a path, the one that S3 received first; else none of them is restored",
    ),
    ("--last", "last", "of several contents of a path, the one of the last day that S3 received last"),
    ("--all-versions", "all", "of several contents of a path all, named PATH.version-TIME-SHA256"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit status.

    :param arguments: those of the command line; None for this process's
    """
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale, no file's name causes a UnicodeEncodeError.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = _parser().parse_args(arguments)
    try:
        if options.command == "templates":
            return run_templates(options)
        from log_archival.reader.commands import run  # here: --help doesn't wait for botocore

        status = run(options)
        sys.stdout.flush()  # here, where a closed pipe is handled
    except LogArchivalError as error:
        return _failed(options, str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("log_archival"):
            raise
        return _failed(
            options, f"the Python package {error.name!r} is missing; install it with pip install log-archival"
        )
    except KeyboardInterrupt:
        print(f"log-archival {options.command}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever reads the output has seen enough. Python would print an error when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_FAILED
    return status


def _failed(options: argparse.Namespace, message: str) -> int:
    """Print why the command failed, and return its exit status."""
    print(f"log-archival {options.command}: {message}", file=sys.stderr)
    if options.json:
        print(json.dumps({"ok": False, "error": message}))
    return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("log-archival", description="Verify or restore logs, read-only.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"log-archival {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{verify,restore,templates}")

    verify = commands.add_parser("verify", help="compare manifests with objects", description=_VERIFY, epilog=_EPILOG)
    verify.add_argument("--depth", choices=("checksums", "bytes"), default="checksums", help=_DEPTH)
    verify.add_argument("--from", dest="first", type=_day, default=date.min, metavar="YYYY-MM-DD", help="first day")
    verify.add_argument("--to", dest="last", type=_day, default=date.max, metavar="YYYY-MM-DD", help="last day")

    restore = commands.add_parser("restore", help="get log files back", description=_RESTORE, epilog=_EPILOG)
    restore.add_argument("--to", required=True, metavar="DIR", help="the folder to restore into, created if need be")
    restore.add_argument("--source", action="append", default=[], help="only this source (may be given several times)")
    restore.add_argument("--path", action="append", default=[], metavar="PATTERN", help=_PATH)
    restore.add_argument("--by-day", action="store_true", help="a folder for each day: DIR/2026-11-22/SOURCE/PATH")
    choice = restore.add_mutually_exclusive_group()
    for option, chosen, text in _CHOICES:
        choice.add_argument(option, action="store_const", dest="choice", const=chosen, help=text)
    restore.add_argument("--overwrite", action="store_true", help="replace files in DIR that differ from the archive's")

    for command in (verify, restore):
        command.add_argument("prefix", type=_s3_prefix, metavar="s3://BUCKET/PREFIX", help=_PREFIX)
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        command.add_argument("--workers", type=_workers, default=16, help="requests at once (default: 16)")
        command.add_argument("--profile", help="profile of the AWS configuration")
        command.add_argument("--region", help="region of the bucket")
        command.add_argument("--endpoint-url", help="URL of a server other than AWS")
    add_templates_command(commands)
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


if __name__ == "__main__":
    sys.exit(main())
