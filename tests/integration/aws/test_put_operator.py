"""CrossAccountPutOperator as other teams use it, and the tasks' behaviour around it, against real accounts."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from log_archival import codecs
from log_archival.exceptions import SourceError
from log_archival.operators import CrossAccountPutOperator
from log_archival.operators.put import find_files
from tests.support.operating import Run, connect, context, write_logs

if TYPE_CHECKING:
    from dev.local_aws import LocalAws


@pytest.fixture(autouse=True)
def connection(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, aws.connection())


def stored(aws: LocalAws, day: str) -> dict[str, bytes]:
    """What the archive holds for a day, decompressed, by key; manifests left out."""
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
def test_plain_paths_are_compressed_put_and_listed(aws: LocalAws, tmp_path: Path, day: str, codec: str) -> None:
    source = write_logs(tmp_path, day)
    summary = put(aws, day, paths=f"{tmp_path}/**/*-{day}.log*", source="app", codec=codec)
    originals = {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = stored(aws, day)
    assert (summary["files"], summary["objects"], summary["new"], summary["partition"]) == (4, 4, 4, day)
    assert set(found.values()) == originals
    assert all(key.startswith(f"logs/{day.replace('-', '/')}/app/") for key in found)
    suffix = {"zstd": ".log.zst", "gzip": ".log.gz", "none": ".log"}[codec]
    assert sum(key.endswith(suffix) for key in found) == 3
    assert any("/app/web-1/app-" in key for key in found), "the folder below the root is part of the key"
    assert any("old-" in key and key.endswith(".gz") and not key.endswith(".gz.zst") for key in found)
    assert source.min_files == 1
    again = put(aws, day, paths=f"{tmp_path}/**/*-{day}.log*", source="app", codec=codec)
    assert (again["new"], again["already"]) == (0, 4)
    assert stored(aws, day) == found


def test_a_file_that_changed_gets_a_second_key_and_the_first_stays(aws: LocalAws, tmp_path: Path, day: str) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"first\n" + day.encode())
    put(aws, day, paths=str(path))
    path.write_bytes(b"second\n" + day.encode())
    put(aws, day, paths=str(path))
    assert sorted(stored(aws, day).values()) == [b"first\n" + day.encode(), b"second\n" + day.encode()]


def test_without_a_digest_in_the_key_a_taken_key_is_an_error(aws: LocalAws, tmp_path: Path, day: str) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"first\n")
    key = "logs/%Y/%m/%d/{source}/{path}{suffix}"
    put(aws, day, paths=str(path), key=key)
    path.write_bytes(b"second\n")
    with pytest.raises(AirflowFailException, match=r"Add \{digest\} to the key template"):
        put(aws, day, paths=str(path), key=key)
    assert list(stored(aws, day).values()) == [b"first\n"]


def test_a_large_file_is_cut_into_parts(aws: LocalAws, tmp_path: Path, day: str) -> None:
    content = b"".join(b"%s %020d\n" % (uuid.uuid4().hex.encode(), number) for number in range(600_000))
    (tmp_path / "big.log").write_bytes(content)
    summary = put(aws, day, paths=f"{tmp_path}/big.log", part_size=8 << 20)
    found = stored(aws, day)
    assert summary["objects"] == len(found) > 1
    by_part = sorted(found, key=lambda key: key.partition(".part")[2])
    assert [key.partition(".part")[2][:4] for key in by_part] == [f"{n:04d}" for n in range(1, len(found) + 1)]
    assert b"".join(found[key] for key in by_part) == content
    assert all(found[key].endswith(b"\n") for key in by_part)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "give `staged` or `paths`"),
        ({"paths": "/x", "staged": {"plan": "/x"}}, "give `staged` or `paths`"),
        ({"paths": "/x", "codec": "lzma"}, "codec 'lzma' is unknown"),
        ({"paths": "/x", "key": "logs/{source}/{path}{suffix}"}, "needs %Y, %m and %d"),
        ({"paths": "/x", "partition": "yesterday"}, "not a day such as 2026-11-22"),
        ({"paths": "/x", "aws_conn_id": "nowhere"}, "nowhere"),
        ({"staged": {"plan": "/nowhere/plan-0001.jsonl"}}, "is missing"),
    ],
    ids=["nothing", "both", "codec", "key", "partition", "connection", "plan"],
)
def test_a_wrong_argument_fails_at_once_and_says_what(
    aws: LocalAws, tmp_path: Path, day: str, arguments: dict[str, Any], said: str
) -> None:
    (tmp_path / "app.log").write_bytes(b"x")
    arguments = {name: f"{tmp_path}/app.log" if value == "/x" else value for name, value in arguments.items()}
    with pytest.raises(Exception, match=said) as failure:
        put(aws, day, **arguments)
    assert isinstance(failure.value, AirflowFailException) or "nowhere" in said


def test_too_few_files_name_the_source_and_the_pattern(aws: LocalAws, tmp_path: Path, day: str) -> None:
    with pytest.raises(SourceError, match=r"source nginx: 0 files match .*\*\.log.*; at least 1"):
        put(aws, day, paths=f"{tmp_path}/*.log", source="nginx")


@pytest.mark.parametrize(
    ("paths", "root", "names"),
    [
        ("{}/a/**/*.log", None, ["b/1.log", "b/c/2.log"]),
        (["{}/a/b/1.log", "{}/a/b/c/2.log"], None, ["1.log", "c/2.log"]),
        ("{}/a/b/c/*.log", None, ["2.log"]),
        ("{}/a/b/c/*.log", "{}/a", ["b/c/2.log"]),
        ("{}/*/b/*.log", None, ["a/b/1.log"]),
    ],
    ids=["glob", "two paths", "folder", "given root", "magic in a folder"],
)
def test_keys_have_the_path_below_what_the_pattern_spells_out(
    tmp_path: Path, paths: Any, root: str | None, names: list[str]
) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/1.log").touch()
    (tmp_path / "a/b/c/2.log").touch()
    (tmp_path / "a/link.log").symlink_to(tmp_path / "a/b/1.log")
    filled = paths.format(tmp_path) if isinstance(paths, str) else [path.format(tmp_path) for path in paths]
    files = find_files(filled, source="s", root=root.format(tmp_path) if root else None)
    assert [file.name for file in files] == names


def test_a_file_that_vanishes_is_named_and_the_others_are_archived(aws: LocalAws, tmp_path: Path, day: str) -> None:
    run = Run(aws.bucket, tmp_path / "staging", day)
    run.collect(write_logs(tmp_path / "logs", day))
    gone = tmp_path / "logs" / "web-2" / f"app-{day}.log"
    gone.unlink()
    run.compress()
    run.upload()
    with pytest.raises(AirflowFailException, match="vanished") as failure:
        run.verify()
    assert str(gone) in str(failure.value)
    assert len(stored(aws, day)) == 3


def test_a_day_without_files_has_a_manifest_that_says_so(aws: LocalAws, tmp_path: Path, day: str) -> None:
    run = Run(aws.bucket, tmp_path / "staging", day)
    (tmp_path / "logs").mkdir()
    from log_archival.sources.files import FileSource

    run.collect(FileSource("app", str(tmp_path / "logs"), "*.log", min_files=0))
    summary = run.verify()
    body = aws.archive_client("s3").get_object(Bucket=aws.bucket, Key=summary["manifest"])["Body"].read()
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


@pytest.mark.parametrize(("make", "said"), CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_the_external_id(
    aws: LocalAws, tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch, make: Any, said: str | None
) -> None:
    connection = aws.connection()
    right = connection["extra"].pop("external_id")
    connection["extra"] = make(connection["extra"], right)
    connect(monkeypatch, connection)
    (tmp_path / "app.log").write_bytes(day.encode())
    if said is None:
        assert put(aws, day, paths=f"{tmp_path}/app.log")["new"] == 1
    else:
        with pytest.raises(AirflowFailException, match=said) as failure:
            put(aws, day, paths=f"{tmp_path}/app.log")
        assert right not in str(failure.value)
        assert stored(aws, day) == {}
