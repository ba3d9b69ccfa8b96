"""Reading the archive, for those who may: list it, read its manifests, check its objects.

Reading takes s3:ListBucket on the bucket and s3:GetObject on the objects, which is what the reader role of
include/cloudformation/archive_account.yaml has (parameter CreateReaderRole).
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import IO, Any, Literal, TypeVar, cast

from log_archival.codecs import Measured, codec_named, measure
from log_archival.exceptions import ArchiveRequestError, LogArchivalError, RefusedError, VerificationError
from log_archival.manifest import Entry, Manifest, is_manifest, merged, parse_manifest, shown
from log_archival.concurrency import concurrently

T = TypeVar("T")
#: ``checksums``: what S3 says of its objects. ``bytes``: every byte downloaded, decompressed and hashed.
Depth = Literal["checksums", "bytes"]
#: missing: an object is gone. differs: it holds something else. unknown: it can't be said. unlisted: no manifest
#: lists an object. manifest: a manifest can't be used. day: a day has no manifest. empty: there is nothing.
#: failed: a file can't be restored. note: worth knowing, and all right.
Kind = Literal["missing", "differs", "unknown", "unlisted", "manifest", "day", "empty", "failed", "note"]
#: A larger manifest than this is not read into memory; it would list some two million archives.
MAX_MANIFEST = 1 << 30
TRIES = 4
#: So many objects in a row that can't be reached mean that none can be.
GIVE_UP_AFTER = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that verification or restore has to say about one archive, manifest, file or day."""

    kind: Kind
    message: str
    key: str = ""
    source: str = ""
    path: str = ""
    expected: str = ""
    found: str = ""
    day: str = ""

    @property
    def note(self) -> bool:
        """Whether this is no problem."""
        return self.kind == "note"

    def to_dict(self) -> dict[str, str]:
        """For JSON: what is empty is left out."""
        return {name: value for name, value in asdict(self).items() if value}

    def __str__(self) -> str:
        what = f"{self.source}: {shown(self.path)}" if self.source else ""
        where = f"{what} ({shown(self.key)})" if what and self.key else what or shown(self.key)
        sums = "; ".join(
            f"{name} {value}" for name, value in (("expected", self.expected), ("found", self.found)) if value
        )
        message = " ".join(self.message.splitlines())
        return f"{where}{': ' if where else ''}{message}{'; ' if sums else ''}{sums}"


class Findings:
    """What a verification or a restore found."""

    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        """What is wrong."""
        return [finding for finding in self.findings if not finding.note]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the bucket's listing has it."""

    key: str
    size: int
    modified: datetime


def raise_if_set(stop: threading.Event) -> None:
    """End this thread's work when it has been interrupted.

    :raises KeyboardInterrupt: as the main thread's interruption did
    """
    if stop.is_set():
        raise KeyboardInterrupt


class _InterruptedError(Exception):
    """The bytes stopped coming. Not an OSError: to a decompressor that would be damage."""


class _Body:
    """The body of a GetObject, told apart from what is done with it."""

    def __init__(self, body: Any, stop: threading.Event) -> None:
        self._body, self._stop = body, stop

    def read(self, size: int = -1) -> bytes:
        raise_if_set(self._stop)
        try:
            return cast("bytes", self._body.read(None if size < 0 else size))
        except Exception as error:
            raise _InterruptedError(str(error)) from error


