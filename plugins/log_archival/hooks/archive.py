"""The narrow seam to S3: a hook that assumes the archive account's role and puts objects, nothing else."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import IO, Any, cast

import tenacity
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from log_archival.aws import connection
from log_archival.hooks.assumed_role import DEFAULT_CONN_ID, checked_connection, whose
from log_archival.codecs import CHUNK, MAX_PUT
from log_archival.direct import DIGEST_CODES, SEND_AT_ONCE, UNDECIDED, DigestError, DirectPut, sha256_argument
from log_archival.exceptions import (
    ArchiveRequestError,
    ConflictError,
    RefusedError,
    SettingsError,
)
from log_archival.records import Receipt
from log_archival.aws.errors import Attempt, refusal

DEFAULT_ACL = "bucket-owner-full-control"


class CrossAccountS3Hook(S3Hook):
    """Puts objects into the archive account's bucket.

    Every put is write-once (``If-None-Match: *``), carries its SHA-256, and names the account that the bucket
    must belong to. It is one PutObject: never a multipart upload, which needs more permissions than putting does.

    :param aws_conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    :param prefix: the session is narrowed to keys that begin with this
    :param session_name: the RoleSessionName, see `log_archival.aws.connection.session_name`
    :param acl: the canned ACL to send; None sends none
    :param kms_key_arn: the archive account's KMS key, when its bucket is encrypted with one
    :param connections: how many requests may be under way at once
    :param direct: send bodies that are in memory by the short way of `log_archival.direct`
    """

    hook_name = "Cross-account log archive"

    def __init__(
        self,
        aws_conn_id: str = DEFAULT_CONN_ID,
        *,
        bucket: str,
        prefix: str = "logs/",
        session_name: str | None = None,
        acl: str | None = DEFAULT_ACL,
        kms_key_arn: str | None = None,
        connections: int = 10,
        direct: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(aws_conn_id=aws_conn_id, **kwargs)
        self.bucket = bucket
        self.prefix = prefix
        self.session_name = session_name
        self.acl = acl
        self.kms_key_arn = kms_key_arn
        self.connections = connections
        self.direct = direct

    @cached_property
    def role(self) -> connection.RoleSettings:
        """The role to assume.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return self._checked[0]

    @cached_property
    def conn_config(self) -> AwsConnectionWrapper:
        """The provider's view of the connection, with what it ignores put where it looks."""
        return self._checked[1]

    @cached_property
    def _checked(self) -> tuple[connection.RoleSettings, AwsConnectionWrapper]:
        role, wrapper = checked_connection(self, self.bucket)
        wrapper.assume_role_kwargs = {
            "RoleSessionName": self.session_name or connection.session_name("-", "-", secrets.token_hex(8), 1),
            **role.assume_role_kwargs,
            "ExternalId": role.external_id,
            "Policy": connection.session_policy(
                aws_partition=role.aws_partition,
                bucket=self.bucket,
                prefix=self.prefix,
                with_acl=self.acl is not None,
                kms_key_arn=self.kms_key_arn,
            ),
        }
        defaults = Config(
            max_pool_connections=self.connections,
            retries={"mode": "standard", "total_max_attempts": 5},
            # The signed x-amz-checksum-sha256 header protects the body; hashing it again to sign it adds nothing.
            s3={"payload_signing_enabled": False},
        )
        # What the connection's own config_kwargs say goes first.
        wrapper.botocore_config = defaults.merge(wrapper.botocore_config) if wrapper.botocore_config else defaults
        return role, wrapper

    def put(
        self,
        key: str,
        body: bytes | IO[bytes],
        *,
        content_type: str,
        sha256: str | None = None,
        size: int | None = None,
        metadata: Mapping[str, str] | None = None,
        content_addressed: bool = True,
    ) -> Receipt:
        """Put one object, once: a key that is taken stays as it is.

        :param key: below the hook's prefix
        :param body: bytes, or a seekable binary file, read to its end from where it is
        :param content_type: of the object
        :param sha256: of the body, in hex; taken here when it isn't given
        :param size: of the body, in bytes; likewise
        :param metadata: the object's user metadata: ASCII, 2 KB at most
        :param content_addressed: whether a taken key proves that the same content lies there
        :returns: a receipt with outcome ``new``, or ``already`` where the key was taken
        :raises ConflictError: when the key is taken, and is not content-addressed
        :raises RefusedError: when S3 refuses for good, with the likely cause
        :raises ArchiveRequestError: when it may pass
        """
        if sha256 is None or size is None:
            sha256, size = _sum(body)
        if size > MAX_PUT:
            raise SettingsError(f"{key} has {size:,} bytes; one PutObject takes at most {MAX_PUT:,}")
        if not isinstance(body, bytes) and size <= SEND_AT_ONCE:
            body = body.read()
        arguments = {
            "Body": body,
            "ContentType": content_type,
            **({"Metadata": dict(metadata)} if metadata else {}),
        }
        answer = self._put(key, sha256, arguments)
        if answer is None:
            if not content_addressed:
                raise ConflictError(
                    f"s3://{self.bucket}/{key} is taken, and the key doesn't say by what",
                    hint="Add {digest} to the key template, so that a changed file gets a key of its own.",
                )
            return Receipt(key, "already", size, sha256)
        echoed = answer.get("ChecksumSHA256")
        echoed_hex = base64.b64decode(echoed).hex() if echoed else None
        if echoed_hex not in (None, sha256):
            raise ArchiveRequestError(
                f"S3 stored s3://{self.bucket}/{key} with SHA-256 {echoed_hex}, sent was {sha256}"
            )
        return Receipt(key, "new", size, sha256, echoed_hex, answer.get("ETag"), answer.get("VersionId"))

    def probe(self, key: str, *, sha256: str) -> bool | None:
        """Ask with nothing but PutObject whether a key is taken: a put of no body under sums of something else.

        They don't fit an empty body, so nothing can be created. The MD5 is for servers that know no SHA-256.

        :param sha256: of what should lie there, in hex; not that of an empty body
        :returns: True when the key is taken; None when S3 looked at the sums first, so that nothing is known;
            False when the server created an empty object, since it doesn't check sums
        """
        no_ones = hashlib.md5(bytes.fromhex(sha256), usedforsecurity=False).digest()
        arguments = {"Body": b"", "ContentMD5": base64.b64encode(no_ones).decode()}
        try:
            return self._put(key, sha256, arguments) is None
        except _BadDigest:
            return None

    @cached_property
    def probes_are_safe(self) -> bool:
        """Whether this server refuses a body that doesn't fit its sums, tried on a key of our own."""
        token = secrets.token_bytes(16)
        key = f"{self.prefix}_probe-{token.hex()}"
        safe = self.probe(key, sha256=hashlib.sha256(token).hexdigest()) is None
        if not safe:
            self.log.warning(
                "This server stored a body under a wrong checksum (s3://%s/%s, empty), so keys are not asked"
                " for: verification puts each archive again, which does no harm where it is there.",
                self.bucket,
                key,
            )
        return safe

    def assume(self) -> None:
        """Assume the role now rather than at the first put, to fail early and in plain words.

        :raises RefusedError: when STS refuses, with the likely cause
        """
        self._explained(
            Attempt("AssumeRole", whose(self), self.role.role_arn),
            self.get_conn,
        )

    def test_connection(self) -> tuple[bool, str]:
        """What Airflow's *Test connection* shows: whether the role can be assumed."""
        try:
            self.assume()
        except Exception as error:
            return False, str(error)
        return True, f"assumed {self.role.role_arn}"

    @cached_property
    def _direct(self) -> DirectPut | None:
        try:
            return DirectPut(self.get_conn(), self.bucket) if self.direct else None
        except (AttributeError, ValueError) as error:
            self.log.info("Small objects take the client's slower way: %s", error)
            return None

    def _put(self, key: str, sha256: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """One PutObject; None when the key is taken."""
        if not key.startswith(self.prefix):
            raise SettingsError(f"key {key!r} is not below {self.prefix!r}, to which the session is narrowed")
        if self.acl:
            arguments["ACL"] = self.acl
        self.assume()  # costs nothing once the client is there; until then a refusal of STS is told as one
        attempt = Attempt(
            "PutObject",
            f"{self.role.role_arn} (session {self.conn_config.assume_role_kwargs['RoleSessionName']})",
            f"s3://{self.bucket}/{key}",
            has_acl=self.acl is not None,
            prefix=self.prefix,
        )
        body = arguments.pop("Body")
        arguments |= {
            "IfNoneMatch": "*",
            "ChecksumSHA256": sha256_argument(sha256),
            "ExpectedBucketOwner": self.role.account,
        }
        client: Any = self.get_conn()
        start = None if isinstance(body, bytes) else body.tell()

        def damaged(said: object) -> _BadDigest:
            return _BadDigest(f"{attempt.where}: S3 got other bytes than the checksum says ({said})")

        if start is None and (direct := self._direct):
            try:
                answer: Any = self._explained(attempt, lambda: direct(key, body, arguments))
            except DigestError as error:
                raise damaged(error) from error
            if answer is not UNDECIDED:
                return cast("dict[str, Any] | None", answer)

        def send() -> dict[str, Any] | None:
            try:
                if start is not None:
                    body.seek(start)
                return cast("dict[str, Any]", client.put_object(Bucket=self.bucket, Key=key, Body=body, **arguments))
            except ClientError as error:
                code = error.response["Error"].get("Code")
                if code == "PreconditionFailed":
                    return None
                if code == "ConditionalRequestConflict":
                    raise _Raced(f"{attempt.where}: another put of this key is under way") from error
                if code in DIGEST_CODES:
                    raise damaged(code) from error
                raise

        return cast("dict[str, Any] | None", self._explained(attempt, lambda: _unless_raced(send)))

    def _explained(self, attempt: Attempt, call: Callable[[], Any]) -> Any:
        """Permanent and passing errors part here, in one place."""
        try:
            return call()
        except ClientError as error:
            if error.operation_name == "AssumeRole" and attempt.operation != "AssumeRole":
                attempt = Attempt("AssumeRole", whose(self), self.role.role_arn)
            raise refusal(attempt, error.response) from error
        except (HTTPClientError, ConnectionError) as error:
            raise ArchiveRequestError(f"{attempt.operation} {attempt.where}: {error}") from error
        except BotoCoreError as error:
            # No credentials, an unknown profile, a parameter that botocore refuses: nothing that passes.
            raise RefusedError(
                f"{attempt.operation} {attempt.where} could not be sent: {error}",
                code=type(error).__name__,
                hint=f"Check connection {self.aws_conn_id!r}: its credentials, profile and region.",
            ) from error


class _Raced(ArchiveRequestError):
    """409: two puts of one key at once. botocore doesn't retry it; whoever asks again learns who won."""


class _BadDigest(ArchiveRequestError):
    """S3 computed another checksum than was sent. Damage on the way: passing."""


_unless_raced = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(_Raced),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
    stop=tenacity.stop_after_attempt(8),
    reraise=True,
)


def _sum(body: bytes | IO[bytes]) -> tuple[str, int]:
    if isinstance(body, bytes):
        return hashlib.sha256(body).hexdigest(), len(body)
    start, sha256, size = body.tell(), hashlib.sha256(), 0
    while data := body.read(CHUNK):
        sha256.update(data)
        size += len(data)
    body.seek(start)
    return sha256.hexdigest(), size
