"""What the Airflow connection must say, checked before the first request; and what one session may do.

The connection is of type `aws`; its extra has `role_arn` and `external_id` (or the provider's own
`assume_role_kwargs.ExternalId`). Everything that is wrong is said in one message.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from log_archival.exceptions import ConnectionSettingsError, SettingsError

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
#: Role chaining (a role's credentials assuming another role) lasts an hour at most.
MAX_CHAINED_SECONDS = 3600
MAX_SESSION_NAME = 64
SESSION_NAME_PREFIX = "log-archival@"
MAX_SESSION_POLICY = 2048
_MISSPELT = ("ExternalId", "externalId", "externalID", "external-id", "ExternalID", "externalid")


@dataclass(frozen=True)
class RoleSettings:
    """The role to assume, as the connection has it."""

    role_arn: str
    aws_partition: str  # aws, aws-cn, aws-us-gov
    account: str
    external_id: str = field(repr=False)
    #: What else goes to AssumeRole, without the external id.
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

    :param region: the region that will be used, if any is known
    :param bucket: the bucket that will be written to, if it is known
    :param long_term_key: whether the connection has a user's own access key, so that no roles are chained
    :raises ConnectionSettingsError: with everything that is wrong and what to write where; never with a value
        that is secret
    """
    wrong: list[str] = []
    given = extra.get("assume_role_kwargs") or {}
    if not isinstance(given, Mapping):
        wrong.append('"assume_role_kwargs" has to be an object, such as {"ExternalId": "…"}')
        given = {}
    # Each run has a session name of its own; one in the connection serves the provider's hooks (Test connection).
    kwargs = {name: value for name, value in given.items() if name != "RoleSessionName"}

    arn = str(extra.get("role_arn") or "")
    match = _ROLE_ARN.fullmatch(arn)
    if not arn:
        wrong.append('the extra has no "role_arn"; write the RoleArn output of the archive account\'s stack')
    elif not match:
        wrong.append(f'"role_arn" is {arn!r}, which is not of the form arn:aws:iam::222222222222:role/LogWriterRole')

    top, nested = extra.get("external_id"), kwargs.pop("ExternalId", None)
    external_id = top or nested
    misplaced = [
        *(name for name in _MISSPELT if name in extra),
        *(f"assume_role_kwargs.{name}" for name in (*_MISSPELT[1:], "external_id") if name in kwargs),
    ]
    if top and nested and top != nested:
        wrong.append(
            'the external ids in "external_id" and in "assume_role_kwargs"."ExternalId" differ; keep one of the two'
        )
    elif misplaced:
        wrong.append(f'"{misplaced[0]}" is not read by anything; write the external id as "external_id"')
    elif not external_id:
        wrong.append('the extra has no "external_id"; write the one that the archive account\'s stack was given')
    elif not isinstance(external_id, str) or not _EXTERNAL_ID.fullmatch(external_id):
        # Not the value: it is meant to be known to two parties only.
        wrong.append('"external_id" has to be 2 to 1,224 letters, digits or any of _+=,.@:/-')

    if (method := extra.get("assume_role_method", "assume_role")) != "assume_role":
        wrong.append(f'"assume_role_method" is {method!r}, which sends no external id; leave it out')
    for name in ("RoleArn", "Policy", "PolicyArns"):
        if name in kwargs:
            wrong.append(f'"assume_role_kwargs" has "{name}", which each run sets by itself; leave it out')
    if bool(extra.get("aws_access_key_id")) != bool(extra.get("aws_secret_access_key")):
        wrong.append('one of "aws_access_key_id" and "aws_secret_access_key" is missing; give both or neither')
    if extra.get("profile_name") and extra.get("aws_access_key_id"):
        wrong.append('"profile_name" and "aws_access_key_id" contradict each other; keep one of the two')
    duration = kwargs.get("DurationSeconds", 900)
    longest = 12 * 3600 if long_term_key else MAX_CHAINED_SECONDS
    if not isinstance(duration, int) or isinstance(duration, bool) or not 900 <= duration <= longest:
        why = "" if long_term_key else ", since a role that assumes a role gets an hour at most"
        wrong.append(f'"assume_role_kwargs"."DurationSeconds" is {duration!r}; it can be 900 to {longest}{why}')

    if not region:
        wrong.append('no region is known; write "region_name", for example "eu-west-1"')
    elif not _REGION.fullmatch(region):
        wrong.append(f'the region {region!r} can\'t be; write "region_name", for example "eu-west-1"')
    elif match:
        wanted = _PARTITION_REGIONS.get(match[1], "")
        known = next((part for part, start in _PARTITION_REGIONS.items() if region.startswith(start)), "aws")
        if (wanted and not region.startswith(wanted)) or (not wanted and match[1] == "aws" and known != "aws"):
            wrong.append(f'"role_arn" is of the AWS partition {match[1]!r}, but the region is {region!r}')
    if bucket is not None and not _BUCKET.fullmatch(bucket):
        wrong.append(f"the bucket {bucket!r} can't be: 3 to 63 lower-case letters, digits, dots and dashes")

    if wrong or not match or not isinstance(external_id, str):
        raise ConnectionSettingsError(
            f"connection {conn_id!r}: " + "; ".join(wrong),
            hint="An extra that works: "
            + json.dumps(
                {
                    "role_arn": "arn:aws:iam::222222222222:role/LogWriterRole",
                    "external_id": "<the agreed external id>",
                    "region_name": "eu-west-1",
                }
            ),
        )
    return RoleSettings(arn, match[1], match[2], external_id, kwargs)


def require_bucket(bucket: str) -> str:
    """Check a bucket's name.

    :raises SettingsError: when no bucket can have it
    """
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(f"bucket {bucket!r} can't be: 3 to 63 lower-case letters, digits, dots and dashes")
    return bucket


def session_name(dag_id: str, partition: str, run: str, try_number: int) -> str:
    """The RoleSessionName: what the archive account's CloudTrail shows for every request of a run.

    ``log-archival@archive_logs@2026-11-22@1f3a9c2b.1``: DAG, partition, a hash of the run and task, the try.

    :param run: what else tells one session from another: run id, task id, map index
    """
    tail = f"@{partition}@{hashlib.sha256(f'{dag_id}/{run}'.encode()).hexdigest()[:8]}.{try_number}"
    room = MAX_SESSION_NAME - len(SESSION_NAME_PREFIX) - len(tail)
    return SESSION_NAME_PREFIX + re.sub(r"[^\w+=,.-]", "_", dag_id, flags=re.ASCII)[:room] + tail


def session_policy(
    *, aws_partition: str, bucket: str, prefix: str, with_acl: bool, kms_key_arn: str | None = None
) -> str:
    """The session policy of one run: of what the role may do, only puts under the run's own prefix.

    :raises SettingsError: when it is longer than STS takes
    """
    actions: str | list[str] = ["s3:PutObject", "s3:PutObjectAcl"] if with_acl else "s3:PutObject"
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": actions, "Resource": f"arn:{aws_partition}:s3:::{bucket}/{prefix}*"}
    ]
    if kms_key_arn:
        statements.append({"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": kms_key_arn})
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    if len(policy) > MAX_SESSION_POLICY:
        raise SettingsError(
            f"the session policy for {prefix!r} has {len(policy):,} characters; STS takes {MAX_SESSION_POLICY:,}"
        )
    return policy
