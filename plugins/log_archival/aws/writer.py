"""The narrow interface to the archive bucket: put an object once, and ask with a put whether a key exists."""

import base64
import enum
import hashlib
import io
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import IO, Any

import tenacity
from botocore.exceptions import ClientError

from log_archival.aws.connection import DEFAULT_ACL
from log_archival.aws.errors import CHECKSUM_MISMATCH, RACE, Request, code_and_status, translated_errors, writer_hint
from log_archival.codec import CHUNK_BYTES, MAX_PUT_BYTES
from log_archival.exceptions import ArchiveRequestError, RefusedError, SettingsError
from log_archival.keys import random_probe_key
from log_archival.records import Proof, Receipt

#: Where a request takes 30 ms, 64 put hardly more files a second than 32: Python's time for each put is then the limit.
#: `make bench ARGS="--only latency"` measures it.
DEFAULT_MAX_CONCURRENT_REQUESTS = 32
#: Bodies up to this size are sent with the request. Before larger ones are sent, S3 is asked to accept them
#: (Expect: 100-continue), which costs a round trip, and saves sending them when the key exists.
SEND_AT_ONCE_BYTES = 4 << 20
# A body that says so may be lost on the way, and a proxy may leave it out; no other condition is sent.
_EXISTS = frozenset({"PreconditionFailed", "412"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
# The checksums of one byte, which an empty body doesn't have.
_OTHER_SHA256 = base64.b64encode(hashlib.sha256(b"\0").digest()).decode()
_OTHER_MD5 = base64.b64encode(hashlib.md5(b"\0", usedforsecurity=False).digest()).decode()


class ProbeResult(enum.Enum):
    """What a server does with a put of no body under ``If-None-Match: *`` and the checksums of another body."""

    #: It refused because of the key: 412.
    EXISTS = "exists"
    #: It refused because of the checksums: the key doesn't exist, or the server compares checksums first.
    CHECKSUM_REFUSED = "checksum refused"
    #: It compares no checksums, and has created an empty object.
    CREATED = "created"


class ArchiveWriter:
    """Adds objects to the archive bucket, with a session of the archive account's role.

    The contract:

    - An object is put once (``If-None-Match: *``): nothing here replaces, reads, lists or deletes one.
    - Each put is one PutObject, never a multipart upload, which needs more permissions than putting does. It carries
      the SHA-256 of its body, and names the account that the bucket must belong to.
    - `put` returns when the server has acknowledged the put, or that the key exists; whatever else happens, it raises.
      The receipt says what shows that the server compares the bytes with what was sent. After an error the object may
      exist, and the same put may be sent again.
    - Every method may be called from many threads at once; `max_concurrent_requests` says from how many.
    - Errors are permanent (`RefusedError`), or transient (`ArchiveRequestError`) after the client's own retries.

    :param new_client: returns the S3 client whose session may put, the same one for each request of a process; may
        raise what AssumeRole raises
    :param bucket: the archive bucket
    :param prefix: the session is narrowed to keys that begin with this
    :param role_arn: of the role; the bucket must belong to its account
    :param session_name: the RoleSessionName, for messages
    :param assumed_by: whose credentials assume the role, for messages
    :param acl: the canned ACL to send; None sends none
    :param max_concurrent_requests: how many requests to send at once
    """

    def __init__(
        self,
        new_client: Callable[[], Any],
        *,
        bucket: str,
        prefix: str,
        role_arn: str,
        session_name: str,
        assumed_by: str,
        acl: str | None = DEFAULT_ACL,
        max_concurrent_requests: int = DEFAULT_MAX_CONCURRENT_REQUESTS,
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.acl = acl
        self.max_concurrent_requests = max_concurrent_requests
        self._new_client = new_client
        self._account = role_arn.split(":")[4]
        self._who = f"{role_arn} (session {session_name})"
        self._assume_request = Request("AssumeRole", role_arn, assumed_by)
        self._lock = threading.Lock()

    def assume_role(self) -> None:
        """Assume the role now rather than with the first put, to fail early.

        :raises RefusedError: when STS refuses, with the likely cause
        """
        self._client()

    def put(
        self,
        key: str,
        body: bytes | IO[bytes],
        *,
        content_type: str,
        sha256: str,
        size: int,
        metadata: Mapping[str, str] | None = None,
    ) -> Receipt:
        """Put one object, once: an object that exists stays as it is.

        :param key: below the session's prefix
        :param body: bytes, or a seekable binary file, read to its end from where it is
        :param content_type: of the object
        :param sha256: of the body, in hex
        :param size: of the body, in bytes
        :param metadata: the object's user metadata: ASCII, 2 KB at most
        :returns: a receipt with outcome ``new``, or ``existing`` when the key exists
        :raises RefusedError: for permanent errors, with the likely cause
        :raises ArchiveRequestError: for transient ones
        """
        if size > MAX_PUT_BYTES:
            raise SettingsError(f"{key} has {size:,} bytes; one PutObject can have {MAX_PUT_BYTES:,}")
        if not isinstance(body, bytes) and size <= SEND_AT_ONCE_BYTES:
            body = body.read()
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        arguments: dict[str, Any] = {"ContentType": content_type, "ChecksumSHA256": checksum}
        if metadata:
            arguments["Metadata"] = dict(metadata)
        with self._lock:
            proof = self._proof
        if proof in ("md5", "none"):  # the server compares no SHA-256
            found_sha256, arguments["ContentMD5"] = _sha256_and_md5(body)
            if found_sha256 != sha256:
                raise ChecksumRefusedError(f"s3://{self.bucket}/{key} was not put: other bytes than its checksum")
        response = self._put_unless_exists(key, body, arguments)
        if response is None:
            return Receipt(key, "existing", size, sha256)
        echoed = response.get("ChecksumSHA256")
        echoed_sha256 = base64.b64decode(echoed).hex() if echoed else None
        if echoed_sha256 not in (None, sha256):
            # A retry would find the key existing, and the run would pass.
            raise RefusedError(
                f"S3 stored s3://{self.bucket}/{key} with SHA-256 {echoed_sha256}, and {sha256} was sent",
                code="OtherChecksum",
                hint="An object with other bytes is in the archive under this key, and nothing here can replace it."
                " Keep the source's log files; whoever administers the archive has to look at the key's versions.",
            )
        return Receipt(key, "new", size, sha256, proof)

    def probe(self, key: str) -> ProbeResult:
        """Ask whether a key exists, with nothing but the permission to put.

        This is a put of no body with the checksums of another body, so that a server that compares them can't create
        anything. The MD5 is for servers that know no SHA-256. S3 bills it as a PUT, as it does all failed requests.

        :param key: below the session's prefix
        :returns: what the server did; see `ProbeResult`
        :raises RefusedError: for permanent errors, with the likely cause
        :raises ArchiveRequestError: for transient ones
        """
        try:
            response = self._put_unless_exists(key, b"", {"ChecksumSHA256": _OTHER_SHA256, "ContentMD5": _OTHER_MD5})
        except ChecksumRefusedError:
            return ProbeResult.CHECKSUM_REFUSED
        return ProbeResult.EXISTS if response is None else ProbeResult.CREATED

    @cached_property
    def _proof(self) -> Proof:
        """How this server shows that it refuses damaged bodies: it is sent one that doesn't fit its checksums.

        What a server returns is no proof: some return the checksum that they were sent, and compare nothing.
        """
        try:
            self._put_unless_exists(random_probe_key(self.prefix), b"", {"ChecksumSHA256": _OTHER_SHA256})
            by_md5 = self.probe(random_probe_key(self.prefix)) is ProbeResult.CHECKSUM_REFUSED
        except ChecksumRefusedError as error:
            return "signed payload" if error.code == "XAmzContentSHA256Mismatch" else "checksum"
        except RefusedError:
            return "none"  # the put that follows says why
        return "md5" if by_md5 else "none"

    def _put_unless_exists(
        self, key: str, body: bytes | IO[bytes], arguments: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Send one PutObject, again after a race; return None when the key exists."""
        if not key.startswith(self.prefix):
            raise SettingsError(f"key {key!r} is not below {self.prefix!r}, to which the session is narrowed")
        request = Request(
            "PutObject", f"s3://{self.bucket}/{key}", self._who, has_acl=self.acl is not None, prefix=self.prefix
        )
        if self.acl:
            arguments = {**arguments, "ACL": self.acl}
        client = self._client()
        start = None if isinstance(body, bytes) else body.tell()

        def send() -> Mapping[str, Any]:
            if start is not None:
                body.seek(start)  # type: ignore[union-attr]
            return client.put_object(  # type: ignore[no-any-return]
                Bucket=self.bucket, Key=key, Body=body, IfNoneMatch="*", ExpectedBucketOwner=self._account, **arguments
            )

        # The session's renewal may fail, too.
        with translated_errors(request, self._assume_request, hint=writer_hint, setup=self._assume_request.who):
            try:
                return _retried_after_a_race(send)
            except ClientError as error:
                code, status = code_and_status(error.response)
                if code in _EXISTS:
                    return None
                if code in _EXPIRED and error.operation_name == "PutObject":
                    raise ArchiveRequestError(
                        f"{request} failed: {status} {code}: the session has expired",
                        hint="A retry assumes the role again. If it expires at once: is this machine's clock right?",
                    ) from error
                if code in CHECKSUM_MISMATCH:
                    raise ChecksumRefusedError(
                        f"{request} failed: S3 received other bytes than its checksum ({code})", code
                    ) from error
                raise

    def _client(self) -> Any:
        # Making the client assumes the role, once.
        with translated_errors(self._assume_request, hint=writer_hint, setup=self._assume_request.who):
            return self._new_client()


class ChecksumRefusedError(ArchiveRequestError):
    """A body has another checksum than its record. Of a put, damage on the way, which is transient.

    :param code: the server's error code; empty when the body was not sent
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(
            message,
            hint="It was damaged on the way, or in memory: a retry sends it again.",
        )
        self.code = code


def _sha256_and_md5(body: bytes | IO[bytes]) -> tuple[str, str]:
    """Return the SHA-256 of a body in hex, and its ``Content-MD5``; it is read from where it is, and left there."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    stream = io.BytesIO(body) if isinstance(body, bytes) else body
    start = stream.tell()
    while data := stream.read(CHUNK_BYTES):
        sha256.update(data)
        md5.update(data)
    stream.seek(start)
    return sha256.hexdigest(), base64.b64encode(md5.digest()).decode()


def _is_race(error: BaseException) -> bool:
    return isinstance(error, ClientError) and code_and_status(error.response)[0] in RACE


# botocore doesn't retry a 409; the next try learns which of the two puts has won.
_retried_after_a_race = tenacity.Retrying(
    retry=tenacity.retry_if_exception(_is_race),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
    stop=tenacity.stop_after_attempt(8),
    reraise=True,
)
