"""What the Airflow connection must have, checked before the first request; and what one session may do.

The connection is of type `aws`. The archive's has `role_arn` and `external_id` in its extra (or the provider's own
`assume_role_kwargs.ExternalId`), that of a source may have them. Everything that is wrong is in one message.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from log_archival.exceptions import ConnectionSettingsError, SettingsError

if TYPE_CHECKING:
    from log_archival.aws.extra import Inspected

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
_KMS_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+", re.ASCII)
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
class ConnectionSettings:
    """What was found in a connection that may assume a role.

    :param region: in which requests are sent
    :param external_id: to assume the role of the connection's extra with, if it has both
    """

    region: str
    external_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RoleSettings:
    """The role to assume, as the connection has it.

    :param role_arn: of the role
    :param aws_partition: ``aws``, ``aws-cn``, ``aws-us-gov``, …
    :param account: the archive account's number
    :param external_id: the agreed external id
    :param assume_role_kwargs: what else goes to AssumeRole, without the external id
    :param region: in which requests are sent
    """

    role_arn: str
    aws_partition: str
    account: str
    external_id: str = field(repr=False)
    assume_role_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    region: str = ""


def check_connection(
    conn_id: str,
    extra: Any,
    *,
    region: str | None = None,
    login: str | None = None,
    password: str | None = None,
    services: Sequence[str] = ("s3",),
) -> ConnectionSettings:
    """Check what every AWS connection has to fulfil, and its role if it has one.

    :param conn_id: the connection's id, for the message
    :param extra: the connection's extra: JSON as text, or what it says
    :param region: what takes precedence over the extra's ``region_name``
    :param login: the connection's login, an access key id
    :param password: the connection's password, the key's secret
    :param services: the AWS services that clients will be made for
    :raises ConnectionSettingsError: with everything that is wrong and what to write where; never with a value
        that is secret
    """
    found = _inspect(extra, region, login, password, services)
    problems, external_id = list(found.problems), None
    if found.extra.get("role_arn"):
        arn = _ROLE_ARN.fullmatch(str(found.extra["role_arn"]))
        kwargs = found.extra.get("assume_role_kwargs", {})
        method = found.extra.get("assume_role_method", "assume_role")
        problems += [
            *_role_arn_problems(found, arn),
            *_external_id_problems(found.extra, kwargs, required=False),
            *_method_problems(found.extra, method),
            *_duration_problems(kwargs),
        ]
        if method == "assume_role":
            external_id = found.extra.get("external_id") or kwargs.get("ExternalId")
    if problems or not found.region:
        raise _refusal(conn_id, problems, {"region_name": "eu-west-1"})
    return ConnectionSettings(found.region, external_id)


def role_settings(
    conn_id: str,
    extra: Any,
    *,
    bucket: str,
    region: str | None = None,
    login: str | None = None,
    password: str | None = None,
) -> RoleSettings:
    """Read and check the connection of the archive, which has to have a role and an external id.

    :param conn_id: the connection's id, for the message
    :param extra: the connection's extra: JSON as text, or what it says
    :param bucket: the archive bucket
    :param region: what takes precedence over the extra's ``region_name``
    :param login: the connection's login, an access key id
    :param password: the connection's password, the key's secret
    :raises ConnectionSettingsError: with everything that is wrong and what to write where; never with a value
        that is secret
    """
    found = _inspect(extra, region, login, password, ("s3", "sts"))
    # Each run has its own session name; one in the connection is for the provider's hooks (Test connection).
    kwargs = {
        name: value for name, value in found.extra.get("assume_role_kwargs", {}).items() if name != "RoleSessionName"
    }
    arn = _ROLE_ARN.fullmatch(str(found.extra.get("role_arn") or ""))
    problems = [
        *found.problems,
        *_role_arn_problems(found, arn),
        *_external_id_problems(found.extra, kwargs, required=True),
        *_session_problems(found.extra, kwargs),
        *_duration_problems(kwargs, MAX_SESSION_SECONDS if found.long_term_key else MAX_CHAINED_SESSION_SECONDS),
        *([] if _BUCKET.fullmatch(bucket) else [_BUCKET_PROBLEM.format(bucket)]),
    ]
    if problems or arn is None or not found.region:
        raise _refusal(conn_id, problems, _EXAMPLE)
    nested = kwargs.pop("ExternalId", None)
    return RoleSettings(arn[0], arn[1], arn[2], found.extra.get("external_id") or nested, kwargs, found.region)


def _inspect(
    extra: Any, region: str | None, login: str | None, password: str | None, services: Sequence[str]
) -> "Inspected":
    # It loads botocore's client, which DAGs and archive.yaml, read without it, do not wait for.
    from log_archival.aws.extra import inspect

    return inspect(extra, region=region, login=login, password=password, services=services)


def _refusal(conn_id: str, problems: Sequence[str], example: Mapping[str, str]) -> ConnectionSettingsError:
    return ConnectionSettingsError(
        f"connection {conn_id!r}: " + "; ".join(problems), hint="An extra that works: " + json.dumps(example)
    )


def _role_arn_problems(found: "Inspected", arn: re.Match[str] | None) -> Iterator[str]:
    given = found.extra.get("role_arn")
    if not given:
        yield 'the extra has no "role_arn"; write the RoleArn output of the archive account\'s stack'
    elif not arn:
        yield f'"role_arn" is {given!r:.200}, which is not of the form arn:aws:iam::222222222222:role/LogWriterRole'
    elif found.aws_partition and arn[1] != found.aws_partition:
        yield f'"role_arn" is of the AWS partition {arn[1]!r}, but the region is {found.region!r}'


def _external_id_problems(extra: Mapping[str, Any], kwargs: Mapping[str, Any], *, required: bool) -> Iterator[str]:
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
        if required:
            yield 'the extra has no "external_id"; write the one that the archive account\'s stack was given'
    elif not isinstance(external_id, str) or not _EXTERNAL_ID.fullmatch(external_id):
        # Not the value: it is meant to be known to two parties only.
        yield '"external_id" has to be 2 to 1,224 letters, digits or any of _+=,.@:/-'


def _method_problems(extra: Mapping[str, Any], method: str) -> Iterator[str]:
    """Yield what is wrong with how a source's role is assumed. SAML would need libraries that nothing here has."""
    if method not in ("assume_role", "assume_role_with_web_identity"):
        yield f'"assume_role_method" is {method!r}; it can be "assume_role" or "assume_role_with_web_identity"'
    elif method == "assume_role_with_web_identity":
        name = "assume_role_with_web_identity_token_file"
        if extra.get("assume_role_with_web_identity_federation") != "file":
            yield '"assume_role_with_web_identity_federation" has to be "file"'
        if not Path(extra.get(name) or os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", "")).is_file():
            yield f'"{name}" has to be the path of a file on this machine'


def _session_problems(extra: Mapping[str, Any], kwargs: Mapping[str, Any]) -> Iterator[str]:
    if (method := extra.get("assume_role_method", "assume_role")) != "assume_role":
        yield f'"assume_role_method" is {method!r}, which sends no external id; leave it out'
    if extra.get("config_kwargs", {}).get("signature_version") == "unsigned":
        yield '"config_kwargs"."signature_version" is "unsigned", but a role is needed to add logs; leave it out'
    for name in ("RoleArn", "Policy", "PolicyArns"):
        if name in kwargs:
            yield f'"assume_role_kwargs" has "{name}", which each run sets by itself; leave it out'


def _duration_problems(kwargs: Mapping[str, Any], max_seconds: int = MAX_SESSION_SECONDS) -> Iterator[str]:
    seconds = kwargs.get("DurationSeconds", MIN_SESSION_SECONDS)
    # By type: a bool is an int of Python's.
    if type(seconds) is not int or not MIN_SESSION_SECONDS <= seconds <= max_seconds:
        why = "" if max_seconds == MAX_SESSION_SECONDS else ", since a role that assumes a role gets an hour at most"
        limits = f"{MIN_SESSION_SECONDS} to {max_seconds}{why}"
        yield f'"assume_role_kwargs"."DurationSeconds" is {seconds!r:.50}; it can be {limits}'


def require_bucket(bucket: str) -> str:
    """Return a bucket's name.

    :param bucket: the name
    :raises SettingsError: when no bucket can have it
    """
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(_BUCKET_PROBLEM.format(bucket))
    return bucket


def require_acl(acl: str | None) -> str | None:
    """Return the canned ACL to send with each put: the bucket owner's, or None for no ACL.

    The archive bucket disables ACLs, so that S3 accepts no other, and its policy names this one:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-ownership-error-responses.html

    :param acl: the ACL
    :raises SettingsError: for any other
    """
    if acl in (None, DEFAULT_ACL):
        return acl
    public = " It would make logs public." if str(acl).startswith("public") else ""
    raise SettingsError(
        f"the ACL {acl!r:.50} can't be: the archive bucket accepts {DEFAULT_ACL} only, or none.{public}",
        hint=f"Write {DEFAULT_ACL}, or null where the archive account was deployed with RequireAcl=false.",
    )


def require_kms_key_arn(arn: str | None) -> str | None:
    """Return the ARN of a KMS key, or None for none.

    :param arn: the ARN
    :raises SettingsError: for anything else, an alias among it, which in a policy doesn't stand for its key:
        https://docs.aws.amazon.com/kms/latest/developerguide/cmks-in-iam-policies.html
    """
    if arn is None or _KMS_KEY_ARN.fullmatch(arn):
        return arn
    alias = " An alias gives no permission in a session's policy: write the ARN of its key." if "alias/" in arn else ""
    raise SettingsError(
        f"the KMS key {arn!r:.200} is not of the form arn:aws:kms:eu-west-1:222222222222:key/….{alias}",
        hint="Write the parameter KmsKeyArn of the archive account's stack.",
    )


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

    :param aws_partition: ``aws``, ``aws-cn``, ``aws-us-gov``, …
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
