"""A run directory below a prefix of S3 in the source account, for workers that share no disk."""

import errno
import io
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import IO, Any, Literal, Self, cast

import tenacity
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import HTTPClientError, IncompleteReadError

from log_archival.aws.errors import (
    ACCESS_DENIED,
    WRONG_REGION,
    Request,
    hint_of_code,
    hint_of_other_policy,
    require_whole_page,
    translated_errors,
)
from log_archival.exceptions import ArchiveRequestError, RefusedError, StagingError
from log_archival.pipeline.disk import TemporaryFile
from log_archival.pipeline.folder import File, Folder, ReceiptLog

#: Of a file of S3 that is written, or read as one: more than this is in a temporary file.
MAX_IN_MEMORY_BYTES = 4 << 20
#: So many archives that don't fit into memory are copied to temporary files at once.
MAX_COPIES = 4
#: So often at least, receipts are put: those of this time are lost when a task is killed.
RECEIPTS_INTERVAL_SECONDS = 2
#: How many requests are under way at once.
CONCURRENT_REQUESTS = 32
#: What DeleteObjects takes. https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_MAX_DELETED_AT_ONCE = 1000
#: How often an object is requested when the connection breaks while its body is read.
MAX_READS = 5
# What botocore raises when a body ends too early.
_BROKEN = (HTTPClientError, IncompleteReadError)
_COPY_BYTES = 1 << 20
CLIENT_CONFIG = Config(
    max_pool_connections=CONCURRENT_REQUESTS,
    retries={"mode": "standard", "total_max_attempts": 5},
    # What is staged is compared with its SHA-256 when it is archived.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_HINTS = {
    "NoSuchBucket": "Is the bucket's name in `staging` right?",
    **dict.fromkeys(
        WRONG_REGION,
        'The bucket is in another region: set "region_name" in the extra of the connection that `staging` names.',
    ),
    **dict.fromkeys(
        ("PreconditionFailed", "412"),
        "The object was replaced while it was read: is another try of the same task still running?",
    ),
}


_again_when_broken = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(_BROKEN),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
    stop=tenacity.stop_after_attempt(MAX_READS),
    reraise=True,
)


