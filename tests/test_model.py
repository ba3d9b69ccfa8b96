"""What passes between tasks: it comes back as it was, and what was edited is refused."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_archival.exceptions import StagingError
from log_archival.records import Archive, LogFile, Receipt, Record, manifest_body, read_jsonl, write_jsonl
from log_archival.partition import Partition

# The machine may be busy, and nothing is to be left in the checkout.
settings.register_profile("log-archival", deadline=None, database=None)
settings.load_profile("log-archival")

DAY = Partition(date(2026, 11, 22), "Europe/Paris")
NAMES = st.binary(min_size=1, max_size=60).map(os.fsdecode)
FILE = LogFile("app", "/var/log/app", "web-1/app.log", 10, 1_795_000_000_123_456_789, 4711)
ARCHIVE = Archive(
    "app", "/var/log/app", "web-1/app.log", 10, 1_795_000_000_123_456_789, "a" * 64, 1, 1, "logs/k.zst", "zstd",
    "application/zstd", 10, "a" * 64, 8, "b" * 64, "/staging/data.bin", 5,
)  # fmt: skip
RECEIPT = Receipt("logs/k.zst", "new", 8, "b" * 64, "b" * 64, '"etag"', None)


@pytest.mark.parametrize("record", [FILE, ARCHIVE, RECEIPT, replace(RECEIPT, outcome="already")], ids=repr)
def test_records_come_back(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert write_jsonl(path, [record] * 3) == 3
    assert list(read_jsonl(path, type(record))) == [record] * 3
    assert len(path.read_bytes().splitlines()) == 3


@given(names=st.lists(NAMES, max_size=5))
def test_any_name_comes_back(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "names.jsonl"
    files = [replace(FILE, name=name) for name in names]
    write_jsonl(path, files)
    assert [os.fsencode(file.name) for file in read_jsonl(path, LogFile)] == [os.fsencode(name) for name in names]
    assert path.read_bytes().isascii()


def test_no_records_are_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    assert write_jsonl(path, []) == 0
    assert path.read_bytes() == b""
    assert list(read_jsonl(path, Receipt)) == []


def edited(**fields: Any) -> str:
    return json.dumps({key: value for key, value in (FILE.to_dict() | fields).items() if value != "remove"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (edited(size="10"), "not a valid LogFile: size is '10'"),
        (edited(size=True), "not a valid LogFile: size is True"),
        (edited(size=10.5), "not a valid LogFile: size is 10.5"),
        (edited(name=None), "not a valid LogFile: name is None"),
        (edited(inode="remove"), "missing 1 required positional argument: 'inode'"),
        (edited(owner="root"), "unexpected keyword argument 'owner'"),
        ("[]", "not a valid LogFile|must be a mapping"),
        ('"text"', "must be a mapping"),
        ("{}", "missing 6 required positional arguments"),
        ("", "Expecting value"),
        (edited()[:-9], "line 2: "),
        ("\x00", "Expecting value"),
    ],
    ids=["text", "bool", "float", "null", "missing", "unknown", "list", "string", "empty", "blank", "torn", "nul"],
)
def test_an_edited_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "batch-0001.jsonl"
    path.write_text(f"{edited()}\n{line}\n{edited()}\n")
    with pytest.raises(StagingError, match=message) as caught:
        list(read_jsonl(path, LogFile))
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert caught.value.hint
    assert caught.value.permanent


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "batch-0001.jsonl"
    path.write_bytes(b"\xff\xfe\x80\n")
    with pytest.raises(StagingError, match="line 1: "):
        list(read_jsonl(path, LogFile))


@pytest.mark.parametrize(
    "fields", [{"outcome": "maybe"}, {"outcome": None}, {"echoed_sha256": 1}, {"stored_size": None}], ids=repr
)
def test_an_edited_receipt_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StagingError, match=f"not a valid Receipt: {next(iter(fields))} is"):
        Receipt.from_dict(RECEIPT.to_dict() | fields)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StagingError, match=r"plan-0001\.jsonl is missing\nClear the run's `collect`"):
        list(read_jsonl(tmp_path / "plan-0001.jsonl", Archive))


def test_where_a_file_lies() -> None:
    assert FILE.path == ARCHIVE.path == "/var/log/app/web-1/app.log"
    assert replace(FILE, root="/").path == "/web-1/app.log"


# The manifest

ARCHIVES = [
    replace(ARCHIVE, source=source, name=name, part=part, parts=2, key=f"logs/{source}/{name!a}/{part}")
    for source in ("app", "nginx")
    for name in ("a.log", "b/c.log", "\udcff\n.log", "ü.log")
    for part in (1, 2)
]


@given(st.randoms(use_true_random=False))
def test_the_same_archives_give_the_same_manifest(rng: random.Random) -> None:
    shuffled = rng.sample(ARCHIVES, len(ARCHIVES))
    # Where the bytes were staged, and when the file was written, belong to one run and not to the content.
    moved = [replace(a, staged=f"/other/{rng.random()}", offset=rng.randrange(9), root="/mnt") for a in shuffled]
    assert manifest_body(DAY, moved) == manifest_body(DAY, ARCHIVES)


@pytest.mark.parametrize(
    "fields",
    [{"key": "k"}, {"stored_sha256": "d" * 64}, {"raw_size": 11}, {"part": 3}, {"codec": "gzip"}, {"source": "x"}],
    ids=repr,
)
def test_other_content_gives_another_manifest(fields: dict[str, Any]) -> None:
    changed = [replace(ARCHIVES[0], **fields), *ARCHIVES[1:]]
    assert manifest_body(DAY, changed) != manifest_body(DAY, ARCHIVES)


def test_a_manifest_says_its_day_and_has_an_archive_a_line() -> None:
    body = manifest_body(DAY, ARCHIVES)
    document = json.loads(body)
    assert {key: document[key] for key in ("format", "partition", "timezone")} == {
        "format": 1, "partition": "2026-11-22", "timezone": "Europe/Paris",
    }  # fmt: skip
    assert [(e["source"], e["path"], e["part"]) for e in document["archives"]] == sorted(
        (archive.source, archive.name, archive.part) for archive in ARCHIVES
    )
    assert len(body.splitlines()) == len(ARCHIVES) + 2
    assert b"/staging" not in body
    assert json.loads(manifest_body(DAY, []))["archives"] == []
