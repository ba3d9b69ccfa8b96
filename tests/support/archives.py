"""Archives as a run leaves them, written with plain boto3; and an S3 in memory for what no server can be made to do."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from log_archival import codecs
from log_archival.keys import KeyTemplate
from log_archival.records import Archive, manifest_body
from log_archival.partition import Partition

KEYS = KeyTemplate()


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
    part_size: int = codecs.DEFAULT_PART_SIZE,
) -> list[tuple[Archive, bytes]]:
    """The archives of one log file, and their bytes."""
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
                file_size=result.size, file_mtime_ns=0, file_sha256=result.sha256, part=number, parts=parts,
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


@dataclass
class Writer:
    """Writes archives and manifests into a bucket, as an administrator."""

    client: Any
    bucket: str
    written: dict[str, bytes] = field(default_factory=dict)

    def put(self, key: str, body: bytes, **arguments: Any) -> None:
        sums = {"ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode()}
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **(sums | arguments))
        self.written[key] = body

    def file(self, name: str, raw: bytes, *, on: str = "2026-11-22", source: str = "app", **how: Any) -> list[Archive]:
        made = compressed(day(on), source, name, raw, **how)
        for archive, body in made:
            self.put(archive.key, body)
        return [archive for archive, _ in made]

    def manifest(self, archives: list[Archive], *, on: str = "2026-11-22") -> str:
        body = manifest_body(day(on), archives)
        key = KEYS.manifest_key(day(on), sha256(body))
        self.put(key, body)
        return key

    def files(self, contents: dict[str, bytes], *, on: str = "2026-11-22", **how: Any) -> list[Archive]:
        """A day's files and their manifest."""
        archives = [archive for name, raw in contents.items() for archive in self.file(name, raw, on=on, **how)]
        self.manifest(archives, on=on)
        return archives


@dataclass
class MemoryS3:
    """What `ArchiveReader` asks of an S3 client. Each put comes a minute after the last."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    modified: dict[str, datetime] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    #: By key: the error code to answer with, or how many bytes to give before the connection breaks, and how often.
    refuse: dict[str, str] = field(default_factory=dict)
    breaks: dict[str, list[int]] = field(default_factory=dict)
    page: int = 1000

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ChecksumSHA256: str = "") -> None:
        self.bodies[Key] = Body
        self.checksums[Key] = ChecksumSHA256
        self.modified[Key] = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=len(self.modified))

    def list_objects_v2(self, *, Bucket: str, Prefix: str, ContinuationToken: str = "") -> dict[str, Any]:
        self._raise("ListObjectsV2", Prefix)
        keys = sorted(key for key in self.bodies if key.startswith(Prefix) and key > ContinuationToken)
        page = keys[: self.page]
        return {
            "Contents": [
                {"Key": key, "Size": len(self.bodies[key]), "LastModified": self.modified[key]} for key in page
            ],
            "IsTruncated": len(keys) > len(page),
            "NextContinuationToken": page[-1] if page else "",
        }

    def head_object(self, *, Bucket: str, Key: str, ChecksumMode: str) -> dict[str, Any]:
        assert ChecksumMode == "ENABLED"
        self._raise("HeadObject", Key)
        if Key not in self.bodies:
            raise _error("HeadObject", "404", 404)
        found = {"ChecksumSHA256": self.checksums[Key]} if self.checksums[Key] else {}
        return {"ContentLength": len(self.bodies[Key]), **found}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self._raise("GetObject", Key)
        if Key not in self.bodies:
            raise _error("GetObject", "NoSuchKey", 404)
        breaks = self.breaks.get(Key)
        return {"Body": _Breaking(self.bodies[Key], breaks.pop(0) if breaks else None)}

    def _raise(self, operation: str, key: str) -> None:
        if code := self.refuse.get(key):
            raise _error(operation, code, 503 if code == "SlowDown" else 403)


class _Breaking(io.BytesIO):
    def __init__(self, body: bytes, after: int | None) -> None:
        super().__init__(body if after is None else body[:after])
        self.after = after

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data and self.after is not None:
            # botocore's ReadTimeoutError is an OSError, too.
            raise TimeoutError("the connection broke")
        return data


def _error(operation: str, code: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


def other_bytes(archive: Archive, raw: bytes) -> bytes:
    """The same content as an archive's, stored in other bytes: as another version of zstd would."""
    import zstandard

    body = zstandard.ZstdCompressor(level=19, write_content_size=True).compress(raw)
    assert sha256(body) != archive.stored_sha256
    return body


def relisted(archive: Archive, body: bytes) -> Archive:
    """The archive, as a run lists it that compressed it to `body`."""
    return replace(archive, stored_size=len(body), stored_sha256=sha256(body))