class S3Folder(Folder):
    """A prefix of a bucket of the source account, for workers that share no disk.

    A file is one PutObject of what was written to memory or a temporary file: no multipart upload is ever left behind.
    It needs s3:ListBucket for the prefix, and s3:GetObject, s3:PutObject and s3:DeleteObject below it.

    :param new_client: returns the client of S3, the same one for each request of a process
    :param connection: the id of the connection, for messages and `str`; empty where none is named
    :param bucket: the bucket
    :param prefix: with a slash at its end, or empty
    """

    concurrency = CONCURRENT_REQUESTS

    def __init__(self, new_client: Callable[[], Any], connection: str, bucket: str, prefix: str) -> None:
        self._new_client = new_client
        self._connection, self._bucket, self._prefix = connection, bucket, prefix
        self._who = f"connection {connection or 'aws_default'!r}, which `staging` names"
        self._copies = threading.BoundedSemaphore(MAX_COPIES)

    def __str__(self) -> str:
        """Return its URL, with the connection."""
        return f"s3://{f'{self._connection}@' if self._connection else ''}{self._bucket}/{self._prefix}".rstrip("/")

    def __truediv__(self, name: str) -> File:
        """Return one of its files; the other methods are described in `Folder`."""
        return _S3File(self, name)

    def child(self, name: str) -> Self:
        return type(self)(self._new_client, self._connection, self._bucket, f"{self._prefix}{name}/")

    def create(self) -> None:
        """Do nothing: S3 has no folders."""

    def names(self, start: str = "") -> list[str]:
        keys = (listed["Key"] for listed in self._listed("Contents", self._prefix + start, Delimiter="/"))
        return sorted(key[len(self._prefix) :] for key in keys if key != self._prefix)

    def delete(self, names: Iterable[str]) -> None:
        keys = [{"Key": self._prefix + name} for name in names]
        for first in range(0, len(keys), _MAX_DELETED_AT_ONCE):
            some = keys[first : first + _MAX_DELETED_AT_ONCE]
            # Of the keys, those that could not be deleted are returned.
            response = self.request("DeleteObjects", "", Delete={"Objects": some, "Quiet": True})
            for error in response.get("Errors", ()):
                raise StagingError(
                    f"DeleteObjects s3://{self._bucket}/{error.get('Key')} failed: {error.get('Code')}:"
                    f" {error.get('Message')}",
                    hint=self._needed(),
                )

    def delete_folder(self) -> None:
        """Do nothing: S3 has no folders."""

    def read(self, name: str, start: int, size: int) -> bytes:
        data = io.BytesIO()
        self._download(name, data, start, size)
        return data.getvalue()

    @contextmanager
    def open_range(self, name: str, start: int, size: int) -> Iterator[IO[bytes]]:
        with self._copies, self.copy(name, start, size) as file:
            yield file

    def receipt_log(self, stem: str, lines: Iterable[bytes]) -> ReceiptLog:
        return _ReceiptChunks(self, stem, lines)

    def children(self) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for listed in self._listed("Contents", self._prefix):
            name, slash, _ = listed["Key"][len(self._prefix) :].partition("/")
            if slash:
                found[name] = max(found.get(name, listed["LastModified"]), listed["LastModified"])
        return found

    def copy(self, name: str, start: int = 0, size: int | None = None) -> IO[bytes]:
        """Return a copy of a file or of a range of it, in memory or in a temporary file, to be read from its start.

        :param name: of the file
        :param start: the first byte
        :param size: in bytes; None for all that follow
        :raises FileNotFoundError: when there is no such object
        :raises EOFError: when it ends before
        """
        file = cast("IO[bytes]", TemporaryFile(MAX_IN_MEMORY_BYTES))  # the caller closes it
        try:
            self._download(name, file, start, size)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def _download(self, name: str, into: IO[bytes], start: int, size: int | None) -> None:
        if size == 0:  # no range of bytes is empty
            return
        try:
            _again_when_broken(_Download(self, name, into, start, size))
        except _BROKEN as error:
            raise _transient(f"GetObject {self / name}: the connection broke {MAX_READS} times: {error}") from error

    def put(self, name: str, body: bytes | IO[bytes]) -> None:
        """Put a file as one object, in place of the one that exists.

        :param name: of the file
        :param body: its content, from the start
        """
        self.request("PutObject", name, Body=body)

    def request(self, operation: str, name: str, **arguments: Any) -> dict[str, Any]:
        """Send a request about a file or, without a name, about the folder.

        :param operation: the operation
        :param name: of the file
        :param arguments: of the operation, but bucket and key
        :raises FileNotFoundError: when there is no such object
        :raises EOFError: when the object has nothing of the range
        :raises StagingError: for all other errors, permanent or transient
        """
        if name:
            arguments["Key"] = self._prefix + name
        method = getattr(self._new_client(), xform_name(operation))
        with self._translated_errors(operation, f"s3://{self._bucket}/{self._prefix}{name}"):
            return cast("dict[str, Any]", method(Bucket=self._bucket, **arguments))

    def _listed(self, what: str, prefix: str, **delimiter: str) -> Iterator[dict[str, Any]]:
        with self._translated_errors("ListObjectsV2", f"s3://{self._bucket}/{prefix}") as request:
            pages = self._new_client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, **delimiter):
                require_whole_page(request, page)
                yield from page.get(what, ())

    @contextmanager
    def _translated_errors(self, operation: str, where: str) -> Iterator[Request]:
        request = Request(operation, where)
        try:
            with translated_errors(request, hint=self._hint, setup=f"the {self._who}"):
                yield request
        except RefusedError as error:
            if operation == "GetObject" and error.code in ("NoSuchKey", "404"):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where) from None
            if error.code in ("InvalidRange", "416"):
                raise EOFError(where) from None
            raise StagingError(str(error)) from error
        except ArchiveRequestError as error:
            raise _transient(str(error)) from error

    def _hint(self, request: Request, code: str, message: str) -> str:
        if code in ACCESS_DENIED:
            return hint_of_other_policy(message) or self._needed()
        return _HINTS.get(code) or hint_of_code(code) or "Check `staging` in archive.yaml, and its connection."

    def _needed(self) -> str:
        return (
            f"The {self._who}, needs s3:ListBucket on {self._bucket}, and s3:GetObject, s3:PutObject and"
            " s3:DeleteObject on the folder's objects; see docs/deployment.md."
        )


