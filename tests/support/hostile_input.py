"""What comes from outside, and may be anything: how it is made up, and what is done with it.

Each target takes one input, and returns whether it was accepted. An error of this package's means that it was refused;
any other error fails the test, and so does anything that is read, written or deleted and must not be.
"""

from __future__ import annotations

import copy
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import boto3
import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import strategies as st

from log_archival.aws.connection import role_settings
from log_archival.config import parse_settings
from log_archival.exceptions import LogArchivalError
from log_archival.keys import KeyTemplate
from log_archival.manifest import read_manifest
from log_archival.pipeline.compressor import Compressor
from log_archival.reader import cli, commands
from log_archival.reader.archive import ArchiveReader
from log_archival.records import Archive, Failure, LogFile, Receipt, read_jsonl, to_line
from log_archival.sources.files import FileSource
from log_archival.sources.s3 import S3Source
from tests.faults.read_back import contents_of
from tests.support import archives as readable
from tests.support.extras import ARN, EXTRAS
from tests.support.log_files import DAY, NOON
from tests.support.memory_s3 import BUCKET, MemoryS3
from tests.support.operating import Run, use_memory, write_logs

SHIPPED = (Path(__file__).parents[2] / "include" / "archive.yaml").read_text()
OURS = (LogArchivalError, AirflowFailException, AirflowSkipException)

#: Values of JSON that somebody might write in place of another.
ODD: st.SearchStrategy[Any] = st.sampled_from([
    None, True, False, 0, 1, -1, 1 << 63, -(1 << 63), 10**30, 1.5, 1e308, float("nan"), float("inf"), "", ".", "..",
    "../../../../etc/passwd", "/etc/passwd", "a\0b", "half \ud800", "byte \udcff", "line\nline\r\n", "x" * 300,
    "0" * 64,
    "2026-11-22", "2026-13-01", "9999-12-31", "s3://[x", "%Y-%m-%d", "{digest}", "*", "**", [], [[]], [None],
    {}, {"a": {}},
])  # fmt: skip
TREES = st.recursive(
    ODD | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
#: An edit of some bytes: where, as a part of the whole, how many are left out there, and what is put in.
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from([0, 0, 1, 1, 20]),
        st.binary(max_size=3)
        | st.sampled_from([b"[" * 100, b"9" * 30, b"\\ud800", b"\n", b"\xff", b"-", b"..", b"\0"]),
    ),
    min_size=1,
    max_size=3,
)


