"""The requests of the checks: who sends them, about what, and the response.

Three rules keep a request harmless even where the role may do anything: only the checks' own canary is read, only what
does not exist is deleted or changed, and a change of the bucket's configuration is invalid, so that S3 can't apply it.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any, Literal

from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from log_archival.aws.connection import DEFAULT_ACL, RoleSettings
from log_archival.aws.errors import Request, code_and_status, is_transient, message_of, translated_errors
from log_archival.keys import canary_key

#: Whose credentials sign a request: Airflow's own, nobody's, or those of a role's session.
Caller = Literal["source", "nobody"] | Credentials


@dataclass(frozen=True)
class Target:
    """The archive that is checked.

    :param role: the role of the connection, with its external id
    :param bucket: the archive bucket
    :param prefix: what the archive account's policies allow, with its slash
    :param session_name: the RoleSessionName of the checks' sessions
    :param canary: the key of the canary: one small object, written once, that no manifest lists and no audit reports
    :param acl: the canned ACL that archives are uploaded with; None when they are uploaded without
    :param kms_key_arn: the archive account's KMS key, if its bucket has one
    :param endpoint_url: the endpoint of S3; empty when it is AWS's own
    :param other_bucket: an existing bucket, best one of the archive account, that the role must not reach
    :param other_roles: ARN and external id of roles that must not be assumed from here, such as the reader's
    """

    role: RoleSettings
    bucket: str
    prefix: str
    session_name: str
    canary: str
    acl: str | None = DEFAULT_ACL
    kms_key_arn: str | None = None
    endpoint_url: str = ""
    other_bucket: str | None = None
    other_roles: Sequence[tuple[str, str | None]] = field(default=(), repr=False)


@dataclass(frozen=True)
class Response:
    """The response to a request.

    :param code: the error code; empty for a success
    :param message: the error message
    :param fields: the fields of a success
    """

    code: str = ""
    message: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


class PrerequisiteError(Exception):
    """A check could not be tried, because a request that it builds on failed; the message says which."""


@contextmanager
def _sending(client: Any, headers: Mapping[str, str] | None) -> Iterator[None]:
    """Have a client add headers to its requests, before they are signed."""
    if not headers:
        yield
        return
    event, add = "before-call", partial(_add_headers, headers)
    client.meta.events.register(event, add)
    try:
        yield
    finally:
        client.meta.events.unregister(event, add)


def _add_headers(headers: Mapping[str, str], *, params: dict[str, Any], **_: Any) -> None:
    params["headers"].update(headers)


class Requester:
    """Sends the requests of the checks; those of one requester share a session of the role, and the canary.

    :param target: the archive
    :param clients: returns a boto3 client: of a service, for a caller, over TLS or (which must be refused) without
    """

    def __init__(self, target: Target, clients: Callable[[str, Caller, bool], Any]) -> None:
        self.target = target
        self._client = cache(clients)

    def send(
        self,
        service: str,
        operation: str,
        caller: Caller | None = None,
        *,
        tls: bool = True,
        headers: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> Response:
        """Send one request.

        :param service: ``s3``, ``sts`` or ``kms``
        :param operation: the method of the boto3 client
        :param caller: who sends it; None is the session of the role that the checks share
        :param tls: whether to send it over TLS
        :param headers: what to send in addition: headers that the operation has no argument for
        :param arguments: of the operation; functions are called with the requester, and those that are None left out
        :returns: a success, or a permanent error of the server
        :raises ArchiveRequestError: for a transient error
        :raises RefusedError: when it could not be sent at all: no credentials, no region
        """
        found = {name: value(self) if callable(value) else value for name, value in arguments.items()}
        given = {name: value for name, value in found.items() if value is not None}
        client = self._client(service, caller or self.writer, tls)
        place = f"s3://{given['Bucket']}/{given.get('Key', '')}" if "Bucket" in given else service
        where = given.get("RoleArn") or given.get("KeyId") or place
        with (
            _sending(client, headers),
            translated_errors(Request(operation.title().replace("_", ""), where), hint=lambda *_: None),
        ):
            try:
                fields = getattr(client, operation)(**given)
            except ClientError as error:
                code, status = code_and_status(error.response)
                if is_transient(code, status):
                    raise
                return Response(code, message_of(error.response))
        if "Body" in fields:
            fields.pop("Body").close()
        return Response(fields=fields)

    def assume_role(self, caller: Caller | None = "source", **changes: Any) -> Response:
        """Send AssumeRole as the connection says, without a session policy.

        :param caller: who sends it; None is the session of the role that the checks share
        :param changes: other arguments; None leaves one out
        """
        role, name = self.target.role, self.target.session_name
        arguments = {"RoleArn": role.role_arn, "RoleSessionName": name, "ExternalId": role.external_id, **changes}
        return self.send("sts", "assume_role", caller, **{**role.assume_role_kwargs, **arguments})

    def assume_other_roles(self, caller: Caller | None = None) -> Response:
        """Assume the other roles, and from a session of the role the role itself; return a success if there is one.

        :param caller: who sends it; None is the session of the role that the checks share
        """
        itself = [] if caller else [(self.target.role.role_arn, self.target.role.external_id)]
        # Each is tried with the external id that it has: a role that requires none accepts any.
        responses = [
            self.assume_role(caller, RoleArn=role_arn, ExternalId=external_id, SourceIdentity=None)
            for role_arn, external_id in [*self.target.other_roles, *itself]
        ]
        return next((one for one in responses if not one.code), responses[-1])

    @cached_property
    def writer(self) -> Credentials:
        """A session that may do all that the role may: the role is what is checked."""
        return self.new_session()

    def new_session(self, **changes: Any) -> Credentials:
        """Return the credentials of a new session of the role.

        :param changes: other arguments of AssumeRole; None leaves one out
        :raises PrerequisiteError: when the role can't be assumed
        """
        response = self.assume_role(**changes)
        if response.code:
            raise PrerequisiteError(f"the role could not be assumed ({response.code}); see the check assume-role")
        found = response.fields["Credentials"]
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

    def put(self, caller: Caller | None = None, **changes: Any) -> Response:
        """Upload a few bytes the way an archive is uploaded, by default to a key under the prefix that no object has.

        :param caller: who sends it; None is the session of the role that the checks share
        :param changes: other arguments of PutObject, of which None leaves one out; or ``tls``, see `send`
        """
        body = f"Written by check_least_privilege, {self.target.session_name}.\n".encode()
        arguments = {
            "Bucket": self.target.bucket,
            "Key": self.unused_key(),
            "Body": body,
            "ContentType": "text/plain",
            "ACL": self.target.acl,
            "IfNoneMatch": "*",
            "ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
            "ExpectedBucketOwner": self.target.role.account,
            **changes,
        }
        return self.send("s3", "put_object", caller, **arguments)

    def put_beyond_narrow_session(self) -> Response:
        """Upload to the one key that a session policy does not allow.

        :raises PrerequisiteError: when the session may not upload elsewhere either
        """
        key = self.unused_key()
        arn = f"arn:{self.target.role.aws_partition}:s3:::{self.target.bucket}/{key}"
        policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "NotResource": arn}}
        narrow = self.new_session(Policy=json.dumps(policy))
        if code := self.put(narrow).code:
            raise PrerequisiteError(f"a narrowed session could not upload at all ({code}); see the check put-a-log")
        return self.put(narrow, Key=key)

    def start_multipart_upload(self) -> Response:
        """Start a multipart upload, without and with the header If-None-Match; return a success if there is one.

        S3 knows no such header there, and botocore no such argument. Without it, the statement that makes logs
        write-once refuses the upload as well; with it, only the one that is about multipart uploads does.
        """
        responses = [
            self.send(
                "s3",
                "create_multipart_upload",
                headers=headers,
                Bucket=self.target.bucket,
                Key=self.unused_key(),
                ACL=self.target.acl,
            )
            for headers in (None, {"If-None-Match": "*"})
        ]
        return next((one for one in responses if not one.code), responses[-1])

    @cached_property
    def canary(self) -> str:
        """The canary's key; uploads the canary first, unless it exists.

        It has to exist: without s3:ListBucket, S3 returns 403 for keys that don't.

        :raises PrerequisiteError: when it can't be uploaded
        """
        response = self.put(Key=self.target.canary)
        if response.code not in ("", "PreconditionFailed"):
            raise PrerequisiteError(f"the canary could not be uploaded ({response.code}); see the check put-a-log")
        return self.target.canary

    def unused_key(self) -> str:
        """Return a key next to the canaries that no object has."""
        return canary_key(self.target.prefix, secrets.token_hex(8))

    def key_at(self, place: str) -> str:
        """Return a key outside of the prefix that no object has.

        :param place: what the key begins with; `{folder}` is the prefix without its slash, `{FOLDER}` in capitals
        """
        folder = self.target.prefix.rstrip("/")
        return f"{place.format(folder=folder, FOLDER=folder.swapcase())}least-privilege-{secrets.token_hex(8)}"
