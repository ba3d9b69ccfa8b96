"""An archive bucket in memory: what S3 returns for PutObject, with the failures that a test asks for."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError

from log_archival.aws.writer import ArchiveWriter
from log_archival.records import Proof

BUCKET = "acme-log-archive"
ACCOUNT = "222222222222"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/LogWriterRole"
SESSION_NAME = "log-archival@archive_logs@2026-11-22@1f3a9c2b.1"
OWNER = "the credentials of connection 'log_archive'"


def request_error(operation: str, code: str, status: int) -> ClientError:
    """Return the exception that botocore raises for an error response."""
    response: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


def put_error(code: str, status: int) -> ClientError:
    """Return the exception for an error response of PutObject."""
    return request_error("PutObject", code, status)


@dataclass(frozen=True)
class StoredObject:
    """One object as it was put."""

    body: bytes
    content_type: str
    metadata: dict[str, str]


@dataclass
class MemoryS3:
    """The part of botocore's S3 client that the writer uses, with a bucket behind it.

    :param compares_checksums: whether the server compares checksums before or after it looks whether the key exists,
        or never
    """

    compares_checksums: Literal["before", "after", "never"] = "after"
    #: The checksum that the server knows.
    knows: Proof = "checksum"
    #: Is called with each body that arrives, and returns what arrives instead.
    on_the_way: Callable[[bytes], bytes] = lambda body: body
    objects: dict[str, StoredObject] = field(default_factory=dict)
    #: The keys of all requests, in the order in which they arrived.
    requests: list[str] = field(default_factory=list)
    #: Is called with the key of each request before anything else happens: may raise, or wait.
    before_put: Callable[[str], None] = lambda _: None
    #: Is raised when the role is assumed.
    role_error: ClientError | None = None
    roles_assumed: int = 0
    max_under_way: int = 0
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put_object(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self.requests.append(request["Key"])
            self._under_way += 1
            self.max_under_way = max(self.max_under_way, self._under_way)
        try:
            self.before_put(request["Key"])
            return self._put(request)
        finally:
            with self._lock:
                self._under_way -= 1

    def _put(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["ExpectedBucketOwner"] != ACCOUNT:
            raise put_error("AccessDenied", 403)
        body = request["Body"] if isinstance(request["Body"], bytes) else request["Body"].read()
        body = self.on_the_way(body)
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        damaged = self.compares_checksums != "never" and not self._fits(body, request)
        mismatch = "XAmzContentSHA256Mismatch" if self.knows == "signed payload" else "BadDigest"
        with self._lock:
            if damaged and self.compares_checksums == "before":
                raise put_error(mismatch, 400)
            if request["Key"] in self.objects:
                raise put_error("PreconditionFailed", 412)
            if damaged:
                raise put_error(mismatch, 400)
            self.objects[request["Key"]] = StoredObject(
                body, request.get("ContentType", ""), request.get("Metadata", {})
            )
        # Some servers return what they were sent, and compare nothing.
        return {"ChecksumSHA256": checksum if self.knows == "checksum" else request["ChecksumSHA256"], "ETag": '"e"'}

    def _fits(self, body: bytes, request: dict[str, Any]) -> bool:
        md5 = request.get("ContentMD5")
        if self.knows == "md5" or (self.knows == "signed payload" and md5):
            return md5 in (None, base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode())
        return bool(base64.b64encode(hashlib.sha256(body).digest()).decode() == request["ChecksumSHA256"])

    def writer(self, *, tries: bool = False, **arguments: Any) -> ArchiveWriter:
        """Return a writer to this bucket.

        :param tries: whether the writer has to try what the server compares; otherwise it knows
        :param arguments: other than the usual arguments of `ArchiveWriter`
        """

        def new_client() -> MemoryS3:
            if self.role_error:
                raise self.role_error
            self.roles_assumed += 1
            return self

        writer = ArchiveWriter(
            new_client,
            **{
                "bucket": BUCKET,
                "prefix": "logs/",
                "role_arn": ROLE,
                "session_name": SESSION_NAME,
                "assumed_by": OWNER,
                **arguments,
            },
        )
        if not tries:
            writer._proof = "none" if self.compares_checksums == "never" else self.knows
        return writer

    def only(self, contains: str) -> str:
        """Return the only key that contains a text."""
        [key] = [key for key in self.objects if contains in key]
        return key