def edited(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Return bytes with some edits."""
    for where, count, put in edits:
        start = int(where * len(data))
        data = data[:start] + put + data[start + count :]
    return data


@dataclass(frozen=True)
class Target:
    """A kind of input.

    :param inputs: makes them up
    :param attempt: takes one, and returns whether it was accepted
    :param usual: one that has to be accepted
    """

    inputs: st.SearchStrategy[Any]
    attempt: Callable[[Any], bool]
    usual: Any

    def accepts(self, given: Any) -> bool:
        """Return whether an input is accepted; it is refused by one of the package's errors, or by an exit status."""
        try:
            return self.attempt(given)
        except OURS:
            return False


# archive.yaml

_SECTIONS: dict[str, list[str]] = {
    "archive": ["bucket", "connection", "prefix", "key", "acl", "kms_key_arn", "max_concurrent_requests"],
    "schedule": ["cron", "timezone"],
    "verify": ["tier", "depth", "read_connection"],
    "notify": ["notifiers", "archived_by"],
}
_OF_SOURCES = [
    "name", "path", "s3", "cloudwatch", "class", "pattern", "min_files", "after", "rotated", "rotated_until",
    "rotation_problems", "connection", "region", "streams", "settle_minutes",
]  # fmt: skip
_LEAST: dict[str, Any] = {"archive": {"bucket": "acme-log-archive"}, "sources": [{"name": "app", "path": "/var/log"}]}


_PLACES = [
    *((section, field) for section, fields in _SECTIONS.items() for field in (*fields, "")),
    *(("sources", field) for field in (*_OF_SOURCES, "")),
    *(("", field) for field in ("codec", "part_size", "batch_size", "staging", "accepted_risks", "other")),
]
_SETTINGS = TREES | st.sampled_from([
    "zstd", "gzip", "1 GiB", "keep", "move: /done", "next-day", "04:00", "UTC", "Europe/Paris", "30 10 * * *", "read",
    "/x", "s3://logs/x", "file:///x%00", "/aws/*", "*-%Y-%m-%d.log",
    "logs/%Y/%m/%d/{source}/{path}-{digest}{suffix}", ["a"],
])  # fmt: skip


def _document(odd: list[tuple[tuple[str, str], Any]]) -> Any:
    """Return the least settings, with other values in some places; no field is the whole section."""
    document = copy.deepcopy(_LEAST)
    for (section, field), value in copy.deepcopy(odd):
        place = document.setdefault(section, {}) if section else document
        if isinstance(place, list) and place:
            place = place[0]
        if not field or not isinstance(place, dict):
            document[section] = value
        else:
            place[field] = value
    return document


_DOCUMENTS = st.lists(st.tuples(st.sampled_from(_PLACES), _SETTINGS), max_size=3).map(_document)
_YAML_PIECES = st.lists(
    st.sampled_from([
        "archive:", "sources:", "\n", "\n  ", " - ", "&a ", "*a", "&b ", "*b", "<<: ", "[", "]", "{", "}", "? ", ": ",
        ", ",
        "!!int ", "!!binary ", "!!timestamp ", "!!set ", "!!python/object/apply:os.system ", "!x ", "0x" + "f" * 90,
        "1_000",
        "2026-13-45", "1:99:99", ".nan", "|\n", ">-\n", "'", '"', "%YAML 1.1\n---\n", "...", "\t", "\ufeff", "\x85",
        "@",
    ]) | st.text(max_size=4),
    max_size=30,
).map("".join)  # fmt: skip


def _dumped(document: Any) -> str:
    return yaml.dump(document, Dumper=yaml.SafeDumper)


def _is_archive_yaml(text: str) -> bool:
    return bool(parse_settings(text, "archive.yaml"))


# The connection's extra, and the params of a run


_ROLE = {"role_arn": ARN, "external_id": "the-agreed-id", "region_name": "eu-west-1"}
#: A connection that works, with something odd in a place or two.
_ROLES = st.dictionaries(
    st.sampled_from(["region_name", "external_id", "config_kwargs", "assume_role_kwargs", "verify", "x"]),
    TREES | st.just({}), max_size=2,
).map(lambda odd: _ROLE | odd)  # fmt: skip


def _is_connection(given: tuple[str, str]) -> bool:
    extra, bucket = given
    return bool(role_settings("log_archive", extra, bucket=bucket))


def _begins_a_run(given: tuple[Any, dict[str, Any]]) -> bool:
    key, params = given
    with tempfile.TemporaryDirectory() as folder:
        source = write_logs(Path(folder) / "logs", DAY.key, {f"a-{DAY.key}.log": b"a\n"})
        run = Run(BUCKET, f"{folder}/staging", DAY.key)
        run.context["dag_run"].partition_key = key
        run.collect(source, **params)
    return True


_PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "date": ODD | st.dates().map(str) | st.text(max_size=12),
        "sources": ODD | st.lists(st.just("app") | ODD, max_size=3),
        "dry_run": ODD,
        "allow_open_day": ODD,
    },
)

# Records of the run directory

_LOG_FILE = LogFile("app", "/logs", "a.log", 2, NOON * 10**9, "1")
_RECORDS = [
    _LOG_FILE,
    Archive(
        "app", "/logs", "a.log", 2, NOON * 10**9, "a" * 64, 1, 1, "logs/k.zst", "zstd", "application/zstd", 2, "a" * 64,
        2, "b" * 64,
    ),
    Receipt("logs/k.zst", "new", 2, "b" * 64, "checksum"),
    Failure("app", "a.log", "gone"),
]  # fmt: skip


def _changed_line(line: bytes, field: int | str, value: Any) -> bytes:
    """Return a record with another value in one of its fields, which is a name, or a number of any size."""
    record = json.loads(line)
    return json.dumps(record | {_name_of(field, record): value}).encode() + b"\n"


