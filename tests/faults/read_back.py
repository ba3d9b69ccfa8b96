"""Reads an archive back without the package's reader, and compares it with what was written, line by line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@dataclass(frozen=True)
class Difference:
    """What an archive has less, or more, than was written; all zero when it is right."""

    lines_lost: int = 0
    objects_twice: int = 0
    partial_objects: int = 0


def _itself(line: bytes) -> bytes:
    return line


def difference(
    client: Any, bucket: str, prefix: str, written: Iterable[bytes], as_written: Callable[[bytes], bytes] = _itself
) -> Difference:
    """Compare all that is below a prefix with the content of the files that were written.

    Lines are compared as multisets. An object is *partial* when it doesn't decompress to its end, when its bytes are
    not those that a manifest lists, or when none lists it. It is there *twice* when another object has its content.

    :param client: an S3 client that may read
    :param bucket: the archive bucket
    :param prefix: of the day
    :param written: the content of each file
    :param as_written: returns the line that was written, of one that the archive has
    """
    objects = dict(_objects(client, bucket, prefix))
    listed = {
        entry["key"]: (
            entry.get("bundle_size", entry["stored_size"]),
            entry.get("bundle_sha256", entry["stored_sha256"]),
        )
        for key, body in objects.items()
        if _name(key).startswith("_manifest-")
        for entry in json.loads(body)["archives"]
    }
    found: Counter[bytes] = Counter()
    contents: Counter[bytes] = Counter()
    partial = len(listed.keys() - objects.keys())
    for key, body in objects.items():
        if _name(key).startswith(("_manifest-", "_probe-")):
            continue
        partial += listed.get(key) != (len(body), hashlib.sha256(body).hexdigest())
        try:
            members = list(contents_of(key, body))
        except (zstd.ZstdError, EOFError, OSError, tarfile.TarError):
            partial += 1
            continue
        contents[hashlib.sha256(b"".join(members)).digest()] += 1
        for content in members:
            found.update(map(as_written, content.splitlines(keepends=True)))
    expected: Counter[bytes] = Counter()
    for content in written:
        expected.update(content.splitlines(keepends=True))
    return Difference((expected - found).total(), (contents - Counter(contents.keys())).total(), partial)


def _objects(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, bytes]]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for listed in page.get("Contents", ()):
            yield listed["Key"], client.get_object(Bucket=bucket, Key=listed["Key"])["Body"].read()


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def contents_of(key: str, body: bytes) -> Iterator[bytes]:
    """Yield the content of each log file in an object.

    :param key: the object's key
    :param body: its bytes
    """
    if key.endswith(".tar.zst") and "~bundle-" in key:
        with tarfile.open(fileobj=io.BytesIO(_decompressed(body)), mode="r:") as bundle:
            for member in bundle:
                file = bundle.extractfile(member)
                assert file
                yield file.read()
    else:
        yield _decompressed(body)


def _decompressed(body: bytes) -> bytes:
    if body.startswith(b"\x28\xb5\x2f\xfd"):
        with zstd.ZstdFile(io.BytesIO(body)) as file:
            return file.read()
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
