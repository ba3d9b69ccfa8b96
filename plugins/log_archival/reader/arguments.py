"""The arguments of the command ``log-archival``. Imports nothing slow: --help doesn't wait for botocore."""

import argparse
import re
from datetime import date

from log_archival import __version__
from log_archival.exceptions import SettingsError
from log_archival.partition import Partition
from log_archival.reader.templates import add_templates_command

MAX_WORKERS = 256
_DESCRIPTION = "Find, read, verify and restore logs, read-only."
_EPILOG = (
    "exit status: 0 no problems; 1 problems were found, and each was printed, or nothing was found; 2 the command"
    " failed; 130 interrupted. Needs s3:ListBucket and s3:GetObject, as the reader role has (parameter"
    " CreateReaderRole, archive_account.yaml)."
)
_LIST = "Lists days with their sources, numbers of files and sizes, and days without a manifest. Reads manifests only."
_FIND = "Names the files that fit a pattern: day, time of modification, size in bytes, SHA-256, SOURCE/PATH."
_CAT = (
    "Writes one file to standard output, decompressed and checked: of several days one after the other. Exit status 2"
    " when what was written isn't what was archived."
)
_VERIFY = (
    "Reports objects that are missing, differ or aren't listed, unusable manifests, paths that have several contents on"
    " a day, and days without a manifest."
)
_RESTORE = "Restores log files to DIR/SOURCE/PATH, and continues where it was interrupted. See docs/reading.md."
_PREFIX = "a day (s3://BUCKET/logs/2026/11/22/), a month (s3://BUCKET/logs/2026/11/), or all (s3://BUCKET/logs/)"
_DEPTH = "checksums (default): the size and SHA-256 that S3 has; bytes: download, decompress and hash everything"
_PATTERN = (
    "a file, folder or pattern: PATH or SOURCE/PATH; '*' matches within a folder, '**' across; a name alone is found in"
    " any folder"
)
_SEVERAL = "(may be given several times)"

_CHOICES = (
    ("--first", "first", "of several contents of a path, the one that S3 received first; else none of them is taken"),
    ("--last", "last", "of several contents of a path, the one of the last day that S3 received last"),
    ("--all-versions", "all", "of several contents of a path all, named PATH.version-TIME-SHA256"),
)
_CAT_CHOICES = tuple(
    (f"--{which}", which, f"of several contents of a day, the {which} that S3 received") for which in ("first", "last")
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    whole = argparse.ArgumentParser("log-archival", description=_DESCRIPTION, epilog=_EPILOG)
    whole.add_argument("--version", action="version", version=f"log-archival {__version__}")
    names = "{list,find,cat,restore,verify,templates}"
    commands = whole.add_subparsers(dest="command", required=True, metavar=names)

    listing = commands.add_parser("list", help="which days, sources and files there are", description=_LIST)
    listing.add_argument("--files", action="store_true", help="each file, as `find` prints it")
    listing.add_argument("--path", action="append", default=[], metavar="PATTERN", help=f"only {_PATTERN} {_SEVERAL}")

    find = commands.add_parser("find", help="which days have a file", description=_FIND)
    cat = commands.add_parser("cat", help="write one file to standard output", description=_CAT)

    restore = commands.add_parser("restore", help="get log files back", description=_RESTORE)
    restore.add_argument(
        "--to", required=True, type=_folder, metavar="DIR", help="the folder to restore into, created if need be"
    )
    restore.add_argument("--path", action="append", default=[], metavar="PATTERN", help=f"only {_PATTERN} {_SEVERAL}")
    restore.add_argument("--by-day", action="store_true", help="a folder for each day: DIR/2026-11-22/SOURCE/PATH")
    restore.add_argument("--overwrite", action="store_true", help="replace files in DIR that differ from the archive's")
    restore.add_argument("--dry-run", action="store_true", help="print what would be restored, and write nothing")

    verify = commands.add_parser("verify", help="compare manifests with objects", description=_VERIFY)
    verify.add_argument("--depth", choices=("checksums", "bytes"), default="checksums", help=_DEPTH)

    for command in (listing, find, cat, restore, verify):
        _add_common(command, last=("--until",) if command is restore else ("--until", "--to"))
        if command is not verify:
            command.add_argument("--source", action="append", default=[], help=f"only this source {_SEVERAL}")
        command.epilog = _EPILOG
    find.add_argument("path", nargs="+", metavar="PATTERN", help=_PATTERN)
    cat.add_argument("path", nargs=1, metavar="FILE", help=f"one file: {_PATTERN}")
    for command, choices in ((restore, _CHOICES), (cat, _CAT_CHOICES)):
        choice = command.add_mutually_exclusive_group()
        for option, chosen, text in choices:
            choice.add_argument(option, action="store_const", dest="choice", const=chosen, help=text)
    for command in (listing, find, restore, verify):
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    add_templates_command(commands)
    return whole


def _add_common(command: argparse.ArgumentParser, last: tuple[str, ...]) -> None:
    command.add_argument("prefix", type=_s3_prefix, metavar="s3://BUCKET/PREFIX", help=_PREFIX)
    command.add_argument("--from", dest="first", type=_day, default=date.min, metavar="YYYY-MM-DD", help="first day")
    command.add_argument(*last, dest="last", type=_day, default=date.max, metavar="YYYY-MM-DD", help="last day")
    command.add_argument("--workers", type=_workers, default=16, help="requests at once (default: 16)")
    command.add_argument("--profile", help="profile of the AWS configuration")
    command.add_argument("--region", help="region of the bucket")
    command.add_argument("--endpoint-url", help="URL of a server other than AWS")
    command.set_defaults(json=False, choice=None, by_day=False)


def _s3_prefix(text: str) -> tuple[str, str]:
    if not (match := re.fullmatch("s3://([^/]+)/?(.*)", text, re.DOTALL)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form s3://BUCKET/PREFIX")
    return match[1], match[2]


def _folder(text: str) -> str:
    if text == "-":
        raise argparse.ArgumentTypeError("- is no folder; `log-archival cat` writes a file to standard output")
    return text


def _day(text: str) -> date:
    try:
        return Partition.parse(text).day
    except SettingsError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2026-11-22") from None


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_WORKERS}")
    return int(text)
