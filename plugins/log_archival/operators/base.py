"""What the operators share: the archive, the day, the hook, the manifest, and how a task fails."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from log_archival.aws import connection
from log_archival.hooks.assumed_role import DEFAULT_CONN_ID
from log_archival.exceptions import LogArchivalError
from log_archival.hooks.archive import DEFAULT_ACL, CrossAccountS3Hook
from log_archival.keys import DEFAULT_KEY, KeyTemplate
from log_archival.records import Archive, Receipt, manifest_body
from log_archival.partition import Partition, choose_partition

log = logging.getLogger(__name__)

#: For this package's DAGs: what passes is tried again, with growing pauses. What is permanent fails at once.
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-platform",
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
}


@contextmanager
def failing_at_once() -> Iterator[None]:
    """Fail the task without retries on an error that trying again can't help; the message is the error's own."""
    try:
        yield
    except LogArchivalError as error:
        if error.permanent:
            raise AirflowFailException(str(error)) from error
        raise


def run_partition(context: Context, timezone: str) -> Partition:
    """The day that the run of this task context archives.

    :raises SettingsError: when the run names no day, or two
    """
    run = context["dag_run"]
    return choose_partition(
        date_param=(context.get("params") or {}).get("date") or None,
        partition_key=run.partition_key,
        logical_date=context.get("logical_date"),
        timezone=timezone,
    )


class ArchiveOperator(BaseOperator):
    """What the operators of this package share: the archive, and the day.

    :param bucket: the archive bucket (templated)
    :param aws_conn_id: a connection of type `aws` with ``role_arn`` and ``external_id`` in its extra (templated)
    :param partition: the day, ``2026-11-22`` (templated); by default the run's own
    :param timezone: the archive's time zone
    :param prefix: what the archive account's policies allow
    :param key: the key template, see `log_archival.keys.KeyTemplate`; its own % and {} are not Jinja's
    :param acl: the canned ACL to send; None sends none
    :param kms_key_arn: the archive account's KMS key, if its bucket has one
    :param connections: how many requests may be under way at once
    """

    template_fields: Sequence[str] = ("bucket", "aws_conn_id", "partition")

    def __init__(
        self,
        *,
        bucket: str,
        aws_conn_id: str = DEFAULT_CONN_ID,
        partition: str | None = None,
        timezone: str = "UTC",
        prefix: str = "logs/",
        key: str = DEFAULT_KEY,
        acl: str | None = DEFAULT_ACL,
        kms_key_arn: str | None = None,
        connections: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.aws_conn_id = aws_conn_id
        self.partition = partition
        self.timezone = timezone
        self.prefix = prefix
        self.key = key
        self.acl = acl
        self.kms_key_arn = kms_key_arn
        self.connections = connections

    @cached_property
    def keys(self) -> KeyTemplate:
        """The key template, checked."""
        return KeyTemplate(self.key, prefix=self.prefix)

    def day(self, context: Context) -> Partition:
        """The day of this run."""
        if self.partition:
            return Partition.parse(self.partition, self.timezone)
        return run_partition(context, self.timezone)

    def hook(self, context: Context, partition: Partition) -> CrossAccountS3Hook:
        """A hook whose session can put under the day's prefix only, and says whose it is."""
        ti = context["ti"]
        return CrossAccountS3Hook(
            self.aws_conn_id,
            bucket=self.bucket,
            prefix=self.keys.day_prefix(partition),
            session_name=connection.session_name(
                ti.dag_id, partition.key, f"{ti.run_id}/{ti.task_id}/{ti.map_index}", ti.try_number
            ),
            acl=self.acl,
            kms_key_arn=self.kms_key_arn,
            connections=self.connections,
        )


def put_manifest(
    hook: CrossAccountS3Hook, keys: KeyTemplate, partition: Partition, archives: list[Archive], context: Context
) -> Receipt:
    """Put the manifest, the commit mark of a partition's run; the same archives give the same manifest."""
    body = manifest_body(partition, archives)
    digest = hashlib.sha256(body).hexdigest()
    ti = context["ti"]
    return hook.put(
        keys.manifest_key(partition, digest),
        body,
        content_type="application/json",
        sha256=digest,
        size=len(body),
        metadata=_metadata(ti.dag_id, ti.run_id, datetime.now(UTC).isoformat(timespec="seconds")),
    )


def _metadata(dag_id: str, run_id: str, created_at: str) -> dict[str, str]:
    """When, and by which DAG and run: metadata of the manifest, so that the same content keeps the same key."""
    # User metadata travels as HTTP headers: ASCII, without line ends.
    return {
        name: json.dumps(value)[1:-1][:512]
        for name, value in (("dag-id", dag_id), ("run-id", run_id), ("created-at", created_at))
    }


def listed(problems: Sequence[object], headline: str, most: int = 50) -> str:
    lines = [f"  {problem}" for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"  … and {len(problems) - most} more, in the task's log")
        for problem in problems[most:]:
            log.error("%s", problem)
    return "\n".join([headline + ":", *lines])