class ArchiveReader:
    """The archive, read-only.

    :param client: an S3 client of boto3's or botocore's
    :param bucket: the archive bucket
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket
        #: Set, it ends every download under way.
        self.stop = threading.Event()

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below a prefix, in S3's order.

        :raises RefusedError: when the bucket can't be listed
        :raises ArchiveRequestError: when that may pass
        """
        token: dict[str, str] = {}
        while True:
            page = self._request("ListObjectsV2", "list_objects_v2", Prefix=prefix, **token)
            for listed in page.get("Contents", ()):
                yield StoredObject(listed["Key"], listed["Size"], listed["LastModified"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, key: str, use: Callable[[IO[bytes]], T]) -> T:
        """Give an object's bytes to a function, from the start again when the connection breaks.

        :param use: gets a file that can only be read; must be able to begin anew
        :raises RefusedError: when the object can't be read: code ``NoSuchKey`` when it is not there
        :raises ArchiveRequestError: when that may pass
        """
        for attempt in range(1, TRIES + 1):
            with closing(self._request("GetObject", "get_object", Key=key)["Body"]) as body:
                try:
                    return use(cast("IO[bytes]", _Body(body, self.stop)))
                except _InterruptedError as error:
                    why = str(error)
            if attempt < TRIES:
                self.stop.wait(0.2 * 2**attempt)
        raise ArchiveRequestError(f"GetObject s3://{self.bucket}/{key} broke off {TRIES} times: {why}")

    @staticmethod
    def concerns_one_object(error: ArchiveRequestError) -> bool:
        """Whether a refusal says something about this object, and nothing about the next."""
        return isinstance(error, RefusedError) and error.code in _ABOUT_ONE_OBJECT

    def manifests(self, prefix: str) -> tuple[list[Manifest], list[Finding]]:
        """Every manifest below a prefix, and a finding for each that can't be used.

        :raises ArchiveRequestError: as `objects` and `read` do
        """
        return self.read_manifests(listed for listed in self.objects(prefix) if is_manifest(listed.key))

    def read_manifests(self, listed: Iterable[StoredObject], workers: int = 8) -> tuple[list[Manifest], list[Finding]]:
        """Read manifests that were listed, several at once."""
        manifests: list[Manifest] = []
        malformed: list[Finding] = []
        for found, manifest in concurrently(self._manifest, listed, workers):
            if isinstance(manifest, Manifest):
                manifests.append(manifest)
            else:
                malformed.append(Finding("manifest", f"not a usable manifest: {manifest}", found.key))
        # A log file may be called _manifest.json; the archive of it is no manifest.
        archives = {entry.key for manifest in manifests for entry in manifest.entries}
        return (
            sorted((one for one in manifests if one.key not in archives), key=lambda one: one.key),
            sorted((one for one in malformed if one.key not in archives), key=lambda one: one.key),
        )

    def _manifest(self, listed: StoredObject) -> Manifest | str:
        if listed.size > MAX_MANIFEST:
            return f"has {listed.size:,} bytes; more than {MAX_MANIFEST:,} are not read"
        try:
            return parse_manifest(listed.key, self.read(listed.key, lambda body: body.read()), listed.modified)
        except VerificationError as error:
            return str(error)
        except RefusedError as error:
            if not self.concerns_one_object(error):
                raise
            return str(error)

    def check(self, entry: Entry, depth: Depth) -> Finding | None:
        """Check one archive; None when it is right.

        :param entry: what it should be; see `Entry.from_manifest` and `Entry.from_archive`
        :param depth: how
        :raises RefusedError: when reading isn't allowed at all
        :raises ArchiveRequestError: when the archive can't be reached, which may pass
        """
        try:
            if depth == "bytes":
                return _judge_bytes(entry, self.read(entry.key, lambda body: measure(body, codec_named(entry.codec))))
            return _judge_checksums(
                entry, self._request("HeadObject", "head_object", Key=entry.key, ChecksumMode="ENABLED")
            )
        except RefusedError as error:
            if error.code in _GONE:
                expected = f"{entry.stored_size:,} bytes with SHA-256 {entry.stored_sha256}"
                return _finding("missing", entry, _MISSING, expected, "nothing")
            if self.concerns_one_object(error):
                return _finding("unknown", entry, f"the object can't be read: {error}")
            raise

    def check_all(
        self,
        entries: Iterable[Entry],
        depth: Depth,
        workers: int = 16,
        on_progress: Callable[[Entry], None] | None = None,
    ) -> list[Finding]:
        """Check many archives at once; every finding, by source, path and key.

        An archive that can't be reached is a finding of kind ``unknown``, and the others are checked all the same.

        :param on_progress: called in this thread for each archive that was checked
        :raises RefusedError: when reading isn't allowed at all
        :raises ArchiveRequestError: when many in a row can't be reached
        """

        def one(entry: Entry) -> Finding | ArchiveRequestError | None:
            try:
                return self.check(entry, depth)
            except RefusedError:
                raise
            except ArchiveRequestError as error:
                return error

        findings: list[Finding] = []
        unreached = 0
        for entry, result in concurrently(one, merged(entries), workers):
            if isinstance(result, ArchiveRequestError):
                unreached += 1
                if unreached >= GIVE_UP_AFTER:
                    raise result
                findings.append(_finding("unknown", entry, f"the object could not be read: {result}"))
            else:
                unreached = 0
                if result:
                    findings.append(result)
            if on_progress:
                on_progress(entry)
        return sorted(findings, key=lambda finding: (finding.source, finding.path, finding.key))

    def _request(self, operation: str, method: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

        where = f"s3://{self.bucket}/{shown(arguments.get('Key', arguments.get('Prefix', '')))}"
        try:
            answer: dict[str, Any] = getattr(self._client, method)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            raise _refusal(operation, where, error.response) from error
        except (HTTPClientError, ConnectionError) as error:
            raise ArchiveRequestError(f"{operation} {where}: {error}", hint="Is the network up?") from error
        except BotoCoreError as error:
            raise RefusedError(
                f"{operation} {where} could not be sent: {error}",
                code=type(error).__name__,
                hint="Check the credentials, the profile and the region.",
            ) from error
        return answer


_MISSING = (
    "the object is not there. The bucket is versioned: an administrator may find what was deleted with"
    " `aws s3api list-object-versions`"
)
_GONE = {"404", "NoSuchKey"}
_ABOUT_ONE_OBJECT = _GONE | {"InvalidObjectState", "InvalidRange", "MethodNotAllowed", "405"}


def _refusal(operation: str, where: str, response: Any) -> LogArchivalError:
    code = str(response.get("Error", {}).get("Code", ""))
    said = str(response.get("Error", {}).get("Message", "")).strip()
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"{operation} {where} was answered {status} {code}: {said}"
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout", "RequestTimeTooSkewed"):
        return ArchiveRequestError(message, hint="This may pass: try again.")
    needs = "s3:ListBucket on the bucket" if operation == "ListObjectsV2" else "s3:GetObject on the objects"
    hint = {
        "NoSuchBucket": "Is the bucket's name right?",
        "ExpiredToken": "The credentials have expired; renew them.",
        "InvalidAccessKeyId": "The access key is wrong, or of another service than the endpoint.",
        "SignatureDoesNotMatch": "The secret key is wrong, or the machine's clock is.",
        "InvalidObjectState": "The object is in an archival storage class: restore it first (`aws s3api"
        " restore-object`).",
        "PermanentRedirect": "The bucket is in another region: give --region.",
    }.get(code)
    if code in ("AccessDenied", "403"):
        hint = (
            f"This takes {needs}, for this prefix (and kms:Decrypt where a KMS key encrypts it). The reader role of"
            " include/cloudformation/archive_account.yaml (parameter CreateReaderRole) has exactly that."
        )
    return RefusedError(message, code=code, hint=hint)


def _judge_checksums(entry: Entry, head: dict[str, Any]) -> Finding | None:
    size, encoded = head["ContentLength"], head.get("ChecksumSHA256")
    sha256 = None
    # A multipart upload's sum is the sum of its parts' sums; it ends in -<number of parts>.
    if encoded and "-" not in encoded and head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        sha256 = base64.b64decode(encoded).hex()
    if sha256 and entry.fits(size, sha256):
        return None
    if sha256 is None and size in {entry.stored_size, *(other for other, _ in entry.others)}:
        message = "S3 has no SHA-256 of the whole object, so its content can't be known; depth bytes decides"
        return _finding("unknown", entry, message, f"SHA-256 {entry.stored_sha256}", "none")
    return _finding(
        "differs",
        entry,
        "the object has other bytes than any manifest lists; depth bytes decides whether its content is the same",
        f"{entry.stored_size:,} bytes with SHA-256 {entry.stored_sha256}",
        f"{size:,} bytes with {f'SHA-256 {sha256}' if sha256 else 'no SHA-256 of the whole'}",
    )


def _judge_bytes(entry: Entry, found: Measured) -> Finding | None:
    if found.error is None and (found.raw_size, found.raw_sha256) == (entry.raw_size, entry.raw_sha256):
        if entry.fits(found.stored_size, found.stored_sha256):
            return None
        return _finding(
            "note",
            entry,
            "stored in other bytes than any manifest lists; they decompress to the right content",
            f"{entry.stored_size:,} bytes with SHA-256 {entry.stored_sha256}",
            f"{found.stored_size:,} bytes with SHA-256 {found.stored_sha256}",
        )
    return _finding(
        "differs",
        entry,
        found.error or "the object holds other content",
        f"{entry.raw_size:,} raw bytes with SHA-256 {entry.raw_sha256} ({entry.stored_size:,} stored)",
        f"{found.raw_size:,} raw bytes with SHA-256 {found.raw_sha256} ({found.stored_size:,} stored)",
    )


def _finding(kind: Kind, entry: Entry, message: str, expected: str = "", found: str = "") -> Finding:
    return Finding(kind, message, entry.key, entry.source, entry.path, expected, found)
