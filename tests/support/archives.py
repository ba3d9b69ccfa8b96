"""Archives as a run puts them, written with plain boto3, and an S3 in memory for errors that no server can cause."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from log_archival import codec as codecs
from log_archival.keys import KeyTemplate
from log_archival.manifest import manifest_bodies
from log_archival.partition import Partition
from log_archival.records import Archive

KEYS = KeyTemplate()
#: How keys can begin. In the last three no folder names the day, or another one does, or manifests lie deeper.
LAYOUTS = [
    "logs/%Y/%m/%d/", "logs/dt=%Y-%m-%d/", "logs/year=%Y/month=%m/day=%d/", "logs/%Y%m%d/",
    "logs/111122223333/%Y/%m/%d/", "logs/2020-01-01/%Y/%m/%d/", "logs/%d/%m/%Y/", "logs/%Y-%m/%d/x/",
]  # fmt: skip


def day(text: str = "2026-11-22") -> Partition:
    return Partition.parse(text)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def compressed(
    partition: Partition,
    source: str,
    name: str,
    raw: bytes,
    *,
    codec: codecs.Codec = codecs.ZSTD,
    part_size: int = codecs.DEFAULT_PART_BYTES,
    mtime_ns: int = 0,
) -> list[tuple[Archive, bytes]]:
    """Return the archives of one log file, and their bytes."""
    bodies: list[io.BytesIO] = []

    @contextmanager
    def sink(_: int) -> Iterator[io.BytesIO]:
        bodies.append(io.BytesIO())
        yield bodies[-1]

    result = codecs.compress(io.BytesIO(raw), codec, sink, size_hint=len(raw), part_size=part_size)
    parts = len(result.parts)
    return [
        (
            Archive(
                source=source, root="/var/log", name=name,
                file_size=result.size, file_mtime_ns=mtime_ns, file_sha256=result.sha256, part=number, parts=parts,
                key=KEYS.archive_key(
                    partition, source=source, name=name, digest=part.raw_sha256, codec_suffix=codec.suffix,
                    part=number if parts > 1 else None,
                ),
                codec=codec.name, content_type=codec.content_type, raw_size=part.raw_size, raw_sha256=part.raw_sha256,
                stored_size=part.stored_size, stored_sha256=part.stored_sha256,
            ),
            body.getvalue(),
        )
        for number, (part, body) in enumerate(zip(result.parts, bodies, strict=True), 1)
    ]  # fmt: skip


def manifest_body(partition: Partition, archives: list[Archive]) -> bytes:
    """Return the only manifest of some archives."""
    [body] = manifest_bodies(partition, archives)
    return body


def laid_out(manifest: Any) -> bytes:
    """Return decoded JSON in lines as a manifest has them, whatever it is."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("archives"), list):
        return json.dumps(manifest).encode()
    head = {name: value for name, value in manifest.items() if name != "archives"}
    lines = [json.dumps(head)[:-1] + ', "archives": [']
    if manifest["archives"]:
        lines.append("  " + ",\n  ".join(map(json.dumps, manifest["archives"])))
    return "\n".join([*lines, "]}\n"]).encode()


@dataclass
class Writer:
    """Puts archives and manifests into a bucket, as an administrator; `written` has the bodies by key."""

    client: Any
    bucket: str
    written: dict[str, bytes] = field(default_factory=dict)

    def put(self, key: str, body: bytes, **arguments: Any) -> None:
        checksum = {"ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode()}
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **(checksum | arguments))
        self.written[key] = body

    def file(
        self, name: str, raw: bytes, *, on: str = "2026-11-22", source: str = "app", **options: Any
    ) -> list[Archive]:
        """Put the archives of one log file."""
        archives = compressed(day(on), source, name, raw, **options)
        for archive, body in archives:
            self.put(archive.key, body)
        return [archive for archive, _ in archives]

    def manifest(self, archives: list[Archive], *, on: str = "2026-11-22") -> str:
        """Put a manifest, or several of many archives, and return the key of the last."""
        for body in manifest_bodies(day(on), archives):
            key = self.put_manifest(body, on=on)
        return key

    def put_manifest(self, body: bytes, *, on: str = "2026-11-22") -> str:
        """Put a manifest of any content, whose digest is right, and return its key."""
        key = KEYS.manifest_key(day(on), sha256(body))
        self.put(key, body)
        return key

    def files(self, contents: dict[str, bytes], *, on: str = "2026-11-22", **options: Any) -> list[Archive]:
        """Put a day's files and their manifest."""
        archives = [archive for name, raw in contents.items() for archive in self.file(name, raw, on=on, **options)]
        self.manifest(archives, on=on)
        return archives


