"""What all sources share: names, too few files, and errors that name the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from log_archival.exceptions import SettingsError, SourceError
from log_archival.sources.base import SourceReader, check_name
from log_archival.sources.files import FileSource
from tests.support.log_files import find_one, log_file
from tests.support.other_team import LetterSource


@pytest.mark.parametrize("name", ["app", "a", "0", "web-1.example_com", "A.B"])
def test_name_can_be_part_of_a_key(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "ä", "a%d", "{digest}"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"may have letters, digits, '\.', '_' and '-' only"):
        check_name(name)


@pytest.mark.parametrize(
    ("found", "clues", "message"),
    [
        (0, [], "source app: 0 log files are there; at least 2 are expected\nDid the service stop"),
        (1, ["a", "b"], "source app: 1 log files are there; at least 2 are expected; there: a, b\nDid"),
        (1, ["a", "b", "c", "d"], "; there: a, b, c\nDid"),
        (2, ["a"], ""),
    ],
    ids=["none", "some", "many clues", "enough"],
)
def test_too_few_files_are_an_error_with_clues(found: int, clues: list[str], message: str) -> None:
    source, files = FileSource("app", "/logs", min_files=2), [log_file("a.log")] * found
    if not message:
        source.require_enough(files, "are there", clues)
        return
    with pytest.raises(SourceError) as caught:
        source.require_enough(files, "are there", clues)
    assert message in str(caught.value)


@pytest.mark.parametrize("size", [-1, 4, 100_000], ids=["all", "some", "more than there is"])
def test_error_while_reading_is_translated(size: int) -> None:
    chunks: list[bytes | Exception] = [b"line", TimeoutError("no answer")]

    def read_into(buffer: Any) -> int:
        chunk = chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        buffer[: len(chunk)] = chunk
        return len(chunk)

    reader: Any = SourceReader(read_into, lambda error: SourceError(f"a.log: {error}"))
    stream = io.BufferedReader(reader)
    if size == 4:
        assert stream.read1(size) == b"line"
    with pytest.raises(SourceError, match=r"a\.log: no answer") as caught:
        stream.read(size)
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_other_errors_while_reading_are_not_translated() -> None:
    def read_into(_: Any) -> int:
        raise KeyError("a mistake")

    reader: Any = SourceReader(read_into, lambda error: SourceError(str(error)))
    with pytest.raises(KeyError), io.BufferedReader(reader) as stream:
        stream.read()


def test_source_needs_no_clients_and_no_permissions_by_default() -> None:
    source = LetterSource("letters", "a")
    assert source.permissions() == []
    assert source.with_clients(lambda *_: pytest.fail("no client is needed")) is source


def test_file_of_another_root_is_not_opened(tmp_path: Path) -> None:
    file = find_one(tmp_path / "logs")
    with FileSource("app", f"{tmp_path}/logs/").open(file) as stream:
        assert stream.read() == b"a line\n"
    source = FileSource("app", str(tmp_path / "other"))
    with pytest.raises(SourceError, match=f"source app: {file.path} is not below {tmp_path}/other"), source.open(file):
        pass
