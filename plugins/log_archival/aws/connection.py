"""What the Airflow connection must have, checked before the first request; and what one session may do.

The connection is of type `aws`; its extra has `role_arn` and `external_id` (or the provider's own
`assume_role_kwargs.ExternalId`). Everything that is wrong is in one message.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from log_archival.exceptions import ConnectionSettingsError, SettingsError

DEFAULT_CONN_ID = "log_archive"
DEFAULT_ACL = "bucket-owner-full-control"
# The forms below are STS's and S3's own:
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_ROLE_ARN = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/((?:[!-~]+/)?[\w+=,.@-]{1,64})", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_BUCKET = re.compile(
    r"(?!xn--|sthree-|amzn-s3-demo-)(?!.*\.\.)(?!(?:\d+\.){3}\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?<!-s3alias)(?<!--ol-s3)"
)
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_PARTITION_REGIONS = {"aws-cn": "cn-", "aws-us-gov": "us-gov-"}
MIN_SESSION_SECONDS = 900
MAX_SESSION_SECONDS = 12 * 3600
#: Role chaining (a role's credentials assuming another role) lasts an hour at most.
MAX_CHAINED_SESSION_SECONDS = 3600
MAX_SESSION_NAME_CHARS = 64
SESSION_NAME_PREFIX = "log-archival@"
MAX_SESSION_POLICY_CHARS = 2048
_MISSPELLED = ("ExternalId", "externalId", "externalID", "external-id", "ExternalID", "externalid")
_EXAMPLE = {
    "role_arn": "arn:aws:iam::222222222222:role/LogWriterRole",
    "external_id": "<the agreed external id>",
    "region_name": "eu-west-1",
}


@dataclass(frozen=True)
class RoleSettings:
    """The role to assume, as the connection has it.

    :param role_arn: of the role
    :param aws_partition: ``aws``, ``aws-cn`` or ``aws-us-gov``
    :param account: the archive account's number
    :param external_id: the agreed external id
    :param assume_role_kwargs: what else goes to AssumeRole, without the external id
    """

    role_arn: str
    aws_partition: str
    account: str
    external_id: str = field(repr=False)
    assume_role_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)


def role_settings(
    conn_id: str,
    extra: Mapping[str, Any],
    *,
    region: str | None,
    bucket: str | None = None,
    long_term_key: bool = False,
) -> RoleSettings:
    """Read and check a connection's extra.

    :param conn_id: the connection's id, for the message
    :param extra: the connection's extra
    :param region: the region that will be used, if any is known
    :param bucket: the bucket that will be written to, if it is known
    :param long_term_key: whether the connection has a user's own access key, so that no roles are chained
    :raises ConnectionSettingsError: with everything that is wrong and what to write where; never with a value
        that is secret
    """
    check = _ExtraCheck(extra, long_term_key=long_term_key)
    arn, external_id = check.role_arn(), check.external_id()
    check.assume_role()
    check.own_credentials()
    check.session_duration()
    check.region(region, arn)
    if bucket is not None and not _BUCKET.fullmatch(bucket):
        check.problems.append(_bucket_problem(bucket))
    if check.problems or arn is None:
        raise ConnectionSettingsError(
            f"connection {conn_id!r}: " + "; ".join(check.problems),
            hint="An extra that works: " + json.dumps(_EXAMPLE),
        )
    return RoleSettings(arn[0], arn[1], arn[2], external_id, check.kwargs)


class _ExtraCheck:
    """Checks one part of an extra after the other, and collects the problems."""

    def __init__(self, extra: Mapping[str, Any], *, long_term_key: bool) -> None:
        self.extra, self.long_term_key = extra, long_term_key
        self.problems: list[str] = []
        given = extra.get("assume_role_kwargs") or {}
        if not isinstance(given, Mapping):
            self.problems.append('"assume_role_kwargs" has to be an object, such as {"ExternalId": "…"}')
            given = {}
        # Each run has its own session name; one in the connection is for the provider's hooks (Test connection).
        self.kwargs = {name: value for name, value in given.items() if name != "RoleSessionName"}

    def role_arn(self) -> re.Match[str] | None:
        arn = str(self.extra.get("role_arn") or "")
        match = _ROLE_ARN.fullmatch(arn)
        if not arn:
            self.problems.append(
                'the extra has no "role_arn"; write the RoleArn output of the archive account\'s stack'
            )
        elif not match:
            self.problems.append(
                f'"role_arn" is {arn!r}, which is not of the form arn:aws:iam::222222222222:role/LogWriterRole'
            )
        return match

    def external_id(self) -> str:
        top, nested = self.extra.get("external_id"), self.kwargs.pop("ExternalId", None)
        external_id = top or nested
        misspelled = [
            *(name for name in _MISSPELLED if name in self.extra),
            *(f"assume_role_kwargs.{name}" for name in (*_MISSPELLED[1:], "external_id") if name in self.kwargs),
        ]
        if top and nested and top != nested:
            self.problems.append(
                'the external ids in "external_id" and in "assume_role_kwargs"."ExternalId" differ; keep one of the two'
            )
        elif misspelled:
            self.problems.append(f'"{misspelled[0]}" is not read by anything; write the external id as "external_id"')
        elif not external_id:
            self.problems.append(
                'the extra has no "external_id"; write the one that the archive account\'s stack was given'
            )
        elif not isinstance(external_id, str) or not _EXTERNAL_ID.fullmatch(external_id):
            # Not the value: it is meant to be known to two parties only.
            self.problems.append('"external_id" has to be 2 to 1,224 letters, digits or any of _+=,.@:/-')
        return str(external_id)

    def assume_role(self) -> None:
        method = self.extra.get("assume_role_method", "assume_role")
        if method != "assume_role":
            self.problems.append(f'"assume_role_method" is {method!r}, which sends no external id; leave it out')
        self.problems += [
            f'"assume_role_kwargs" has "{name}", which each run sets by itself; leave it out'
            for name in ("RoleArn", "Policy", "PolicyArns")
            if name in self.kwargs
        ]

    def own_credentials(self) -> None:
        if bool(self.extra.get("aws_access_key_id")) != bool(self.extra.get("aws_secret_access_key")):
            self.problems.append(
                'one of "aws_access_key_id" and "aws_secret_access_key" is missing; give both or neither'
            )
        if self.extra.get("profile_name") and self.extra.get("aws_access_key_id"):
            self.problems.append('"profile_name" and "aws_access_key_id" contradict each other; keep one of the two')

    def session_duration(self) -> None:
        seconds = self.kwargs.get("DurationSeconds", MIN_SESSION_SECONDS)
        longest = MAX_SESSION_SECONDS if self.long_term_key else MAX_CHAINED_SESSION_SECONDS
        is_number = isinstance(seconds, int) and not isinstance(seconds, bool)
        if not is_number or not MIN_SESSION_SECONDS <= seconds <= longest:
            why = "" if self.long_term_key else ", since a role that assumes a role gets an hour at most"
            self.problems.append(
                f'"assume_role_kwargs"."DurationSeconds" is {seconds!r}; it can be {MIN_SESSION_SECONDS} to'
                f" {longest}{why}"
            )

    def region(self, region: str | None, arn: re.Match[str] | None) -> None:
        if not region:
            self.problems.append('no region is known; write "region_name", for example "eu-west-1"')
        elif not _REGION.fullmatch(region):
            self.problems.append(f'the region {region!r} can\'t be; write "region_name", for example "eu-west-1"')
        elif arn and not _same_partition(arn[1], region):
            self.problems.append(f'"role_arn" is of the AWS partition {arn[1]!r}, but the region is {region!r}')


def _same_partition(aws_partition: str, region: str) -> bool:
    of_region = next((name for name, start in _PARTITION_REGIONS.items() if region.startswith(start)), "aws")
    # Partitions that aren't known here (the isolated ones) have regions of their own.
    return aws_partition == of_region or (of_region == "aws" and aws_partition not in ("aws", *_PARTITION_REGIONS))


def _bucket_problem(bucket: str) -> str:
    return f"the bucket {bucket!r} can't be: 3 to 63 lower-case letters, digits, dots and dashes"


def require_bucket(bucket: str) -> str:
    """Return a bucket's name.

    :param bucket: the name
    :raises SettingsError: when no bucket can have it
    """
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(_bucket_problem(bucket))
    return bucket


def session_name(dag_id: str, partition: str, run: str, try_number: int) -> str:
    """Return the RoleSessionName: what the archive account's CloudTrail shows for every request of a run.

    ``log-archival@archive_logs@2026-11-22@1f3a9c2b.1``: DAG, partition, a hash of the run and task, the try.

    :param dag_id: the DAG
    :param partition: the day
    :param run: what else distinguishes one session from another: run id, task id, map index
    :param try_number: of the task
    """
    tail = f"@{partition}@{hashlib.sha256(f'{dag_id}/{run}'.encode()).hexdigest()[:8]}.{try_number}"
    room = MAX_SESSION_NAME_CHARS - len(SESSION_NAME_PREFIX) - len(tail)
    return SESSION_NAME_PREFIX + re.sub(r"[^\w+=,.-]", "_", dag_id, flags=re.ASCII)[:room] + tail


def session_policy(
    *, aws_partition: str, bucket: str, prefix: str, with_acl: bool, kms_key_arn: str | None = None
) -> str:
    """Return the session policy of one run: of what the role may do, only puts under the run's own prefix.

    :param aws_partition: ``aws``, ``aws-cn`` or ``aws-us-gov``
    :param bucket: the archive bucket
    :param prefix: the run's prefix
    :param with_acl: whether an ACL is sent
    :param kms_key_arn: the archive account's KMS key, if its bucket has one
    :raises SettingsError: when it is longer than STS accepts
    """
    actions: str | list[str] = ["s3:PutObject", "s3:PutObjectAcl"] if with_acl else "s3:PutObject"
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": actions, "Resource": f"arn:{aws_partition}:s3:::{bucket}/{prefix}*"}
    ]
    if kms_key_arn:
        statements.append({"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": kms_key_arn})
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    if len(policy) > MAX_SESSION_POLICY_CHARS:
        raise SettingsError(
            f"the session policy for {prefix!r} has {len(policy):,} characters; STS accepts"
            f" {MAX_SESSION_POLICY_CHARS:,}"
        )
    return policy
