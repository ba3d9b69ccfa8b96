"""Log objects below a prefix of S3: finding a partition's objects, and reading one.

It lists and gets, nothing else: `S3Source.permissions` has the two statements. What is listed of a versioned bucket is
each key's current version. An object is requested with the ETag that was listed (``If-Match``), so that what is read is
what was listed, or an error: to ask for a version by its id would take s3:GetObjectVersion as well.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar

from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import Field

from log_archival.aws.connection import require_bucket
from log_archival.aws.errors import (
    ACCESS_DENIED,
    WRONG_REGION,
    Request,
    hint_of_code,
    hint_of_other_policy,
    require_whole_page,
    translated_errors,
)
from log_archival.exceptions import ArchiveRequestError, LogArchivalError, RefusedError, SettingsError, SourceError
from log_archival.partition import Partition
from log_archival.records import Failure, LogFile
from log_archival.sources.aws_source import AwsSource
from log_archival.sources.base import Listing, SourceReader, by_name, check_name
from log_archival.sources.pattern import DatedPattern, has_wildcard, literal_start, matcher

_CONCURRENT_READS = 16
#: What a client needs: a connection for each object that is read at once, and a few attempts.
CLIENT_CONFIG = Config(max_pool_connections=_CONCURRENT_READS, retries={"mode": "standard", "total_max_attempts": 5})
_ETAG = re.compile("[ -~]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Larger reads are done in pieces, which bounds what the HTTP client copies.
_READ_BYTES = 1 << 20
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/archived-objects.html
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_GONE = {"NoSuchKey": "was deleted", "404": "was deleted", "PreconditionFailed": "was replaced", "412": "was replaced"}
# Errors of GetObject that the next object's request would get as well; any other is about the one object.
_CONCERNS_ALL = frozenset(
    {"NoSuchBucket", *WRONG_REGION,
     "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "InvalidToken",
     "InvalidClientTokenId", "UnrecognizedClientException", "AllAccessDisabled", "AccountProblem", "NotSignedUp"}
)  # fmt: skip
_RESTORE = "Restore it first (`aws s3api restore-object`), wait for that, and clear `collect`."
# What hint_of_code says of the archive's bucket.
_HINTS = {
    "NoSuchBucket": "Is the bucket's name in `s3` right?",
    **dict.fromkeys(
        WRONG_REGION,
        "The bucket is in another region: set the source's `region`.",
    ),
    **dict.fromkeys(
        ("KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"),
        "The KMS key with which the object is encrypted is disabled or gone.",
    ),
    "InvalidObjectState": _RESTORE,
}


@dataclass(frozen=True)
class S3Source(AwsSource):
    """A prefix in a bucket of the source account; see `AwsSource` for the connection and the region.

    :param name: letters, digits, dots, dashes and underscores; part of every key
    :param s3: ``s3://bucket/prefix``; the prefix is a folder's, with or without its slash
    :param pattern: which objects below the prefix: ``*`` within a component, ``**`` across components. With strftime
        directives (``AWSLogs/*/elasticloadbalancing/*/%Y/%m/%d/*``) it names the partition's objects, and only the
        prefixes that it leaves are listed; without any, the objects that were last modified within the partition's day
        are found, and everything below the prefix is listed.
    :param min_files: fewer objects than this fail the run
    """

    concurrent_reads: ClassVar[int | None] = _CONCURRENT_READS
    service: ClassVar[str] = "s3"
    client_config: ClassVar[Config] = CLIENT_CONFIG

    name: str
    s3: str
    pattern: str = "**/*"
    min_files: Annotated[int, Field(ge=0)] = 1

    def check(self) -> None:
        """Check the settings.

        :raises SettingsError: for a name, bucket, prefix or pattern that can't be
        """
        check_name(self.name)
        _ = self._location
        self._dated.check()

    @property
    def root(self) -> str:
        """``s3://bucket/prefix``, without a slash at the end."""
        return f"s3://{'/'.join(self._location)}".rstrip("/")

    @property
    def _dated(self) -> DatedPattern:
        return DatedPattern(self.pattern, self.name)

    @cached_property
    def _location(self) -> tuple[str, str]:
        """The bucket, and the prefix with its slash, or empty."""
        match = re.fullmatch(r"s3://([^/]*)/?(.*?)/?", self.s3, re.DOTALL)
        if not match:
            raise SettingsError(f"source {self.name}: {self.s3!r} is not of the form s3://bucket/prefix")
        bucket, prefix = match.groups()
        try:
            require_bucket(bucket)
        except SettingsError as error:
            raise SettingsError(f"source {self.name}: {error}") from None
        if prefix and not _is_name(prefix):
            raise SettingsError(f"source {self.name}: the prefix {prefix!r} has an empty, '.' or '..' component or NUL")
        # $ would be a variable in an IAM policy.
        if found := re.search(r"[*?%$]", prefix):
            raise SettingsError(
                f"source {self.name}: the prefix {prefix!r} has {found[0]!r}",
                hint="Wildcards and dates belong in `pattern`, which matches what is below the prefix.",
            )
        return bucket, f"{prefix}/" if prefix else ""

    def permissions(self) -> list[dict[str, Any]]:
        """Return the statements of an IAM policy that allows to list the prefix and to get its objects."""
        bucket, prefix = self._location
        arn = f"arn:${{AWS::Partition}}:s3:::{bucket}"
        condition = {"Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}}} if prefix else {}
        return [
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn, **condition},
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{arn}/{prefix}*"},
        ]

    # Finding

    def find(self, partition: Partition) -> Listing:
        """Return the partition's objects.

        Named as failures: objects in an archive storage class that are not restored, and keys that can't be names.
        Empty objects whose keys end with a slash are the folders of consoles and tools, and no log files.

        :param partition: the day
        :raises SettingsError: when the pattern's date names no day
        :raises SourceError: when there are fewer than `min_files`, or S3 can't be reached for now
        :raises RefusedError: when the prefix can't be listed, with the permission or setting to correct
        """
        dated, pattern = self._dated.dated, self._dated.on(partition)
        matches = matcher(pattern)
        root, prefix = self.root, self._location[1]
        listing = Listing([])
        for listed in self._objects(pattern):
            name = listed["Key"][len(prefix) :]
            path = f"{root}/{name}"
            mtime_ns = (listed["LastModified"] - _EPOCH) // timedelta(microseconds=1) * 1000
            if not _is_meant(name, listed["Size"], matches) or not (dated or partition.contains(mtime_ns)):
                continue
            if problem := _problem(name, listed):
                listing.failures.append(Failure(self.name, name, f"{path!r} {problem}"))
            else:
                listing.files.append(LogFile(self.name, root, name, listed["Size"], mtime_ns, listed["ETag"]))
        by_time = "" if dated else f", last modified on {partition.key} ({partition.timezone})"
        what = f"match {pattern!r} in {root}{by_time}"
        self.require_enough(listing.files, what, [failure.error for failure in listing.failures])
        return Listing(by_name(listing.files), listing.failures)

    def _objects(self, pattern: str) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of the prefixes that a pattern leaves, as S3 lists them."""
        pending = [(self._location[1], pattern.split("/"))]
        while pending:
            folder, (first, *rest) = pending.pop()
            if first == "**":
                yield from self._listed("Contents", folder)
            elif not rest:
                yield from self._listed("Contents", folder + literal_start(first), Delimiter="/")
            elif not has_wildcard(first):
                pending.append((f"{folder}{first}/", rest))
            else:
                matches = matcher(first)
                for found in self._listed("CommonPrefixes", folder + literal_start(first), Delimiter="/"):
                    if matches(found["Prefix"][len(folder) : -1]):
                        pending.append((found["Prefix"], rest))

    def _listed(self, what: str, prefix: str, **delimiter: str) -> Iterator[Mapping[str, Any]]:
        bucket = self._location[0]
        with self._translated_errors("ListObjectsV2", f"s3://{bucket}/{prefix}") as request:
            pages = self.client.get_paginator("list_objects_v2")
            # The restore status needs no other permission than the listing.
            for page in pages.paginate(
                Bucket=bucket, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"], **delimiter
            ):
                require_whole_page(request, page)
                yield from map(_checked, page.get(what, ()))

    # Reading

    @contextmanager
    def open(self, file: LogFile) -> Iterator[io.BufferedReader]:
        """Open an object, whose bytes come as they are stored, whatever its Content-Encoding.

        :param file: what `find` returned
        :raises SourceError: when it can't be read, is not what was listed, or the connection breaks
        :raises RefusedError: when no object of the bucket can be read
        """
        bucket, prefix = self._location
        # The record comes from the run directory, which may name anything; some servers simplify "a/../b" and "a//b".
        if file.root != self.root or not _is_name(file.name) or not _ETAG.fullmatch(file.identity):
            raise SourceError(f"source {self.name}: {file.path!r} is no object below {self.root}")
        with self._translated_errors("GetObject", file.path, file):
            response = self.client.get_object(Bucket=bucket, Key=prefix + file.name, IfMatch=file.identity)
        with closing(response["Body"]) as body:
            # For stores that don't know If-Match.
            if response.get("ETag", file.identity) != file.identity:
                raise self._changed(file, "was replaced")
            read_into = _SizedBody(body, file.size).read_into
            raw: Any = SourceReader(read_into, partial(self._broke_off, file), (Exception,))
            with io.BufferedReader(raw) as stream:
                yield stream

    def _broke_off(self, file: LogFile, error: Exception) -> SourceError:
        return SourceError(
            f"source {self.name}: {file.path} could not be read to its end: {error}",
            hint="A retry may succeed: clear `compress`.",
        )

    def _changed(self, file: LogFile, what: str) -> SourceError:
        return SourceError(
            f"source {self.name}: {file.path} {what} since it was listed",
            hint="Archive a day when its objects are complete. Clear `collect` to list the objects again.",
        )

    # Errors

    @contextmanager
    def _translated_errors(self, operation: str, where: str, file: LogFile | None = None) -> Iterator[Request]:
        who = f"connection {self.connection!r}"
        request = Request(operation, f"{where} of source {self.name}", who)
        try:
            with translated_errors(request, hint=self._hint, setup=f"{who} and the source's `region`"):
                yield request
        except RefusedError as error:
            if file is None or error.code in _CONCERNS_ALL or not isinstance(error.__cause__, ClientError):
                raise
            if error.code in _GONE:
                raise self._changed(file, _GONE[error.code]) from error
            raise SourceError(str(error)) from error
        except ArchiveRequestError as error:
            raise SourceError(str(error)) from error
        except LogArchivalError:
            raise
        except (LookupError, TypeError, ValueError, RuntimeError) as error:  # botocore trusts what a server says
            raise SourceError(
                f"source {self.name}: the answer to {operation} of {where} can't be read: {error!r:.200}",
                hint="A retry may succeed. If it doesn't: is the endpoint an S3?",
            ) from error

    def _hint(self, request: Request, code: str, message: str) -> str:
        if code not in ACCESS_DENIED:
            return _HINTS.get(code) or hint_of_code(code) or f"Check `s3` and `region` of source {self.name}."
        bucket, prefix = self._location
        if "perform: kms:" in message:
            needed = "kms:Decrypt on the KMS key with which the object is encrypted, in the key's policy as well"
        elif request.operation == "ListObjectsV2":
            needed = f"s3:ListBucket on the bucket {bucket}" + (f" with s3:prefix {prefix}*" if prefix else "")
        else:
            needed = f"s3:GetObject on {bucket}/{prefix}*"
        return hint_of_other_policy(message) or (
            f"Connection {self.connection!r} needs {needed}. A bucket of another account has to allow it in its bucket"
            " policy, too."
        )


class _SizedBody:
    """The body of an object, which ends after the bytes that were listed, or is an error.

    :param body: botocore's
    :param size: in bytes
    """

    def __init__(self, body: Any, size: int | None) -> None:
        self._body, self._size, self._read = body, size, 0

    def read_into(self, buffer: Any) -> int:
        """Read bytes into a buffer.

        :param buffer: the buffer
        :returns: how many bytes were read; 0 at the end
        :raises EOFError: when there are more or fewer than were listed
        """
        count: int = self._body.readinto(memoryview(buffer)[:_READ_BYTES])
        self._read += count
        if self._size is not None and (self._read > self._size or (not count and self._read < self._size)):
            raise EOFError(f"{self._read:,} bytes came, {self._size:,} were listed")
        return count


def _is_name(name: str) -> bool:
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


def _is_meant(name: str, size: int, matches: Callable[[str], bool]) -> bool:
    """Return whether an object is the pattern's, as whoever wrote it may have meant its key.

    "*" matches no empty component, and yet "a//b" is a log of "a". A folder of consoles and tools is no log.
    """
    if _is_name(name):
        return matches(name)
    is_folder = not size and name[-1:] in ("", "/")
    meant = "/".join(filter(None, name.split("/")))
    return not is_folder and (not meant or matches(meant))


def _checked(listed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an object or a prefix of a listing.

    :raises LookupError: when it lacks something
    :raises ValueError: when it has an impossible size, time or ETag
    """
    if "Prefix" in listed:
        return listed
    key, size, time, etag = (listed[name] for name in ("Key", "Size", "LastModified", "ETag"))
    if size not in range(1 << 63) or time.tzinfo is None or not _ETAG.fullmatch(etag):
        raise ValueError(f"{key:.80} has the size {size}, the time {time} and the ETag {etag:.80}")
    return listed


def _problem(name: str, listed: Mapping[str, Any]) -> str | None:
    """Return why an object can't be archived, if so."""
    if not _is_name(name):
        return "has an empty, '.' or '..' component or NUL in its key"
    if "ETag" not in listed:
        return (
            "is listed without an ETag, so that nothing could tell whether it changes. Clear `collect` to list again."
        )
    if listed.get("StorageClass") not in _ARCHIVED:
        return None
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreStatus.html
    restored = listed.get("RestoreStatus", {})
    if restored.get("IsRestoreInProgress"):
        return f"is in storage class {listed['StorageClass']} and is still being restored. Clear `collect` afterwards."
    return None if restored else f"is in storage class {listed['StorageClass']}. {_RESTORE}"
