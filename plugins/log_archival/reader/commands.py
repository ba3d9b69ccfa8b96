"""What the commands ``log-archival verify`` and ``log-archival restore`` do; cli.py has their arguments."""

import json
import signal
import sys
from argparse import Namespace
from typing import NoReturn

import botocore.session  # without the rest of boto3, which would take as long again to import
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from log_archival import __version__
from log_archival.exceptions import SettingsError
from log_archival.progress import Progress, human_size
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.findings import Report
from log_archival.reader.output_dir import OutputDirectory
from log_archival.reader.restore import Restorer, Selection, plan_restore
from log_archival.reader.verify import verify

EXIT_OK, EXIT_PROBLEMS = 0, 1


def run(options: Namespace) -> int:
    """Run a command, and return its exit status.

    :param options: the arguments
    :raises LogArchivalError: when the archive can't be read, or the folder not be written to
    """
    report, summary = (_verify if options.command == "verify" else _restore)(options, _reader(options))
    if sys.stderr.isatty():
        print(file=sys.stderr)  # ends the line of the progress
    if options.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        for finding in report.findings:
            print(f"{finding.kind}: {finding}")
        count = len(report.problems)
        print(f"{summary}: {f'{count:,} problems' if count else 'no problems'}")
    return EXIT_OK if report.ok else EXIT_PROBLEMS


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
    selection = Selection(options.source, options.path, options.by_day, options.choice)
    plan = plan_restore(reader, options.prefix[1], selection)
    progress = _progress("restored", sum(version.size for version in plan.files.values()))
    with OutputDirectory(options.to) as output:
        report = Restorer(reader, output, options.overwrite, progress.add).restore(plan)
    progress.done()
    return report, (
        f"{report.restored:,} files restored to {options.to}, {report.already:,} already existed,"
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
