"""How a privilege is tried: one request, as somebody, and what it was answered.

Three rules keep the requests from doing harm even where the role can do anything: what is read is the checks' own
canary, what is deleted or changed does not exist, and a change of the bucket's configuration is written such that it
can't be carried out.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from log_archival.aws import connection
from log_archival.exceptions import ArchiveRequestError, RefusedError

#: What S3, STS and KMS call a request that the policies refuse; HeadObject has no body, so only the status.
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "403"})
#: Answers that may be another one a moment later, whatever the policies say.
_PASSING = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "InternalError",
     "ServiceUnavailable", "503", "500", "ConditionalRequestConflict", "OperationAborted"}
)  # fmt: skip


@dataclass(frozen=True)
class Credentials:
    """What STS gives for a session."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(repr=False)


#: As whom: Airflow's own credentials, no credentials at all, or a session of a role.
Identity = Literal["source", "nobody"] | Credentials
#: Makes a boto3 client: of a service, as somebody, over TLS or (to see it refused) without.
ClientFactory = Callable[[str, Identity, bool], Any]


@dataclass(frozen=True)
class Target:
    """What is checked.

    :param role: of the connection, with the external id
    :param session_name: the RoleSessionName of the checks' sessions
    :param token: names the canary
    :param endpoint_url: of S3, when it is not AWS's own
    :param other_bucket: an existing bucket, of the archive account at best, that the role must not reach
    :param other_roles: ARN and external id of roles that must not be assumed from here, the reader's for example
    """

    role: connection.RoleSettings
    bucket: str
    prefix: str
    session_name: str
    acl: str | None = "bucket-owner-full-control"
    kms_key_arn: str | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    endpoint_url: str | None = None
    other_bucket: str | None = None
    other_roles: Sequence[tuple[str, str | None]] = field(default=(), repr=False)

    @property
    def canary(self) -> str:
        """The key of the canary: one small object, written once, that no manifest and no check counts."""
        return f"{self.prefix}_canary/least-privilege-{self.token}"

    def new_key(self, before: str | None = None) -> str:
        """A key that nothing has; below the canaries, or as told."""
        return f"{self.prefix + '_canary/' if before is None else before}least-privilege-{secrets.token_hex(8)}"


@dataclass(frozen=True)
class Answer:
    """What a request was answered: ``code`` is empty for a success."""

    code: str = ""
    said: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.code}: {self.said}" if self.code else "it was carried out"


class NotTried(Exception):
    """A check could not be tried, since what it builds on did not work; says what."""


class Probe:
    """Sends the requests of the checks; those that share one share a session of the role.

    :param clients: makes the clients; the requests of this class go nowhere else
    """

    def __init__(self, target: Target, clients: ClientFactory) -> None:
        self.target = target
        self._client = functools.cache(clients)

    def ask(
        self, service: str, operation: str, who: Identity | None = None, *, tls: bool = True, **sent: Any
    ) -> Answer:
        """One request, as the role's session unless told otherwise.

        :raises ArchiveRequestError: when the answer may be another one on a later try
        :raises RefusedError: when it could not be sent at all: no credentials, no region
        """
        client = self._client(service, self.writer if who is None else who, tls)
        try:
            found = getattr(client, operation)(**sent)
        except ClientError as error:
            code = str(error.response["Error"].get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _PASSING or status >= 500:
                raise ArchiveRequestError(f"{operation} was answered {code}, which may pass") from error
            return Answer(code, str(error.response["Error"].get("Message", "")).strip())
        except (HTTPClientError, ConnectionError) as error:
            raise ArchiveRequestError(f"{operation} got no answer: {error}") from error
        except BotoCoreError as error:
            raise RefusedError(f"{operation} could not be sent: {error}", code=type(error).__name__) from error
        if "Body" in found:
            found.pop("Body").close()
        return Answer(fields=found)

    def assume(self, who: Identity = "source", **changes: Any) -> Answer:
        """AssumeRole as the connection says, without a session policy; an argument that is None is left out."""
        role = self.target.role
        arguments = {
            **role.assume_role_kwargs,
            "RoleArn": role.role_arn,
            "RoleSessionName": self.target.session_name,
            "ExternalId": role.external_id,
            **changes,
        }
        return self.ask("sts", "assume_role", who, **{name: v for name, v in arguments.items() if v is not None})

    @cached_property
    def writer(self) -> Credentials:
        """A session of the role with all that the role may do: it is the role that is checked."""
        return self.session()

    def session(self, **changes: Any) -> Credentials:
        """A session of the role.

        :raises NotTried: when the role can't be assumed
        """
        answer = self.assume(**changes)
        if answer.code:
            raise NotTried(f"the role could not be assumed ({answer.code}); see the check assume-role")
        found = answer.fields["Credentials"]
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

    def put(self, key: str | None = None, who: Identity | None = None, *, tls: bool = True, **changes: Any) -> Answer:
        """Put a few bytes as this package puts an archive, but for the changes; None leaves an argument out."""
        target = self.target
        body = f"Written by check_least_privilege of log-archival, run {target.token}.\n".encode()
        arguments = {
            "Bucket": target.bucket,
            "Key": key or target.new_key(),
            "Body": body,
            "ContentType": "text/plain",
            "ACL": target.acl,
            "IfNoneMatch": "*",
            "ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
            "ExpectedBucketOwner": target.role.account,
            **changes,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        return self.ask("s3", "put_object", who, tls=tls, **given)

    @cached_property
    def canary(self) -> str:
        """The canary's key; puts it, unless another check of this run has.

        :raises NotTried: when it can't be put
        """
        answer = self.put(self.target.canary)
        if answer.code not in ("", "PreconditionFailed"):
            raise NotTried(f"the canary could not be put ({answer.code}); see the check put-a-log")
        return self.target.canary
