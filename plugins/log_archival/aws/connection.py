"""What the Airflow connection must have, checked before the first request; and what one session may do.

The connection is of type `aws`; its extra has `role_arn` and `external_id` (or the provider's own
`assume_role_kwargs.ExternalId`). Everything that is wrong is in one message.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
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
_BUCKET_PROBLEM = "the bucket {!r} can't be: 3 to 63 lower-case letters, digits, dots and dashes"
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
    conn_id: str, extra: Mapping[str, Any], *, region: str | None, bucket: str, long_term_key: bool
) -> RoleSettings:
    """Read and check a connection's extra.

    :param conn_id: the connection's id, for the message
    :param extra: the connection's extra
    :param region: the region that will be used, if any is known
    :param bucket: the archive bucket
    :param long_term_key: whether the connection has a user's own access key, so that no roles are chained
    :raises ConnectionSettingsError: with everything that is wrong and what to write where; never with a value
        that is secret
    """
    given = extra.get("assume_role_kwargs") or {}
    is_object = isinstance(given, Mapping)
    # Each run has its own session name; one in the connection is for the provider's hooks (Test connection).
    kwargs = {name: value for name, value in given.items() if name != "RoleSessionName"} if is_object else {}
    arn = _ROLE_ARN.fullmatch(str(extra.get("role_arn") or ""))
    problems = [
        *([] if is_object else ['"assume_role_kwargs" has to be an object, such as {"ExternalId": "…"}']),
        *_role_arn_problems(extra, arn),
        *_external_id_problems(extra, kwargs),
        *_assume_role_problems(extra, kwargs, MAX_SESSION_SECONDS if long_term_key else MAX_CHAINED_SESSION_SECONDS),
        *_region_problems(region, arn),
        *([] if _BUCKET.fullmatch(bucket) else [_BUCKET_PROBLEM.format(bucket)]),
    ]
    if problems or arn is None:
        raise ConnectionSettingsError(
            f"connection {conn_id!r}: " + "; ".join(problems), hint="An extra that works: " + json.dumps(_EXAMPLE)
        )
    nested = kwargs.pop("ExternalId", None)
    return RoleSettings(arn[0], arn[1], arn[2], extra.get("external_id") or nested, kwargs)


def _role_arn_problems(extra: Mapping[str, Any], arn: re.Match[str] | None) -> Iterator[str]:
    if not extra.get("role_arn"):
        yield 'the extra has no "role_arn"; write the RoleArn output of the archive account\'s stack'
    elif not arn:
        given = str(extra["role_arn"])
        yield f'"role_arn" is {given!r}, which is not of the form arn:aws:iam::222222222222:role/LogWriterRole'


def _external_id_problems(extra: Mapping[str, Any], kwargs: Mapping[str, Any]) -> Iterator[str]:
    top, nested = extra.get("external_id"), kwargs.get("ExternalId")
    external_id = top or nested
    misspelled = [
        *(name for name in _MISSPELLED if name in extra),
        *(f"assume_role_kwargs.{name}" for name in (*_MISSPELLED[1:], "external_id") if name in kwargs),
    ]
    if top and nested and top != nested:
        yield 'the external ids in "external_id" and in "assume_role_kwargs"."ExternalId" differ; keep one of the two'
    elif misspelled:
        yield f'"{misspelled[0]}" is not read by anything; write the external id as "external_id"'
    elif not external_id:
        yield 'the extra has no "external_id"; write the one that the archive account\'s stack was given'
    elif not isinstance(external_id, str) or not _EXTERNAL_ID.fullmatch(external_id):
        # Not the value: it is meant to be known to two parties only.
        yield '"external_id" has to be 2 to 1,224 letters, digits or any of _+=,.@:/-'


def _assume_role_problems(extra: Mapping[str, Any], kwargs: Mapping[str, Any], max_seconds: int) -> Iterator[str]:
    if (method := extra.get("assume_role_method", "assume_role")) != "assume_role":
        yield f'"assume_role_method" is {method!r}, which sends no external id; leave it out'
    for name in {"RoleArn", "Policy", "PolicyArns"} & kwargs.keys():
        yield f'"assume_role_kwargs" has "{name}", which each run sets by itself; leave it out'
    if bool(extra.get("aws_access_key_id")) != bool(extra.get("aws_secret_access_key")):
        yield 'one of "aws_access_key_id" and "aws_secret_access_key" is missing; give both or neither'
    if extra.get("profile_name") and extra.get("aws_access_key_id"):
        yield '"profile_name" and "aws_access_key_id" contradict each other; keep one of the two'
    seconds = kwargs.get("DurationSeconds", MIN_SESSION_SECONDS)
    # By type: a bool is an int of Python's.
    if type(seconds) is not int or not MIN_SESSION_SECONDS <= seconds <= max_seconds:
        why = "" if max_seconds == MAX_SESSION_SECONDS else ", since a role that assumes a role gets an hour at most"
        limits = f"{MIN_SESSION_SECONDS} to {max_seconds}{why}"
        yield f'"assume_role_kwargs"."DurationSeconds" is {seconds!r}; it can be {limits}'


def _region_problems(region: str | None, arn: re.Match[str] | None) -> Iterator[str]:
    if not region:
        yield 'no region is known; write "region_name", for example "eu-west-1"'
    elif not _REGION.fullmatch(region):
        yield f'the region {region!r} can\'t be; write "region_name", for example "eu-west-1"'
    elif arn and any((arn[1] == name) != region.startswith(start) for name, start in _PARTITION_REGIONS.items()):
        # Partitions that aren't known here (the isolated ones) have regions of their own.
        yield f'"role_arn" is of the AWS partition {arn[1]!r}, but the region is {region!r}'


def require_bucket(bucket: str) -> str:
    """Return a bucket's name.

    :param bucket: the name
    :raises SettingsError: when no bucket can have it
    """
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(_BUCKET_PROBLEM.format(bucket))
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