class _S3File:
    def __init__(self, folder: S3Folder, name: str) -> None:
        self._folder, self._name = folder, name

    def __str__(self) -> str:
        return f"{self._folder}/{self._name}"

    def open(self, mode: Literal["rb", "wb"]) -> IO[bytes]:
        if mode == "rb":
            return self._folder.copy(self._name)
        return cast("IO[bytes]", _NewObject(self._folder, self._name))


class _NewObject:
    """A file that is put when it is closed; a block that ends with an error puts nothing."""

    def __init__(self, folder: S3Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self._file = TemporaryFile(MAX_IN_MEMORY_BYTES)  # closed with this
        self.write, self.writelines, self.tell = self._file.write, self._file.writelines, self._file.tell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        if error_type is None:
            self.close()
        else:
            self._file.close()

    def close(self) -> None:
        with self._file:
            self._file.seek(0)
            self._folder.put(self._name, cast("IO[bytes]", self._file))


class _Download:
    """Copies an object, or a range of it, into an empty file; a second call goes on at the byte where the first failed.

    Without an ETag, with which to ask for the same object again, it begins again.
    """

    def __init__(self, folder: S3Folder, name: str, into: IO[bytes], start: int, size: int | None) -> None:
        self._folder, self._name, self._into = folder, name, into
        self._start, self._position, self._end = start, start, None if size is None else start + size
        self._same_object: dict[str, str] = {}

    def __call__(self) -> None:
        if not self._same_object:
            self._position = self._start
            self._into.seek(0)
            self._into.truncate()
        arguments = dict(self._same_object)
        if self._position or self._end is not None:
            arguments["Range"] = f"bytes={self._position}-{'' if self._end is None else self._end - 1}"
        response = self._folder.request("GetObject", self._name, **arguments)
        self._same_object = {"IfMatch": response["ETag"]} if "ETag" in response else {}
        with closing(response["Body"]) as body:
            for data in body.iter_chunks(_COPY_BYTES):
                self._into.write(data)
                self._position += len(data)
        if self._end is not None and self._position < self._end:
            raise EOFError(self._name)


class _ReceiptChunks:
    """Receipts in S3, where nothing is appended to: each object has those of some seconds."""

    def __init__(self, folder: S3Folder, stem: str, lines: Iterable[bytes]) -> None:
        self._folder, self._stem, self._chunks = folder, stem, 0
        self._lines = list(lines)
        earlier = folder.names(f"{stem}-")
        # In this order: a task that is killed in between leaves some twice, and none is lost.
        self._put()
        folder.delete(name for name in earlier if name != self._name)

    def write(self, line: bytes) -> None:
        self._lines.append(line)
        if time.monotonic() >= self._due:
            self._put()

    def close(self) -> None:
        if self._lines:
            self._put()

    @property
    def _name(self) -> str:
        return f"{self._stem}-{self._chunks:06d}.jsonl"

    def _put(self) -> None:
        self._chunks += 1
        self._folder.put(self._name, b"".join(self._lines))
        self._lines.clear()
        self._due = time.monotonic() + RECEIPTS_INTERVAL_SECONDS


def _transient(message: str) -> StagingError:
    error = StagingError(message)
    error.permanent = False
    return error
