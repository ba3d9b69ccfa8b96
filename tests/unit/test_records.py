"""Records: read back as they were written; edited ones are refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log_archival.exceptions import StagingError
from log_archival.records import (
    MAX_LINE_BYTES,
    Archive,
    Failure,
    LogFile,
    Receipt,
    Record,
    read_jsonl,
    to_line,
    write_jsonl,
)

NAMES = st.binary(min_size=1, max_size=60).map(os.fsdecode)
FILE = LogFile("app", "/var/log/app", "web-1/app.log", 10, 1_795_000_000_123_456_789, "4711")
ARCHIVE = Archive(
    "app", "/var/log/app", "web-1/app.log", 10, 1_795_000_000_123_456_789, "a" * 64, 1, 1, "logs/k.zst", "zstd",
    "application/zstd", 10, "a" * 64, 8, "b" * 64, "/staging/data.bin", 5,
)  # fmt: skip
RECEIPT = Receipt("logs/k.zst", "new", 8, "b" * 64, "checksum")


FAILURE = Failure("app", "web-1/app.log", "it vanished")


@pytest.mark.parametrize(
    "record",
    [
        FILE,
        replace(FILE, root="s3://logs/app", size=None, identity='"etag"'),
        replace(FILE, mtime_ns=-(10**9 << 63)),
        replace(FILE, name="\udcff" * 4096),
        ARCHIVE,
        RECEIPT,
        replace(RECEIPT, outcome="existing"),
        FAILURE,
        replace(FAILURE, accepted=True),
    ],
    ids=[
        "log file",
        "log file of unknown size",
        "log file of long ago",
        "log file of a long name",
        "archive",
        "receipt",
        "receipt of an existing key",
        "failure",
        "accepted failure",
    ],
)
def test_records_are_read_back(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_jsonl(path, [record] * 3)
    assert path.read_bytes() == to_line(record) * 3
    assert list(read_jsonl(path, type(record))) == [record] * 3


@given(names=st.lists(NAMES, max_size=5))
def test_records_keep_any_file_name(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "names.jsonl"
    files = [replace(FILE, name=name) for name in names]
    write_jsonl(path, files)
    assert [os.fsencode(file.name) for file in read_jsonl(path, LogFile)] == [os.fsencode(name) for name in names]
    assert path.read_bytes().isascii()


def test_equal_strings_are_shared(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_jsonl(path, [ARCHIVE, ARCHIVE])
    first, second = read_jsonl(path, Archive, shared={})
    assert first == second == ARCHIVE
    assert first.key is second.key


def test_no_records_are_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    write_jsonl(path, [])
    assert path.read_bytes() == b""
    assert list(read_jsonl(path, Receipt)) == []


def edited(**fields: Any) -> str:
    return json.dumps({key: value for key, value in (json.loads(to_line(FILE)) | fields).items() if value != "remove"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (edited(size="10"), "not a valid LogFile: size is '10'"),
        (edited(size=True), "not a valid LogFile: size is True"),
        (edited(size=10.5), "not a valid LogFile: size is 10.5"),
        (edited(name=None), "not a valid LogFile: name is None"),
        (edited(identity=1), "not a valid LogFile: identity is 1"),
        (edited(size=-1), "not a valid LogFile: size is -1"),
        (edited(size=1 << 63), "not a valid LogFile: size is 9223372036854775808"),
        (edited(size=float("nan")), "not a valid LogFile: size is nan"),
        (edited(mtime_ns=10**30), "not a valid LogFile: mtime_ns is 10{30}"),
        (edited(size=10**30).replace("0" * 30, "0" * 5000), "Exceeds the limit"),
        (edited(size=[[[1]]]), r"not a valid LogFile: size is \[\[\[1\]\]\]"),
        (edited(name="half \ud800"), "surrogates not allowed"),
        (edited(x="x" * 10_000), "unexpected keyword argument 'x'$|unexpected keyword argument 'x'\n"),
        (
            edited(**{"x" * 10_000: 1}),
            "unexpected keyword argument 'x{100,180}$|unexpected keyword argument 'x{100,180}\n",
        ),
        ("[" * 100_000, "maximum recursion depth exceeded"),
        ('{"size":' * 100_000, "maximum recursion depth exceeded"),
        (" " * MAX_LINE_BYTES, "it has more than 1,048,576 bytes"),
        (edited(identity="remove"), "missing 1 required positional argument: 'identity'"),
        (edited(owner="root"), "unexpected keyword argument 'owner'"),
        ("[]", "not a valid LogFile|must be a mapping"),
        ('"text"', "must be a mapping"),
        ("{}", "missing 6 required positional arguments"),
        ("", "Expecting value"),
        (edited()[:-9], "line 2: "),
        ("\x00", "Expecting value"),
    ],
    ids=[
        "text",
        "bool",
        "float",
        "null",
        "number",
        "negative",
        "too many bytes",
        "nan",
        "no time",
        "too many digits",
        "nested lists",
        "half a character",
        "unknown field of a long value",
        "unknown field of a long name",
        "deep list",
        "deep objects",
        "long",
        "missing",
        "unknown",
        "list",
        "string",
        "empty",
        "blank",
        "torn",
        "nul",
    ],
)
def test_edited_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "batch-0001.jsonl"
    path.write_text(f"{edited()}\n{line}\n{edited()}\n")
    with pytest.raises(StagingError, match=message) as caught:
        list(read_jsonl(path, LogFile))
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert caught.value.hint
    assert caught.value.permanent


def test_line_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "batch-0001.jsonl"
    path.write_bytes(b"\xff\xfe\x80\n")
    with pytest.raises(StagingError, match="line 1: "):
        list(read_jsonl(path, LogFile))


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": "already"},
        {"outcome": None},
        {"proof": "sha1"},
        {"proof": None},
        {"stored_size": None},
        {"stored_sha256": "B" * 64},
        {"stored_sha256": f"../../../{'b' * 55}"},
        {"stored_sha256": "b" * 64 + "\n"},
    ],
    ids=repr,
)
def test_edited_receipt_is_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "receipts-0001.jsonl"
    path.write_text(json.dumps(json.loads(to_line(RECEIPT)) | fields))
    with pytest.raises(StagingError, match=f"not a valid Receipt: {next(iter(fields))} is"):
        list(read_jsonl(path, Receipt))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StagingError, match=r"plan-0001\.jsonl is missing\nClear the run's `collect`.*share.*s3://"):
        list(read_jsonl(tmp_path / "plan-0001.jsonl", Archive))


def test_path_joins_root_and_name() -> None:
    assert FILE.path == ARCHIVE.path == "/var/log/app/web-1/app.log"
    assert replace(FILE, root="/").path == "/web-1/app.log"


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "a/b\r\nX: y", "\udcff", "zstd", ""], ids=repr)
def test_content_type_that_is_no_plain_one_is_refused(content_type: str, tmp_path: Path) -> None:
    path = tmp_path / "archives-0001.jsonl"
    path.write_bytes(to_line(replace(ARCHIVE, content_type=content_type)))
    with pytest.raises(StagingError, match="not a valid Archive: content_type is"):
        list(read_jsonl(path, Archive))