@dataclass
class MemoryS3:
    """The part of an S3 client that `ArchiveReader` uses. Each put is a minute after the last."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    modified: dict[str, datetime] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    #: By key or prefix: the error code to return.
    errors: dict[str, str] = field(default_factory=dict)
    #: By key: how many bytes each of the first requests returns before the connection breaks.
    breaks: dict[str, list[int]] = field(default_factory=dict)
    page_size: int = 1000
    knows_ranges: bool = True
    #: By key: how many bytes of it each request has read.
    bytes_read: dict[str, list[int]] = field(default_factory=dict)
    #: Operations and their keys or prefixes, but for puts.
    requests: list[tuple[str, str]] = field(default_factory=list)

    def sent(self, operation: str) -> list[str]:
        """Return the keys or prefixes of an operation's requests, sorted."""
        return sorted(key for name, key in self.requests if name == operation)

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ChecksumSHA256: str = "") -> None:
        self.bodies[Key] = Body
        self.checksums[Key] = ChecksumSHA256
        self.modified[Key] = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=len(self.modified))

    def list_objects_v2(
        self, *, Bucket: str, Prefix: str, Delimiter: str = "", ContinuationToken: str = ""
    ) -> dict[str, Any]:
        self._request("ListObjectsV2", Prefix)
        # Keys and the folders that stand for others, together in one order, as S3 counts and pages them.
        below = {_rolled_up(key, Prefix, Delimiter) for key in self.bodies if key.startswith(Prefix)}
        names = sorted(name for name in below if name > ContinuationToken)
        page = names[: self.page_size]
        folders = [name for name in page if Delimiter and name.endswith(Delimiter) and name != Prefix]
        keys = [name for name in page if name not in folders]
        return {
            "Contents": [
                {"Key": key, "Size": len(self.bodies[key]), "LastModified": self.modified[key]} for key in keys
            ],
            "CommonPrefixes": [{"Prefix": folder} for folder in folders],
            "IsTruncated": len(names) > len(page),
            "NextContinuationToken": page[-1] if page else "",
        }

    def head_object(self, *, Bucket: str, Key: str, ChecksumMode: str) -> dict[str, Any]:
        assert ChecksumMode == "ENABLED"
        self._request("HeadObject", Key)
        if Key not in self.bodies:
            raise _error("HeadObject", "404", 404)
        found = {"ChecksumSHA256": self.checksums[Key]} if self.checksums[Key] else {}
        return {"ContentLength": len(self.bodies[Key]), "LastModified": self.modified[Key], **found}

    def get_object(self, *, Bucket: str, Key: str, Range: str = "") -> dict[str, Any]:
        self._request("GetObject", Key)
        if Key not in self.bodies:
            raise _error("GetObject", "NoSuchKey", 404)
        breaks = self.breaks.get(Key)
        counts = self.bytes_read.setdefault(Key, [])
        counts.append(0)
        body, content_range = self.bodies[Key], {}
        if Range and self.knows_ranges:
            first, last = map(int, Range.removeprefix("bytes=").split("-"))
            if first >= len(body):
                raise _error("GetObject", "InvalidRange", 416)
            body, content_range = body[first : last + 1], {"ContentRange": f"bytes {first}-{last}/{len(body)}"}
        return {"Body": _Body(body, breaks.pop(0) if breaks else None, counts), **content_range}

    def _request(self, operation: str, key: str) -> None:
        self.requests.append((operation, key))
        if code := self.errors.get(key):
            raise _error(operation, code, 503 if code == "SlowDown" else 403)


def _rolled_up(key: str, prefix: str, delimiter: str) -> str:
    """Return the folder below a prefix that stands for a key, or the key."""
    end = key.find(delimiter, len(prefix)) if delimiter else -1
    return key if end < 0 else key[: end + 1]


class _Body(io.BytesIO):
    """A body whose connection breaks after some bytes, unless that is None; the last of the counts is its own."""

    def __init__(self, body: bytes, after: int | None, counts: list[int]) -> None:
        super().__init__(body if after is None else body[:after])
        self.after, self.counts, self.number = after, counts, len(counts) - 1

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.counts[self.number] += len(data)
        if not data and self.after is not None:
            # botocore's ReadTimeoutError is an OSError, too.
            raise TimeoutError("no more bytes")
        return data


def _error(operation: str, code: str, status: int) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


def no_progress(files: int, size: int) -> None:
    """Report nothing."""


def other_bytes(archive: Archive, raw: bytes) -> bytes:
    """Return an archive's content in other stored bytes, as another version of zstd could write them."""
    middle = len(raw) // 2
    body = b"".join(bytes(codecs.ZSTD.compress_block(memoryview(half))) for half in (raw[:middle], raw[middle:]))
    assert sha256(body) != archive.stored_sha256
    return body


def relisted(archive: Archive, body: bytes) -> Archive:
    """Return the archive as a run lists it that compressed it to `body`."""
    return replace(archive, stored_size=len(body), stored_sha256=sha256(body))
