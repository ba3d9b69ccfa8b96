"""Memory doesn't grow with a file's size: 3 GiB in parts of 256 MiB. A module of its own, to run beside the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.pipeline.run_dir import RunDirectory
from tests.support.archives import manifest_body
from tests.support.large_files import GIB, MIB, TARGET_MIB, grow, lines
from tests.support.memory import BATCH, DAY, measured, measured_command

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed


def test_three_gib_in_parts_stay_within_the_target(store: Seaweed, large: Path, show: Callable[[str], None]) -> None:
    bucket = store.bucket("parts")
    sha256 = grow(large, 3 * GIB)
    run_directory = large.parent / "run"
    how: dict[str, Any] = {"bucket": bucket, "connection": store.connection()}
    compressed = measured("compress", large, run_directory, part_size=256 * MIB, **how)
    large.unlink()
    uploaded = measured("upload", large, run_directory, part_size=256 * MIB, **how)
    assert uploaded.objects == compressed.objects
    assert (uploaded.raw_bytes, uploaded.raw_sha256) == (3 * GIB, sha256)
    assert len(uploaded.objects) > 1
    sizes = [store.client().head_object(Bucket=bucket, Key=key)["ContentLength"] for key in uploaded.objects]
    assert max(sizes) <= 256 * MIB
    assert [f".part{number:04d}" in key for number, key in enumerate(uploaded.objects, 1)] == [True] * len(sizes)
    for result in (compressed, uploaded):
        assert result.added < TARGET_MIB, result.work

    # The archive account's people verify every byte of it, and get the file back.
    archives = RunDirectory.at(str(run_directory)).archives(BATCH)
    body = manifest_body(Partition.parse(DAY), archives)
    key = KeyTemplate().manifest_key(Partition.parse(DAY), hashlib.sha256(body).hexdigest())
    store.client().put_object(Bucket=bucket, Key=key, Body=body)
    where = [f"s3://{bucket}/{key.rpartition('/')[0]}/", "--endpoint-url", store.endpoint_url, "--region", "us-east-1"]
    who = {"AWS_ACCESS_KEY_ID": store.access_key, "AWS_SECRET_ACCESS_KEY": store.secret_key}
    source = archives[0].source
    restored = large.parent / "restored"
    verified = measured_command("verify", *where, "--depth", "bytes", environment=who)
    given_back = measured_command("restore", *where, "--source", source, "--to", str(restored), environment=who)
    [file] = [path for path in (restored / source).rglob("*") if path.is_file()]
    with file.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    show(f"{lines([compressed, uploaded])}\n  verify: peak {verified:.0f} MiB; restore: peak {given_back:.0f} MiB")
    assert max(verified, given_back) < TARGET_MIB
