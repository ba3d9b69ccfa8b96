"""What the checks send. A trial sends a request and returns the response.

An argument that depends on the archive is a function of the requester.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Literal

from log_archival.aws.connection import session_policy
from log_archival.least_privilege.requests import PrerequisiteError, Requester, Response

#: Sends what a check tries.
Trial = Callable[[Requester], Response]


def put(**changes: Any) -> Trial:
    """Return an upload that differs from an archive's.

    :param changes: other arguments of `Requester.put`
    """
    return lambda requester: requester.put(**changes)


def put_at(folder: Callable[[str], str]) -> Trial:
    """Return an upload outside of the prefix, to a key that no object has.

    :param folder: returns what the key begins with, given the prefix without its slash
    """
    return put(Key=lambda requester: requester.target.unused_key(folder(requester.target.prefix.rstrip("/"))))


def s3(operation: str, **arguments: Any) -> Trial:
    """Return a request about the bucket, or about a key in it.

    :param operation: the method of the S3 client
    :param arguments: its other arguments
    """
    return lambda requester: requester.send("s3", operation, Bucket=requester.target.bucket, **arguments)


def canary(requester: Requester) -> str:
    """Return the canary's key; it has to exist, since without s3:ListBucket S3 returns 403 for missing keys."""
    return requester.canary


def unused_key(requester: Requester) -> str:
    """Return a key under the prefix that no object has."""
    return requester.target.unused_key()


def generate_data_key(requester: Requester) -> Response:
    """Use the KMS key without S3; nothing is encrypted with the data key of a success."""
    return requester.send("kms", "generate_data_key", KeyId=requester.target.kms_key_arn, KeySpec="AES_256")


def assume_role(**changes: Any) -> Trial:
    """Return an AssumeRole that differs from what the connection says.

    :param changes: other arguments of `Requester.assume_role`
    """
    return lambda requester: requester.assume_role(**changes)


def put_outside_narrowed_session(requester: Requester) -> Response:
    """Upload under the prefix, but outside of what the session policy allows.

    :raises PrerequisiteError: when the session may not upload what its policy allows either
    """
    target = requester.target
    policy = session_policy(
        aws_partition=target.role.aws_partition,
        bucket=target.bucket,
        prefix=f"{target.canary}/",
        with_acl=target.acl is not None,
        kms_key_arn=target.kms_key_arn,
    )
    narrowed = requester.new_session(Policy=policy)
    if code := requester.put(narrowed, Key=f"{target.canary}/{secrets.token_hex(8)}").code:
        raise PrerequisiteError(
            f"the narrowed session could not upload where its policy allows it ({code}); see the check put-a-log"
        )
    return requester.put(narrowed)


def assume_other_roles(requester: Requester, caller: Literal["source", "writer"]) -> Response:
    """Assume the other roles, and as the writer the role itself; return a success if there is one.

    :param requester: sends the requests
    :param caller: Airflow's own credentials, or the role's session
    """
    role = requester.target.role
    itself = [(role.role_arn, role.external_id)] if caller == "writer" else []
    # Each is tried with the external id that it has: a role that requires none accepts any.
    responses = [
        requester.assume_role(caller, RoleArn=role_arn, ExternalId=external_id, SourceIdentity=None)
        for role_arn, external_id in [*requester.target.other_roles, *itself]
    ]
    return next((one for one in responses if not one.code), responses[-1])
