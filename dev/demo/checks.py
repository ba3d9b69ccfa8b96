"""What the demo claims, looked at from outside: as the archive account's administrator, and with the writer's keys.

Nothing here asks Airflow or uses `log_archival`: the keys are worked out from the files' own bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import zstandard
from botocore.exceptions import ClientError

from dev.demo.settings import DemoError, DemoFolder
from dev.local_aws import LocalAws

#: (key, version id) of each object version, and its size; a delete marker has the size None.
Versions = Mapping[tuple[str, str], int | None]
OWNER_ACL = "bucket-owner-full-control"
_OTHER_BYTES = b"not what was archived"


def key_of(folder: DemoFolder, day: date, path: Path) -> str:
    """The key that a file has to be archived under: its day, source, path and the SHA-256 of its bytes."""
    name = PurePosixPath(path.relative_to(folder.logs).as_posix())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    # What is compressed already stays as it is.
    codec = "" if name.suffix == ".gz" else ".zst"
    return f"logs/{day:%Y/%m/%d}/{name.with_suffix('')}-{digest}{name.suffix}{codec}"


def object_versions(aws: LocalAws) -> dict[tuple[str, str], int | None]:
    """Every version of every object in the bucket, as the archive account's administrator sees them."""
    found: dict[tuple[str, str], int | None] = {}
    for page in aws.archive_client("s3").get_paginator("list_object_versions").paginate(Bucket=aws.bucket):
        found |= {(version["Key"], version["VersionId"]): version["Size"] for version in page.get("Versions", [])}
        found |= {(marker["Key"], marker["VersionId"]): None for marker in page.get("DeleteMarkers", [])}
    return found


def check_archived(aws: LocalAws, versions: Versions, keys: Mapping[date, Mapping[str, Path]]) -> int:
    """Check that the bucket holds exactly these files and one manifest a day; answer the logs' stored bytes.

    :param keys: by day, key to the file that it has to hold
    :raises DemoError: with what is missing, too much or different
    """
    expected = {key: path for of_day in keys.values() for key, path in of_day.items()}
    found = {key for key, _ in versions}
    manifests = {key for key in found if PurePosixPath(key).name.startswith("_manifest-")}
    if len(versions) != len(found) or None in versions.values():
        raise DemoError("some object of the archive has a second version or a delete marker")
    if found - manifests != expected.keys():
        missing, extra = sorted(expected.keys() - found), sorted(found - manifests - expected.keys())
        raise DemoError(f"the archive does not hold exactly the files: missing {missing[:5]}, too much {extra[:5]}")
    s3 = aws.archive_client("s3")

    def body(key: str) -> bytes:
        data: bytes = s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read()
        return data

    for day, of_day in keys.items():
        listings = [json.loads(body(key)) for key in manifests if key.startswith(f"logs/{day:%Y/%m/%d}/")]
        if [{entry["key"] for entry in listing["archives"]} for listing in listings] != [of_day.keys()]:
            raise DemoError(f"{day} has {len(listings)} manifests, or one that does not list exactly its files")

    def same(item: tuple[str, Path]) -> bool:
        key, path = item
        stored = body(key)
        if key.endswith(".zst"):
            stored = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stored), read_across_frames=True).read()
        return stored == path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        different = [key for key, equal in zip(expected, pool.map(same, expected.items()), strict=True) if not equal]
    if different:
        raise DemoError(f"{len(different)} archives do not hold their file's bytes: {different[:5]}")
    return sum(size or 0 for (key, _), size in versions.items() if key in expected)


@dataclass(frozen=True)
class Refusal:
    """Something that was tried, and the answer: an error code of S3 or STS, or None when it was done."""

    tried: str
    expected: str
    answer: str | None

    @property
    def refused(self) -> bool:
        """Whether it was refused, and for the reason it had to be."""
        return self.answer == self.expected

    @property
    def outcome(self) -> str:
        """The answer in words."""
        if self.answer is None:
            return "IT WAS DONE"
        because = {"PreconditionFailed": ": it is archived already", "403": ": HeadObject has no other words"}
        return f"refused, {self.answer}{because.get(self.answer, '')}"


def try_what_is_forbidden(aws: LocalAws, key: str) -> list[Refusal]:
    """Try, with the writer's and Airflow's own credentials, what neither may do.

    The writer's session is the widest there is, without the session policy that each run narrows it with.

    :param key: of an archived log
    """
    writer = aws.assume(session_name="log-archival@demo").client("s3")
    archived = {"Bucket": aws.bucket, "Key": key}
    agreed = {"ACL": OWNER_ACL, "IfNoneMatch": "*", "Body": _OTHER_BYTES}
    directly = aws.airflow_client("s3")
    denied = "AccessDenied"
    attempts: Sequence[tuple[str, str, Callable[[], Any]]] = [
        ("read a log", denied, lambda: writer.get_object(**archived)),
        ("ask whether a log is there", "403", lambda: writer.head_object(**archived)),
        ("list the logs", denied, lambda: writer.list_objects_v2(Bucket=aws.bucket, Prefix="logs/")),
        ("delete a log", denied, lambda: writer.delete_object(**archived)),
        # By what it answers, this one also shows that the credentials do work: the put as such was allowed.
        ("overwrite a log, as runs put it: only if new", "PreconditionFailed",
         lambda: writer.put_object(**archived, **agreed)),
        ("overwrite a log, whether new or not", denied,
         lambda: writer.put_object(**archived, ACL=OWNER_ACL, Body=_OTHER_BYTES)),
        ("write outside logs/", denied, lambda: writer.put_object(Bucket=aws.bucket, Key="other/new.log", **agreed)),
        ("write without the ACL", denied,
         lambda: writer.put_object(Bucket=aws.bucket, Key="logs/new.log", IfNoneMatch="*", Body=_OTHER_BYTES)),
        ("write with Airflow's own keys, without the role", denied,
         lambda: directly.put_object(Bucket=aws.bucket, Key="logs/new.log", **agreed)),
        ("assume the role with a wrong external id", denied,
         lambda: aws.assume("a-wrong-external-id", session_name="log-archival@demo")),
        ("assume the role without an external id", denied,
         lambda: aws.assume(None, session_name="log-archival@demo")),
    ]  # fmt: skip
    return [Refusal(tried, expected, _answer(call)) for tried, expected, call in attempts]


def _answer(call: Callable[[], Any]) -> str | None:
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None
