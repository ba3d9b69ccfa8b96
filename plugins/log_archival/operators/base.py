"""What the operators share: the day, the keys, the archive, and how a task fails."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any

from airflow.sdk import BaseOperator, Context

from log_archival.airflow_versions import AirflowFailException, partition_key
from log_archival.aws.connection import DEFAULT_ACL, DEFAULT_CONN_ID, session_name
from log_archival.aws.writer import DEFAULT_MAX_CONCURRENT_REQUESTS
from log_archival.codec import DEFAULT_PART_BYTES, codec_named
from log_archival.exceptions import LogArchivalError, VerificationError
from log_archival.history import OUTCOME
from log_archival.hooks import CrossAccountS3Hook
from log_archival.hooks.source_clients import source_client
from log_archival.keys import DEFAULT_KEY, DEFAULT_PREFIX, KeyTemplate
from log_archival.manifest import printable
from log_archival.operators.links import ArchiveDayLink, ArchivePrefixLink, console_url
from log_archival.operators.metrics import send_metrics
from log_archival.partition import Partition, choose_partition
from log_archival.pipeline.collect import Collected
from log_archival.pipeline.compressor import Compressor
from log_archival.records import Failure
from log_archival.sources.base import Source

log = logging.getLogger(__name__)

#: For this package's DAGs: transient errors are retried, with growing pauses. Permanent ones fail at once.
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-platform",
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
}
#: So many problems are in a task's error message, all of them in its log.
MAX_LISTED_PROBLEMS = 50
#: So much of it is in the XCom.
MAX_ERROR_CHARS = 2_000


@contextmanager
def reported_outcome(context: Context) -> Iterator[dict[str, Any]]:
    """Have the XCom `OUTCOME` say what the task did, and why it failed; fail without retries on a permanent error.

    The run's note and the page *Log archive* read it. The task's log has the error once, without what caused it in
    botocore or Python, which is logged at level DEBUG.

    :param context: the task's
    :returns: an empty dict, for what is to be pushed when the task ends, however that is
    :raises AirflowFailException: for permanent errors of this package, with their own message; all others are left to
        the task's retries
    """
    outcome: dict[str, Any] = {}
    try:
        yield outcome
    except LogArchivalError as error:
        outcome["error"] = "\n".join(map(printable, str(error).splitlines()))[:MAX_ERROR_CHARS]
        log.debug("the cause", exc_info=error)
        if error.permanent:
            raise AirflowFailException(str(error)) from None
        raise error from None
    finally:
        if outcome:
            context["ti"].xcom_push(key=OUTCOME, value=outcome)
            send_metrics(context, outcome)


class PartitionOperator(BaseOperator):
    """The base of the operators that work on one day.

    :param partition: the day, ``2026-11-22`` (templated); by default the run's own: its partition key, its param
        ``date``, its logical date's day, or the last day that was over when it was triggered
    :param timezone: the archive's time zone
    :param prefix: what the archive account's policies allow
    :param key: the key template, see `log_archival.keys.KeyTemplate`; its own % and {} are not Jinja's
    """

    template_fields: Sequence[str] = ("partition",)

    def __init__(
        self,
        *,
        partition: str | None = None,
        timezone: str = "UTC",
        prefix: str = DEFAULT_PREFIX,
        key: str = DEFAULT_KEY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.partition = partition
        self.timezone = timezone
        self.prefix = prefix
        self.key = key

    @cached_property
    def keys(self) -> KeyTemplate:
        """The key template, checked."""
        return KeyTemplate(self.key, prefix=self.prefix)

    def day(self, context: Context) -> Partition:
        """Return the day of this run.

        :param context: the task's
        :raises SettingsError: when the run names no day, or two
        """
        if self.partition:
            return Partition.parse(self.partition, self.timezone)
        run, date_param = context["dag_run"], (context.get("params") or {}).get("date")
        return choose_partition(
            partition_key(run), date_param, context.get("logical_date"), run.run_after, self.timezone
        )


class CompressionOperator(PartitionOperator):
    """The base of the operators that make archives; see `PartitionOperator` for the other parameters.

    :param codec: ``zstd``, ``gzip`` or ``none`` (templated); files that are compressed already stay as they are
    :param part_size: a stored object has at most this many bytes; larger files are cut at line ends
    :param check_compressed: whether each block is decompressed and compared before it is written or sent
    """

    template_fields: Sequence[str] = (*PartitionOperator.template_fields, "codec")

    def __init__(
        self,
        *,
        codec: str = "zstd",
        part_size: int = DEFAULT_PART_BYTES,
        check_compressed: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.codec = codec
        self.part_size = part_size
        self.check_compressed = check_compressed

    def compressor(self, partition: Partition, sources: Sequence[Source]) -> Compressor:
        """Return what makes the archives.

        :param partition: the day
        :param sources: open the files
        :raises SettingsError: when the codec is unknown, or the key template wrong
        """
        by_name = {source.name: source for source in sources}
        return Compressor(partition, self.keys, by_name, codec_named(self.codec), self.part_size, self.check_compressed)


class ArchiveOperator(PartitionOperator):
    """The base of the operators that write into the archive; see `PartitionOperator` for the other parameters.

    :param bucket: the archive bucket (templated)
    :param aws_conn_id: a connection of type `aws` with ``role_arn`` and ``external_id`` in its extra (templated)
    :param acl: the canned ACL to send; None sends none
    :param kms_key_arn: the archive account's KMS key, if its bucket has one
    :param max_concurrent_requests: how many requests to send at once
    """

    template_fields: Sequence[str] = (*PartitionOperator.template_fields, "bucket", "aws_conn_id")
    operator_extra_links = (ArchivePrefixLink(), ArchiveDayLink())

    def __init__(
        self,
        *,
        bucket: str,
        aws_conn_id: str = DEFAULT_CONN_ID,
        acl: str | None = DEFAULT_ACL,
        kms_key_arn: str | None = None,
        max_concurrent_requests: int = DEFAULT_MAX_CONCURRENT_REQUESTS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.aws_conn_id = aws_conn_id
        self.acl = acl
        self.kms_key_arn = kms_key_arn
        self.max_concurrent_requests = max_concurrent_requests
        # For the links, once it has worked.
        self.worked_on = ""
        self.prefix_url = ""

    def hook(self, context: Context, partition: Partition) -> CrossAccountS3Hook:
        """Return a hook whose session may put below the day's prefix only, and is named after DAG and run.

        :param context: the task's
        :param partition: the day
        """
        ti = context["ti"]
        run = f"{ti.run_id}/{ti.task_id}/{ti.map_index}"
        prefix = self.keys.day_prefix(partition)
        hook = CrossAccountS3Hook(
            self.aws_conn_id,
            bucket=self.bucket,
            prefix=prefix,
            session_name=session_name(ti.dag_id, partition.key, run, ti.try_number),
            acl=self.acl,
            kms_key_arn=self.kms_key_arn,
            max_concurrent_requests=self.max_concurrent_requests,
        )
        self.worked_on, self.prefix_url = partition.key, console_url(hook.role_arn, self.bucket, prefix)
        return hook


def has_tries_left(context: Context) -> bool:
    """Return whether the task is tried again when it fails now.

    :param context: the task's
    """
    ti = context["ti"]
    return ti.try_number <= (ti.max_tries or 0)


def with_connections(sources: Sequence[Source]) -> list[Source]:
    """Return sources whose AWS clients come from Airflow's connections.

    :param sources: as the settings have them
    """
    return [source.with_clients(source_client) for source in sources]


def require_some_source(found: Collected, count: int, context: Context) -> None:
    """Fail while a retry may help sources that failed, or when there is nothing else to archive.

    :param found: what was found in all sources
    :param count: how many sources there are
    :param context: the task's
    :raises SourceError: naming the sources that failed
    """
    if not found.errors:
        return
    error = found.error()
    if len(found.errors) == count or (has_tries_left(context) and not error.permanent):
        raise error
    log.error("%s\nThe other sources are archived; then the run fails, and names these.", error)


def require_no_failures(failures: Sequence[Failure], partition: Partition, remedy: str) -> None:
    """Fail when something is not archived as it should be, and that was not accepted.

    :param failures: of the run
    :param partition: the day
    :param remedy: what to do about it
    :raises VerificationError: naming each of them
    """
    if failed := describe_failures(failures):
        headline = f"{partition.key}: {len(failed)} sources or log files are not archived as they should be"
        hint = f"Everything else is archived, and listed in a manifest. {remedy}"
        raise VerificationError(list_problems(failed, headline), hint=hint)


def describe_failures(failures: Sequence[Failure]) -> list[str]:
    """Return a line for each failure that fails the run.

    :param failures: accepted ones, too
    """
    # A source that failed as a whole says its name itself.
    return [f"{one.source}: {one.name}: {one.error}" if one.name else one.error for one in failures if not one.accepted]


def list_problems(problems: Sequence[object], headline: str) -> str:
    """Return an error message that lists problems; those that are too many for it go to the log.

    :param problems: one a line
    :param headline: the first line
    """
    lines = [f"  {problem}" for problem in problems[:MAX_LISTED_PROBLEMS]]
    if others := problems[MAX_LISTED_PROBLEMS:]:
        lines.append(f"  … and {len(others)} more, in the task's log")
        log.error("%s", "\n".join(map(str, others)))
    return "\n".join([headline + ":", *lines])
