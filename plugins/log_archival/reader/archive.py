"""Read-only access to the archive: list, read and check objects.

It needs s3:ListBucket on the bucket and s3:GetObject on the objects, which the reader role of
include/cloudformation/archive_account.yaml has (parameter CreateReaderRole).
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import closing, suppress
from datetime import date, datetime
from itertools import groupby
from typing import IO, Any, Literal, NamedTuple, TypeVar, cast

from log_archival.aws.errors import ACCESS_DENIED, Request, hint_of_code, require_whole_page, translated_errors
from log_archival.codec import codec_named, measure
from log_archival.concurrency import concurrently
from log_archival.exceptions import ArchiveRequestError, LogArchivalError, RefusedError
from log_archival.manifest import Entry, printable
from log_archival.reader.findings import Finding, compare_checksums, compare_content, missing

T = TypeVar("T")
R = TypeVar("R")
#: ``checksums``: the size and the SHA-256 that S3 returns. ``bytes``: every byte downloaded, decompressed and hashed.
Depth = Literal["checksums", "bytes"]
#: Is called for what was done: how many files or archives, and how many of their bytes.
OnProgress = Callable[[int, int], None]
#: How often one object is requested when the connection breaks while its body is read.
MAX_READS = 4
#: So many objects are asked one by one when they were put; more are listed.
MAX_HEADS = 200
#: When so many objects in a row can't be reached, none can.
MAX_UNREACHABLE_IN_A_ROW = 20
# The folders that name the day, whatever is around the numbers: 2026/11/22/, dt=2026-11-22/, year=2026/month=11/…
_DAY = re.compile(r"(?<!\d)(?=(\d{4})[^/\d]*/?[^/\d]*(\d{2})[^/\d]*/?[^/\d]*(\d{2})(?!\d)[^/]*(/))")
_NOT_FOUND = frozenset({"404", "NoSuchKey"})
#: Of an object in which nothing is at the range that is asked for.
_TOO_SHORT = frozenset({"InvalidRange", "416"})
_CONCERNS_ONE_OBJECT = _NOT_FOUND | _TOO_SHORT | {"InvalidObjectState", "MethodNotAllowed", "405"}


class StoredObject(NamedTuple):
    """An object as the bucket's listing has it.

    :param key: its key
    :param size: in bytes
    :param modified: when it was put
    """

    key: str
    size: int
    modified: datetime


def concerns_one_object(error: RefusedError) -> bool:
    """Return whether a permanent error of one object means nothing for the next one.

    :param error: of a request for the object
    """
    return error.code in _CONCERNS_ONE_OBJECT


def days_in(key: str) -> Iterator[date]:
    """Return each day that the folders of a key could be of.

    :param key: any object's key
    """
    return (day for day, _ in day_folders(key))


def day_folders(key: str) -> Iterator[tuple[date, str]]:
    """Yield each day that the folders of a key could be of, with the folder that completes it.

    :param key: any object's key
    """
    for match in _DAY.finditer(key):
        with suppress(ValueError):
            yield date(int(match[1]), int(match[2]), int(match[3])), key[: match.end(4)]


class _BrokenConnectionError(Exception):
    """The body of an object ended too early. Not an OSError, which a decompressor would report as damage."""


class _Body:
    """The body of an object, whose errors are not mistaken for errors of what reads it."""

    def __init__(self, body: Any, raise_if_stopped: Callable[[], None]) -> None:
        self._body, self._raise_if_stopped = body, raise_if_stopped

    def read(self, size: int = -1) -> bytes:
        self._raise_if_stopped()
        try:
            return cast("bytes", self._body.read(None if size < 0 else size))
        except Exception as error:
            raise _BrokenConnectionError(str(error)) from error


class ArchiveReader:
    """The archive bucket, read-only.

    :param client: an S3 client of boto3 or botocore
    :param bucket: the archive bucket
    :param workers: how many objects are read at once, where several are
    """

    def __init__(self, client: Any, bucket: str, *, workers: int = 16) -> None:
        self._client = client
        self.bucket = bucket
        self.workers = workers
        #: Set it to end all downloads that are under way.
        self.stop = threading.Event()

    def raise_if_stopped(self) -> None:
        """End this thread's work when `stop` is set.

        :raises KeyboardInterrupt: as in the main thread, which was interrupted
        """
        if self.stop.is_set():
            raise KeyboardInterrupt

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield every object below a prefix, in the order of their keys.

        :param prefix: the beginning of the keys
        :raises RefusedError: when the bucket can't be listed
        :raises ArchiveRequestError: for transient errors
        """
        for page in self._pages(prefix):
            yield from _objects(page)

    def list_folder(self, prefix: str) -> tuple[list[StoredObject], list[str]]:
        """Return the objects whose keys begin with a prefix and have no slash behind it, and the folders beside them.

        :param prefix: the beginning of the keys; of a folder, with its slash
        :returns: the folders as prefixes, each with its slash
        :raises ArchiveRequestError: as `list_objects`
        """
        pages = list(self._pages(prefix, Delimiter="/"))
        folders = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", ())]
        return [one for page in pages for one in _objects(page)], folders

    def _pages(self, prefix: str, **arguments: str) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._send("ListObjectsV2", self._client.list_objects_v2, Prefix=prefix, **arguments, **token)
            require_whole_page(self._request("ListObjectsV2", prefix), page)
            yield page
            if not page["IsTruncated"]:
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def list_by_day(self, prefix: str) -> Iterator[tuple[date | None, list[StoredObject]]]:
        """Yield the objects below a prefix, those of one day's folder at a time; None for keys that name no day.

        :param prefix: the beginning of the keys
        :raises ArchiveRequestError: as `list_objects`
        """
        for day, objects in groupby(self.list_objects(prefix), lambda one: next(days_in(one.key), None)):
            yield day, list(objects)

    def read_archive(self, entry: Entry, consume: Callable[[IO[bytes]], T]) -> T:
        """Pass an archive's bytes to a function, like `read`: all of its object, or its range of a bundle.

        :param entry: the archive
        :param consume: is called with a file that it can only read; may be called several times
        """
        return self.read(
            entry.key,
            consume,
            range(entry.bundle_offset, entry.bundle_end) if entry.bundle_size else None,
        )

    def read(self, key: str, consume: Callable[[IO[bytes]], T], part: range | None = None) -> T:
        """Pass an object's bytes to a function, again from the start when the connection breaks.

        :param key: the object's key
        :param consume: is called with a file that it can only read; may be called several times
        :param part: the positions of the bytes to pass; None for all
        :returns: what the function returns
        :raises RefusedError: when the object can't be read; its code is ``NoSuchKey`` when there is none
        :raises ArchiveRequestError: for transient errors
        """
        where = self._request("GetObject", key)
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        arguments = {} if part is None else {"Range": f"bytes={part.start}-{part.stop - 1}"}
        for attempt in range(1, MAX_READS + 1):
            response = self._send("GetObject", self._client.get_object, Key=key, **arguments)
            with closing(response["Body"]) as body:
                if part is not None and "ContentRange" not in response:
                    raise ArchiveRequestError(f"{where}: all of it was returned, and not the range that was asked for")
                try:
                    return consume(cast("IO[bytes]", _Body(body, self.raise_if_stopped)))
                except _BrokenConnectionError as error:
                    reason = str(error)
            if attempt < MAX_READS:
                self.stop.wait(0.2 * 2**attempt)
        raise ArchiveRequestError(f"{where}: the connection broke {MAX_READS} times: {reason}")

    def check(self, entry: Entry, depth: Depth) -> Finding | None:
        """Check one archive, and return what is wrong with it or worth knowing; None when it is as listed.

        :param entry: the archive; see `Entry.from_manifest` and `Entry.from_archive`
        :param depth: ``checksums`` or ``bytes``
        :raises RefusedError: when reading isn't allowed at all
        :raises ArchiveRequestError: for transient errors
        """
        return self.attempt(entry, lambda: self._check(entry, depth))

    def _check(self, entry: Entry, depth: Depth) -> Finding | None:
        if depth == "checksums":
            return compare_checksums(entry, self._head(entry.key))
        measured = self.read_archive(entry, lambda body: measure(body, codec_named(entry.codec), entry.raw_size))
        return compare_content(entry, measured)

    def attempt(self, entry: Entry, check: Callable[[], T]) -> T | Finding:
        """Return what a check returns, or a finding when the object doesn't exist or can't be read.

        :param entry: an archive in the object
        :param check: reads the object
        :raises RefusedError: when reading isn't allowed at all
        :raises ArchiveRequestError: for transient errors
        """
        try:
            return check()
        except RefusedError as error:
            if error.code in _NOT_FOUND:
                return missing(entry)
            if error.code in _TOO_SHORT:
                return Finding.about(entry, "differs", "the bundle ends before this archive")
            if concerns_one_object(error):
                return Finding.about(entry, "unknown", f"the object can't be read: {error}")
            raise

    def received(self, keys: Set[str]) -> dict[str, datetime]:
        """Return when S3 received some objects; those that don't exist are left out.

        :param keys: their keys
        :raises ArchiveRequestError: as `read` and `list_objects`
        """
        if len(keys) > MAX_HEADS:
            listed = self.list_objects(os.path.commonprefix(list(keys)))  # noqa: RUF071 -- keys are no paths
            return {one.key: one.modified for one in listed if one.key in keys}
        return {key: time for key, time in concurrently(self._received, keys, self.workers) if time}

    def _received(self, key: str) -> datetime | None:
        try:
            return cast("datetime", self._head(key)["LastModified"])
        except RefusedError as error:
            if error.code in _NOT_FOUND:
                return None
            raise

    def _head(self, key: str) -> dict[str, Any]:
        return self._send("HeadObject", self._client.head_object, Key=key, ChecksumMode="ENABLED")

    def for_each(self, job: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | LogArchivalError | OSError]]:
        """Run a job that reads an object for each item, several at once; yield items and results as they come.

        An error that concerns one object or file is yielded instead of the result.

        :param job: what to run
        :param items: what to run it for
        :raises RefusedError: when reading isn't allowed at all
        :raises ArchiveRequestError: when MAX_UNREACHABLE_IN_A_ROW items in a row can't be reached
        """

        def attempt(item: T) -> R | LogArchivalError | OSError:
            try:
                return job(item)
            except (LogArchivalError, OSError) as error:
                if isinstance(error, RefusedError) and not concerns_one_object(error):
                    raise
                return error

        unreachable = 0
        for item, result in concurrently(attempt, items, self.workers):
            unreachable = unreachable + 1 if isinstance(result, ArchiveRequestError) and not result.permanent else 0
            if isinstance(result, Exception) and unreachable >= MAX_UNREACHABLE_IN_A_ROW:
                raise result
            yield item, result

    def _send(self, operation: str, method: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any]:
        request = self._request(operation, arguments.get("Key") or arguments["Prefix"])
        with translated_errors(request, hint=reader_hint, setup="the credentials, the profile and the region"):
            return method(Bucket=self.bucket, **arguments)

    def _request(self, operation: str, where: str) -> Request:
        return Request(operation, f"s3://{self.bucket}/{printable(where)}")


def _objects(page: dict[str, Any]) -> Iterator[StoredObject]:
    for listed in page.get("Contents", ()):
        yield StoredObject(listed["Key"], listed["Size"], listed["LastModified"])


def reader_hint(request: Request, code: str, message: str) -> str | None:
    """Return the likely cause of a permanent error of ListObjectsV2, HeadObject or GetObject.

    :param request: what was requested
    :param code: the error code
    :param message: the message of the server
    """
    if code not in ACCESS_DENIED:
        return hint_of_code(code)
    needed = "s3:ListBucket on the bucket" if request.operation == "ListObjectsV2" else "s3:GetObject on the objects"
    return (
        f"This needs {needed}, for this prefix (and kms:Decrypt where a KMS key encrypts it). The reader role of"
        " include/cloudformation/archive_account.yaml (parameter CreateReaderRole) has exactly that."
    )
