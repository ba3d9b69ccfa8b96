"""What the commands of ``log-archival`` do, and how they print it; arguments.py has their arguments."""

import json
import signal
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import NoReturn, TextIO

import botocore.session  # without the rest of boto3, which would take as long again to import
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from log_archival import __version__
from log_archival.exceptions import SettingsError
from log_archival.progress import Progress, human_size
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.cat import contents_of_one_file, write_content
from log_archival.reader.days import DateRange
from log_archival.reader.findings import Finding, Report
from log_archival.reader.listing import find_files, list_days
from log_archival.reader.output_dir import OutputDirectory
from log_archival.reader.restore import RestorePlan, Restorer, plan_restore
from log_archival.reader.search import Search
from log_archival.reader.selection import Selection
from log_archival.reader.verify import verify

EXIT_OK, EXIT_PROBLEMS = 0, 1


def run(options: Namespace) -> int:
    """Run a command, and return its exit status.

    :param options: the arguments
    :raises LogArchivalError: when the archive can't be read, or the folder not be written to
    """
    reader = _reader(options)
    match options.command:
        case "list" | "find":
            return _list(options, reader)
        case "cat":
            return _cat(options, reader)
    report, summary = (_verify if options.command == "verify" else _restore)(options, reader)
    if sys.stderr.isatty():
        print(file=sys.stderr)  # ends the line of the progress
    if options.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        _print_findings(report.findings, sys.stdout)
        count = len(report.problems)
        print(f"{summary}: {f'{count:,} problems' if count else 'no problems'}")
    return EXIT_OK if report.ok else EXIT_PROBLEMS


def _list(options: Namespace, reader: ArchiveReader) -> int:
    """Print days or files on standard output, and everything else on standard error."""
    search = Search(reader, options.prefix[1], _selection(options))
    report = list_days(search) if options.command == "list" and not options.files else find_files(search)
    if options.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        for line in report.lines():
            print(line)
        sys.stdout.flush()  # where both streams are one, the lines come first
        _print_findings(report.findings, sys.stderr)
        if all(finding.kind != "empty" for finding in report.findings):
            print(report.summary, file=sys.stderr)
    return EXIT_OK if report.ok else EXIT_PROBLEMS


def _cat(options: Namespace, reader: ArchiveReader) -> int:
    search = Search(reader, options.prefix[1], _selection(options))
    contents = contents_of_one_file(search)
    findings = search.findings if contents else [*search.findings, search.nothing()]
    for version in contents:
        write_content(reader, version, sys.stdout.buffer)
    _print_findings(findings, sys.stderr)
    return EXIT_PROBLEMS if findings else EXIT_OK


def _selection(options: Namespace) -> Selection:
    days = DateRange(options.first, options.last)
    return Selection(options.source, options.path, options.by_day, options.choice, days)


def _print_findings(findings: Iterable[Finding], file: TextIO) -> None:
    for finding in findings:
        print(f"{finding.kind}: {finding}", file=file)


def _verify(options: Namespace, reader: ArchiveReader) -> tuple[Report, str]:
    progress = _progress("checked")
    report = verify(reader, options.prefix[1], options.depth, options.first, options.last, progress.add)
    progress.done()
    return report, (
        f"{len(report.days):,} days, {report.manifests:,} manifests, {report.files:,} files in"
        f" {report.archives:,} archives, {human_size(report.raw_size)} raw, {human_size(report.stored_size)} stored,"
        f" checked by {report.depth}"
    )


def _restore(options: Namespace, reader: ArchiveReader) -> tuple[Report, str]:
    plan = plan_restore(reader, options.prefix[1], _selection(options))
    if options.dry_run:
        return _dry_run(options, Restorer(reader, OutputDirectory(options.to, read_only=True), options.overwrite), plan)
    progress = _progress("restored", sum(version.size for version in plan.files.values()))
    with OutputDirectory(options.to) as output:
        report = Restorer(reader, output, options.overwrite, progress.add).restore(plan)
    progress.done()
    return report, (
        f"{report.restored:,} files restored to {options.to}, {report.already:,} already existed,"
        f" {human_size(report.size)} in all"
    )


def _dry_run(options: Namespace, restorer: Restorer, plan: RestorePlan) -> tuple[Report, str]:
    with restorer.output:
        report = restorer.dry_run(plan)
    for line in () if options.json else report.lines():
        print(line)
    return report, (
        f"{report.restored:,} files would be restored to {options.to}, {report.already:,} already exist,"
        f" {human_size(report.size)} in all"
    )


def _reader(options: Namespace) -> ArchiveReader:
    config = Config(
        max_pool_connections=options.workers,
        retries={"mode": "standard"},  # as often as AWS_MAX_ATTEMPTS and the profile say
        # Every byte is hashed here; botocore need not do so, too.
        response_checksum_validation="when_required",
        user_agent_extra=f"log-archival/{__version__}",
    )
    try:
        session = botocore.session.Session(profile=options.profile)
        client = session.create_client("s3", options.region, endpoint_url=options.endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"no S3 client can be created: {error}") from None
    reader = ArchiveReader(client, options.prefix[0], workers=options.workers)

    def interrupt(*_: object) -> NoReturn:
        reader.stop.set()
        raise KeyboardInterrupt

    # A shell starts what runs in the background with SIGINT ignored; that stays so.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    return reader


def _progress(verb: str, total_bytes: int = 0) -> Progress:
    """Return progress on standard error: on a terminal a line that is rewritten, elsewhere a line now and then."""
    terminal = sys.stderr.isatty()

    def report(line: str) -> None:
        print(f"\r{line}\x1b[K" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    return Progress(report, verb, total_bytes, interval_seconds=0.2 if terminal else 10)
