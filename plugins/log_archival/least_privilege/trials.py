"""What the checks send. Each function is a trial, which sends a request and returns the response, or returns one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from log_archival.aws.connection import session_policy
from log_archival.least_privilege.requests import Caller, PrerequisiteError, Requester, Response

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
    return lambda requester: requester.put(requester.target.unused_key(folder(requester.target.prefix.rstrip("/"))))


def about_canary(operation: str, **arguments: Any) -> Trial:
    """Return a request about the canary; it has to exist, since without s3:ListBucket S3 returns 403 for missing keys.

    :param operation: the method of the S3 client
    :param arguments: its other arguments
    """
    return lambda requester: requester.send(
        "s3", operation, Bucket=requester.target.bucket, Key=requester.canary, **arguments
    )


def about_unused_key(operation: str, folder: str | None = None, **arguments: Any) -> Trial:
    """Return a request about a key that no object has.

    :param operation: the method of the S3 client
    :param folder: what the key begins with; by default, it is under the prefix
    :param arguments: its other arguments
    """
    return lambda requester: requester.send(
        "s3", operation, Bucket=requester.target.bucket, Key=requester.target.unused_key(folder), **arguments
    )


def about_bucket(operation: str, **arguments: Any) -> Trial:
    """Return a request about the bucket.

    :param operation: the method of the S3 client
    :param arguments: its other arguments
    """
    return lambda requester: requester.send("s3", operation, Bucket=requester.target.bucket, **arguments)


def list_canary(operation: str) -> Trial:
    """Return a listing of the canary's key only, so that it shows nothing else.

    :param operation: the method of the S3 client
    """
    return lambda requester: requester.send(
        "s3", operation, Bucket=requester.target.bucket, Prefix=requester.target.canary
    )


def put_over_canary(requester: Requester) -> Response:
    """Upload the canary again, the way archives are uploaded."""
    return requester.put(requester.canary)


def replace_canary_if_match(requester: Requester) -> Response:
    """Upload over the canary with an ETag that no object has, so that nothing is replaced where this is permitted."""
    return requester.put(requester.canary, IfNoneMatch=None, IfMatch=f'"{secrets.token_hex(16)}"')


def put_with_customer_key(requester: Requester) -> Response:
    """Upload with SSE-C."""
    return requester.put(SSECustomerAlgorithm="AES256", SSECustomerKey=secrets.token_bytes(32))


def put_with_other_encryption(requester: Requester) -> Response:
    """Upload with the encryption that the bucket does not have."""
    return requester.put(ServerSideEncryption="AES256" if requester.target.kms_key_arn else "aws:kms")


def put_into_other_bucket(requester: Requester) -> Response:
    """Upload into the other bucket, without the ACL, which would need a second permission there."""
    return requester.put(Bucket=requester.target.other_bucket, ExpectedBucketOwner=None, ACL=None)


def create_multipart_upload(requester: Requester) -> Response:
    """Start a multipart upload under the prefix."""
    return about_unused_key("create_multipart_upload", ACL=requester.target.acl)(requester)


def generate_data_key(requester: Requester) -> Response:
    """Use the KMS key without S3; the data key of a success is dropped, nothing is encrypted with it."""
    response = requester.send("kms", "generate_data_key", KeyId=requester.target.kms_key_arn, KeySpec="AES_256")
    return Response(response.code, response.message)


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
    if code := requester.put(f"{target.canary}/{secrets.token_hex(8)}", narrowed).code:
        raise PrerequisiteError(
            f"the narrowed session could not upload where its policy allows it ({code}); see the check put-a-log"
        )
    return requester.put(caller=narrowed)


def assume_other_role_as_source(requester: Requester) -> Response:
    """Assume the other roles with Airflow's own credentials."""
    return _assume_any(requester, "source", requester.target.other_roles)


def assume_other_role_as_writer(requester: Requester) -> Response:
    """Assume the other roles, and the role itself, from the role's session."""
    role = requester.target.role
    return _assume_any(requester, requester.writer, [*requester.target.other_roles, (role.role_arn, role.external_id)])


def _assume_any(requester: Requester, caller: Caller, roles: Sequence[tuple[str, str | None]]) -> Response:
    # Each is tried with the external id that it has: a role that requires none accepts any.
    responses = [
        requester.assume_role(caller, RoleArn=role_arn, ExternalId=external_id, SourceIdentity=None)
        for role_arn, external_id in roles
    ]
    response = next((one for one in responses if not one.code), responses[-1])
    return Response(response.code, response.message)