def _name_of(field: int | str, record: dict[str, Any]) -> str:
    return field if isinstance(field, str) else sorted(record)[field % len(record)]


def _reads_back(given: tuple[int, int | str, Any, list[tuple[float, int, bytes]]]) -> bool:
    number, field, value, edits = given
    record = _RECORDS[number]
    data = _changed_line(to_line(record), field, value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        path.write_bytes(edited(data, edits) if edits else data)
        return all(isinstance(one, type(record)) for one in read_jsonl(path, type(record)))


@contextmanager
def _outside(folder: Path) -> Iterator[None]:
    """Have a file beside a run's folders that must stay as it is."""
    secret = folder / "secret" / f"a-{DAY.key}.log"
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    yield
    assert secret.read_bytes() == b"secret"
    assert {path.name for path in folder.iterdir()} <= {"secret", "logs", "staging"}


_FILES_OF_RUN = ("collected.json", "files-0001", "archives-0001", "failures-0000", "failures-0001", "receipts-0001")


def _run_goes_on(given: tuple[str, int | str, Any, list[tuple[float, int, bytes]]]) -> bool:
    """Edit a file between two tasks, and run those that read it: what is deleted is archived, nothing else is read."""
    name, field, value, edits = given
    s3, contents = MemoryS3(), [b"first\n", b"second\n"]
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        folder = Path(temporary)
        use_memory(patch, s3)
        logs = {f"web/{number}-{DAY.key}.log": content for number, content in enumerate(contents)}
        write_logs(folder / "logs", DAY.key, logs)
        run = Run(BUCKET, folder / "staging", DAY.key)
        run.collect(FileSource("app", str(folder / "logs"), "**/*-%Y-%m-%d.log", after="delete"))
        tasks = [run.compress, run.upload, run.verify]
        for task in tasks[: {"files-0001": 0, "archives-0001": 1, "receipts-0001": 2}.get(name, 1)]:
            task()
            tasks = tasks[1:]
        path = next(Path(str(run.run_dir)).glob(f"{name}*"))
        lines = path.read_bytes().splitlines(keepends=True) or [to_line(_RECORDS[-1])]
        data = _changed_line(lines[0], field, value) + b"".join(lines[1:])
        path.write_bytes(edited(data, edits) if edits else data)
        try:
            with _outside(folder):
                for task in tasks:
                    task()
            return True
        finally:
            assert all(key.startswith(f"logs/{DAY.key.replace('-', '/')}/") for key in s3.objects)
            archived = {
                b"".join(contents_of(key, one.body)) for key, one in s3.objects.items() if "_manifest-" not in key
            }
            assert archived <= set(contents)
            kept = {path.read_bytes() for path in (folder / "logs").rglob("*.log")}
            assert set(contents) <= archived | kept, "deleted, and not archived"


# Manifests

_GOOD = ["app.log", "web-1/app.log"]


@cache
def _archived() -> readable.Writer:
    writer = readable.Writer(readable.MemoryS3(), "archive")
    writer.files({name: name.encode() * 20 for name in _GOOD})
    return writer


def _is_manifest(given: tuple[int, int | str, Any, list[tuple[float, int, bytes]]]) -> bool:
    """Have an edited manifest, whose digest is right, read by each command beside a good one."""
    number, field, value, edits = given
    writer = readable.Writer(readable.MemoryS3(), "archive")
    for key, body in _archived().written.items():
        writer.put(key, body)
    [good] = [body for key, body in writer.written.items() if "_manifest-" in key]
    document = json.loads(good)
    entry = document["archives"][number % len(document["archives"])]
    entry[_name_of(field, entry)] = value
    body = readable.laid_out(document)
    body = edited(body, edits) if edits else body
    key = writer.put_manifest(body)
    for arguments in (["list"], ["list", "--files"], ["verify", "--depth", "bytes"], ["verify"], ["cat", _GOOD[0]], []):
        with tempfile.TemporaryDirectory() as folder:
            to = f"{folder}/to"
            status = _command(writer.client, *(arguments or ["restore", "--to", to]))
            assert status in (0, 1, 2)
            assert {path.name for path in Path(folder).iterdir()} <= {"to"}
    return bool(read_manifest(key, io.BytesIO(body), writer.client.modified[key]))


def _command(client: Any, name: str, *arguments: str) -> int:
    """Run a command in this process, and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "_reader", lambda _: ArchiveReader(client, "archive", workers=1))
        for stream in ("stdout", "stderr"):
            patch.setattr(f"sys.{stream}", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
        return cli.main([name, "s3://archive/logs/", *arguments])


# Names of files

_NAMES = st.lists(
    (st.binary(min_size=1, max_size=24) | st.binary(min_size=250, max_size=255) | st.sampled_from([
        b"...", b"a\nb", b"-rf", b"~", b"%2E%2E", b"_manifest-" + b"0" * 32 + b".json", b"a.part0002.log", b"\xff.zst",
        b"x" * 255,
    ]))
    .map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda name: name not in (b".", b"..")),
    min_size=1,
    max_size=3,
).map(b"/".join)  # fmt: skip


def _is_restored(names: list[bytes]) -> bool:
    """Archive files of these names, and restore them: the same names and bytes, and nothing beside them."""
    names = [one for one in names if not any(other.startswith(one + b"/") for other in names)]
    with tempfile.TemporaryDirectory() as temporary:
        root = os.fsencode(temporary) + b"/logs/"
        for number, name in enumerate(names):
            os.makedirs(os.path.dirname(root + name), exist_ok=True)
            Path(os.fsdecode(root + name)).write_bytes(b"%d\n" % number)
            os.utime(root + name, (NOON, NOON))
        source = FileSource("app", os.fsdecode(root))
        listing = source.find(DAY)
        assert listing.failures == []
        writer = readable.Writer(readable.MemoryS3(), "archive")
        compressor = Compressor(DAY, KeyTemplate(), {"app": source})
        archives = []
        for file in listing.files:
            body = _Kept()
            archives += compressor.compress(file, body.destination)
            writer.put(archives[-1].key, body.getvalue())
        writer.manifest(archives)
        assert all(key.isascii() and len(key) <= 1024 and key.startswith("logs/2026/11/22/") for key in writer.written)
        assert _command(writer.client, "restore", "--to", f"{temporary}/to") == 0
        restored = os.fsencode(temporary) + b"/to/app/"
        found = {one: Path(os.fsdecode(restored + one)).read_bytes() for one in names}
        assert found == {one: b"%d\n" % number for number, one in enumerate(names)}
        assert sorted(os.listdir(temporary)) == ["logs", "to"]
        assert sum(len(files) for *_, files in os.walk(f"{temporary}/to")) == len(names)
    return True


class _Kept(io.BytesIO):
    @contextmanager
    def destination(self) -> Iterator[tuple[io.BytesIO, str, int]]:
        yield self, "", 0


# What an S3 server says

_TEXTS = st.sampled_from([
    None, "", " ", "x", "-1", "5", "1e400", "nan", "9" * 30, "9" * 5_000, "yesterday", "2026-11-22",
    "2026-11-22T12:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "Sun, 22 Nov 2026 12:00:00 GMT",
    '"d41d8-2"', 'W/"x"', "a\nb",
    "\u00e9", "../x", "a//b", "%00", "GLACIER", "true", "=?utf-8?q?x?=",
]) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=6)  # fmt: skip
_LISTED = {
    "Key": "a.log", "LastModified": "2026-11-22T12:00:00.000Z", "ETag": '"0"', "Size": "5", "StorageClass": "STANDARD",
    "RestoreStatus": "", "Owner": "", "ChecksumAlgorithm": "CRC32",
}  # fmt: skip
_HEADERS = {
    "Content-Length": "5", "ETag": '"0"', "Last-Modified": "Sun, 22 Nov 2026 12:00:00 GMT", "Expires": "0",
    "x-amz-meta-raw-sha256": "0", "x-amz-missing-meta": "0", "x-amz-mp-parts-count": "2", "x-amz-tagging-count": "0",
    "x-amz-restore": "", "x-amz-checksum-sha256": "WZRHGrsBESr8wYFZ9sx0tPURuZgG2lmzyvWpwXPKz8U=",
    "x-amz-object-lock-retain-until-date": "2026-11-22T12:00:00Z",
}  # fmt: skip


def _some_texts(usual: dict[str, str]) -> st.SearchStrategy[Any]:
    return st.just(usual) | st.dictionaries(st.sampled_from(list(usual)), _TEXTS, max_size=1).map(usual.__or__)


def _is_read(given: tuple[dict[str, str | None], dict[str, str | None]]) -> bool:
    """List an object, and read what was listed; the server says what it likes, and then what is to be read."""
    listed, headers = ({name: text for name, text in one.items() if text is not None} for one in given)
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in listed.items())
    listing = f"<ListBucketResult><IsTruncated>false</IsTruncated><Contents>{inner}</Contents></ListBucketResult>"
    client = _s3_client()
    responses: list[tuple[bytes, Any]] = [(listing.encode(), {}), (b"12345", headers)]

    def answer(request: Any, **_: Any) -> AWSResponse:
        body, sent = responses.pop(0)
        return AWSResponse(request.url, 200, sent, _Raw(body))

    client.meta.events.register("before-send.s3", answer, unique_id="answer")
    try:
        source = S3Source("elb", "s3://acme-logs", "**/*").with_clients(lambda *_: client)
        for file in source.find(DAY).files:
            with source.open(file) as stream:
                assert stream.read() == b"12345"
    finally:
        client.meta.events.unregister("before-send.s3", unique_id="answer")
    return True


@cache
def _s3_client() -> Any:
    session: Any = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="eu-central-1")
    return session.client("s3", config=Config(retries={"total_max_attempts": 1}))


class _Raw(io.BytesIO):
    """What botocore reads a response's body from."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


_NUMBERS = st.integers(0, 20)
_VALUES = TREES | st.sampled_from(
    [2, 3, 7, 16, 20, "app", "web", "b.log", "zstd", "none", "new", "existing", "md5", "a" * 64]
)
_EDITS: st.SearchStrategy[Any] = st.just([]) | st.just([]) | EDITS
TARGETS: dict[str, Target] = {
    "fields of archive.yaml": Target(_DOCUMENTS.map(_dumped), _is_archive_yaml, SHIPPED),
    "syntax of archive.yaml": Target(
        _YAML_PIECES.map(lambda text: _dumped(_LEAST) + text) | _YAML_PIECES, _is_archive_yaml, _dumped(_LEAST)
    ),
    "bytes of archive.yaml": Target(
        EDITS.map(lambda edits: edited(SHIPPED.encode(), edits).decode(errors="replace")), _is_archive_yaml, SHIPPED
    ),
    "the connection's extra": Target(
        st.tuples(
            (EXTRAS | TREES | _ROLES).map(json.dumps) | st.text(max_size=20),
            st.just("acme-log-archive") | st.text(max_size=9),
        ),
        _is_connection,
        (json.dumps(_ROLE), "acme-log-archive"),
    ),
    "a run's params": Target(
        st.tuples(st.none() | st.just(DAY.key) | st.dates().map(str) | st.text(max_size=12), _PARAMS),
        _begins_a_run,
        (None, {"date": DAY.key, "sources": ["app"], "allow_open_day": True}),
    ),
    "a record": Target(
        st.tuples(st.integers(0, len(_RECORDS) - 1), _NUMBERS, _VALUES, _EDITS), _reads_back, (0, "name", "b.log", [])
    ),
    "a run's records": Target(
        st.tuples(st.sampled_from(_FILES_OF_RUN), _NUMBERS, _VALUES, _EDITS),
        _run_goes_on,
        ("files-0001", "source", "app", []),
    ),
    "a manifest": Target(st.tuples(_NUMBERS, _NUMBERS, _VALUES, _EDITS), _is_manifest, (0, "source", "app", [])),
    "names of files": Target(st.lists(_NAMES, min_size=1, max_size=3, unique=True), _is_restored, [b"app.log"]),
    "what an S3 server says": Target(
        st.tuples(_some_texts(_LISTED), _some_texts(_HEADERS)), _is_read, (_LISTED, _HEADERS)
    ),
}
