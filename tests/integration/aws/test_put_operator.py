"""The operators between two accounts that enforce their policies: what is stored, and what a wrong setting says."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from log_archival import codec as codecs
from log_archival.operators import CrossAccountPutOperator
from log_archival.sources.files import FileSource
from tests.support.operating import Run, connect, context, write_logs

if TYPE_CHECKING:
    from dev.local_aws import LocalAws


@pytest.fixture(autouse=True)
def connection(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, aws.connection())


def stored(aws: LocalAws, day: str) -> dict[str, bytes]:
    """Return what the archive holds for a day, decompressed, by key; manifests left out."""
    client = aws.archive_client("s3")
    found = client.list_objects_v2(Bucket=aws.bucket, Prefix=f"logs/{day.replace('-', '/')}/").get("Contents", [])
    contents = {}
    for key in (item["Key"] for item in found if "_manifest-" not in item["Key"]):
        codec = {".zst": codecs.ZSTD, ".gz": codecs.GZIP}.get(Path(key).suffix, codecs.NONE)
        codec = codecs.NONE if "old-" in key else codec
        body = client.get_object(Bucket=aws.bucket, Key=key)["Body"]
        contents[key] = b"".join(codecs.decompress(body, codec))
    return contents


def put(aws: LocalAws, day: str, **arguments: Any) -> dict[str, Any]:
    return CrossAccountPutOperator(task_id="archive", bucket=aws.bucket, **arguments).execute(context(day))


@pytest.mark.parametrize("codec", ["zstd", "gzip", "none"])
def test_plain_paths_are_compressed_and_put(aws: LocalAws, tmp_path: Path, day: str, codec: str) -> None:
    write_logs(tmp_path, day)
    paths = f"{tmp_path}/**/*-{day}.log*"
    summary = put(aws, day, paths=paths, source="app", codec=codec)
    originals = {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = stored(aws, day)
    assert (summary["files"], summary["objects"], summary["new"], summary["partition"]) == (4, 4, 4, day)
    assert set(found.values()) == originals
    assert all(key.startswith(f"logs/{day.replace('-', '/')}/app/") for key in found)
    suffix = {"zstd": ".log.zst", "gzip": ".log.gz", "none": ".log"}[codec]
    assert sum(key.endswith(suffix) for key in found) == 3
    assert any("/app/web-1/app-" in key for key in found), "the folder below the root is part of the key"
    assert any("old-" in key and key.endswith(".gz") and not key.endswith(".gz.zst") for key in found)
    again = put(aws, day, paths=paths, source="app", codec=codec)
    assert (again["new"], again["existing"]) == (0, 4)
    assert stored(aws, day) == found


def test_file_that_changed_gets_a_second_key_and_the_first_stays(aws: LocalAws, tmp_path: Path, day: str) -> None:
    path, contents = tmp_path / "app.log", [b"first\n" + day.encode(), b"second\n" + day.encode()]
    for content in contents:
        path.write_bytes(content)
        put(aws, day, paths=str(path))
    assert sorted(stored(aws, day).values()) == contents


def test_key_without_a_digest_is_refused(aws: LocalAws, tmp_path: Path, day: str) -> None:
    path, key = tmp_path / "app.log", "logs/%Y/%m/%d/{source}/{path}{suffix}"
    path.write_bytes(b"first\n")
    with pytest.raises(AirflowFailException, match=r"needs \{digest\}: keys are content-addressed"):
        put(aws, day, paths=str(path), key=key)
    assert stored(aws, day) == {}


def test_large_file_is_cut_into_parts(aws: LocalAws, tmp_path: Path, day: str) -> None:
    content = b"".join(b"%s %020d\n" % (uuid.uuid4().hex.encode(), number) for number in range(600_000))
    (tmp_path / "big.log").write_bytes(content)
    summary = put(aws, day, paths=f"{tmp_path}/big.log", part_size=8 << 20)
    found = stored(aws, day)
    assert summary["objects"] == len(found) > 1
    by_part = sorted(found, key=lambda key: key.partition(".part")[2])
    assert [key.partition(".part")[2][:4] for key in by_part] == [f"{n:04d}" for n in range(1, len(found) + 1)]
    assert b"".join(found[key] for key in by_part) == content
    assert all(found[key].endswith(b"\n") for key in by_part)


def test_file_that_vanishes_is_named_and_the_others_are_archived(aws: LocalAws, tmp_path: Path, day: str) -> None:
    run = Run(aws.bucket, tmp_path / "staging", day)
    run.collect(write_logs(tmp_path / "logs", day))
    gone = tmp_path / "logs" / "web-2" / f"app-{day}.log"
    gone.unlink()
    run.context["ti"].try_number = run.context["ti"].max_tries + 1  # the last try archives what it can
    run.compress()
    run.upload()
    with pytest.raises(AirflowFailException, match="vanished") as failure:
        run.verify()
    assert str(gone) in str(failure.value)
    assert len(stored(aws, day)) == 3


def test_day_without_files_has_an_empty_manifest(aws: LocalAws, tmp_path: Path, day: str) -> None:
    run = Run(aws.bucket, tmp_path / "staging", day)
    (tmp_path / "logs").mkdir()
    run.collect(FileSource("app", str(tmp_path / "logs"), "*.log", min_files=0))
    summary = run.verify()
    body = aws.archive_client("s3").get_object(Bucket=aws.bucket, Key=summary["manifests"][0])["Body"].read()
    assert json.loads(body)["archives"] == []


CONNECTIONS: dict[str, tuple[Any, str | None]] = {
    "top level": (lambda extra, right: extra | {"external_id": right}, None),
    "assume_role_kwargs": (lambda extra, right: extra | {"assume_role_kwargs": {"ExternalId": right}}, None),
    "both, the same": (
        lambda extra, right: extra | {"external_id": right, "assume_role_kwargs": {"ExternalId": right}},
        None,
    ),
    "both, different": (
        lambda extra, right: extra | {"external_id": right, "assume_role_kwargs": {"ExternalId": "another"}},
        "differ",
    ),
    "missing": (lambda extra, _: extra, 'no "external_id"'),
    "wrong": (lambda extra, _: extra | {"external_id": "not-the-agreed-one"}, "parameter ExternalId"),
}


@pytest.mark.parametrize(("make", "message"), CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_external_id_decides(
    aws: LocalAws, tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch, make: Any, message: str | None
) -> None:
    connection = aws.connection()
    right = connection["extra"].pop("external_id")
    connection["extra"] = make(connection["extra"], right)
    connect(monkeypatch, connection)
    (tmp_path / "app.log").write_bytes(day.encode())
    if message is None:
        assert put(aws, day, paths=f"{tmp_path}/app.log")["new"] == 1
    else:
        with pytest.raises(AirflowFailException, match=message) as failure:
            put(aws, day, paths=f"{tmp_path}/app.log")
        assert right not in str(failure.value)
        assert stored(aws, day) == {}


def test_refused_role_fails_a_day_without_files(
    aws: LocalAws, tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = aws.connection()
    connection["extra"]["external_id"] = "not-the-agreed-one"
    connect(monkeypatch, connection)
    with pytest.raises(AirflowFailException, match="parameter ExternalId"):
        put(aws, day, paths=f"{tmp_path}/*.log", min_files=0)
