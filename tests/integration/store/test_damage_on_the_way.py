"""A bit that is flipped on the way to the store: what is damaged is never called verified, and its source is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from log_archival.exceptions import ArchiveRequestError
from log_archival.records import Archive, Receipt, read_jsonl
from log_archival.sources.files import FileSource
from tests.support.damaging_proxy import DamagingProxy
from tests.support.operating import Run, connect, write_logs
from tests.support.seaweed import Seaweed

if TYPE_CHECKING:
    from log_archival.sources.base import Source

DAY = "2026-11-22"
CONTENTS = {f"web-{number}/app-{DAY}.log": b"%d GET /orders 200\n" % number * 100 for number in (1, 2)}
SHA256, MD5 = "x-amz-checksum-sha256", "content-md5"


@dataclass(frozen=True)
class Store:
    """What a store compares, and what a run comes to there.

    `tier` is what is reached when tier `probe` is asked for.
    """

    forgets: Collection[str]
    compares_payload: bool
    proof: str
    tier: str


STORES = {
    "compares the SHA-256": Store((), False, "checksum", "probe"),
    "compares the MD5 only": Store((SHA256,), False, "md5", "probe"),
    "compares the signed payload only": Store((SHA256, MD5), True, "signed payload", "receipts"),
    "compares nothing": Store((SHA256, MD5), False, "none", "sent"),
}


@pytest.fixture(scope="module")
def open_store() -> Iterator[Seaweed]:
    """A store to which anybody may write: the proxy can change what was signed."""
    with Seaweed.start(anonymous=True) as server:
        yield server


@pytest.fixture(params=list(STORES.values()), ids=list(STORES))
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def proxy(open_store: Seaweed, kind: Store) -> DamagingProxy:
    return DamagingProxy(open_store.endpoint_url, kind.forgets, kind.compares_payload)


@pytest.fixture
def run(
    proxy: DamagingProxy, store: Seaweed, open_store: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """A run that has compressed two files, which are to be deleted once they are archived."""
    with proxy.serve() as url:
        connection = store.connection()
        connection["extra"] |= {
            "service_config": {**connection["extra"]["service_config"], "s3": {"endpoint_url": url}}
        }
        connect(monkeypatch, connection)
        run = Run(open_store.bucket(f"archive-{secrets.token_hex(4)}"), tmp_path / "staging", DAY)
        write_logs(tmp_path / "logs", DAY, CONTENTS)
        source: Source = FileSource("app", str(tmp_path / "logs"), "**/*-%Y-%m-%d.log", after="delete")
        run.collect(source)
        run.compress()
        yield run


def damaged(run: Run, open_store: Seaweed, archives: list[Archive]) -> list[str]:
    """Return the keys whose object has other bytes than were sent."""
    client = open_store.client()
    bodies = {one.key: client.get_object(Bucket=run.bucket, Key=one.key)["Body"].read() for one in archives}
    return [one.key for one in archives if hashlib.sha256(bodies[one.key]).hexdigest() != one.stored_sha256]


def left(tmp_path: Path) -> int:
    return len(list((tmp_path / "logs").rglob("*.log")))


def test_undamaged_uploads_are_proved_by_what_the_store_compares(
    run: Run, kind: Store, open_store: Seaweed, tmp_path: Path
) -> None:
    run.upload()
    receipts = list(read_jsonl(Path(str(run.run_dir)) / "receipts-0001.jsonl", Receipt))
    assert [receipt.proof for receipt in receipts] == [kind.proof] * 2
    summary = run.verify()
    assert (summary["tier"], summary["new"]) == (kind.tier, 2)
    assert bool(summary["tier_reason"]) is (kind.tier != "probe")
    assert summary["deleted"] == 2 - left(tmp_path) == (2 if kind.tier == "probe" else 0)
    # What the trials leave on such stores is empty, and named so that the reader passes over it.
    listed = open_store.client().list_objects_v2(Bucket=run.bucket)["Contents"]
    others = {one["Key"]: one["Size"] for one in listed if "/app/" not in one["Key"] and "_manifest-" not in one["Key"]}
    assert all("/_probe-" in key and size == 0 for key, size in others.items())
    assert (others == {}) is (kind.proof == "checksum")


def test_damaged_upload_is_refused_or_never_called_acknowledged(
    run: Run, kind: Store, proxy: DamagingProxy, open_store: Seaweed, tmp_path: Path
) -> None:
    proxy.flips = 1
    if kind.proof == "none":
        run.upload()
    else:
        with pytest.raises(ArchiveRequestError, match="received other bytes than its checksum") as refused:
            run.upload()
        assert not refused.value.permanent
        run.upload()  # as the task's retry
    assert len(proxy.damaged) == 1
    archives = run.archives()
    summary = run.verify()
    assert summary["tier"] == kind.tier
    if kind.proof == "none":
        assert len(damaged(run, open_store, archives)) == 1
        assert "nothing shows that it has the bytes that were sent" in summary["tier_reason"]
        assert (summary["kept"], left(tmp_path)) == (2, 2)
    else:
        assert damaged(run, open_store, archives) == []
