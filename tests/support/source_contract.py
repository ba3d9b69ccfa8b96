"""The contract of `Source`, as tests that run on every kind of source: subclass with a fixture `place`."""

from __future__ import annotations

import abc
import re
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from log_archival.exceptions import SourceError
from log_archival.partition import Partition
from log_archival.records import LogFile, read_jsonl, write_jsonl
from log_archival.sources.base import Source

DAY = Partition.parse("2026-11-22")
DAYS = [Partition.parse("2026-11-21"), DAY, Partition.parse("2026-11-23")]
READERS = 4


class Place(abc.ABC):
    """Where a source's logs are; a test writes, changes and deletes them. Nothing is there before the first is written.

    What differs between kinds of sources is said here, so that no test is left out for any of them.
    """

    #: What is different in the names of a day's logs.
    stems: ClassVar[Sequence[str]] = ("b", "a c/ü", "a")

    @abc.abstractmethod
    def source(self, min_files: int = 1) -> Source:
        """Return a new source of these logs, as each task makes one from the settings."""

    @abc.abstractmethod
    def write(self, day: Partition, stem: str, text: bytes) -> str:
        """Write a log of a day, some lines, and return the name by which it has to be found."""

    @abc.abstractmethod
    def change(self, name: str) -> bytes | None:
        """Change a log of DAY; return the text to read of it now, or None when it must not be read any more."""

    @abc.abstractmethod
    def delete(self, name: str) -> None:
        """Delete a log of DAY."""

    @abc.abstractmethod
    def neighbour(self) -> Place:
        """Return another place of this kind, beside this one, that this one's sources must never read."""

    def text(self, body: bytes) -> bytes:
        """Return the lines that were written, of what the source makes of them."""
        return body

    def shown(self, name: str) -> str:
        """Return what an error calls a log."""
        return name

    def write_day(self, day: Partition = DAY) -> dict[str, bytes]:
        """Write a day's logs, and return their text by name."""
        texts = {stem: b"".join(b"%s\n" % secrets.token_hex(40).encode() for _ in range(5)) for stem in self.stems}
        return {self.write(day, stem, text): text for stem, text in texts.items()}


def read(source: Source, file: LogFile) -> bytes:
    with source.open(file) as stream:
        return stream.read()


def refuse(source: Source, file: LogFile) -> None:
    """Have a record refused before anything is read."""
    with pytest.raises(SourceError):
        source.open(file).__enter__()


def no_client(*_: Any) -> Any:
    raise AssertionError("no client is needed")


#: What somebody who can write to the run directory may make of a record.
FORGERIES = {
    "root above": lambda file: {"root": file.root.rpartition("/")[0]},
    "root below": lambda file: {"root": f"{file.root}/a"},
    "other root": lambda _: {"root": "/etc"},
    "name of a file elsewhere": lambda _: {"name": "/etc/hosts"},
    "name that leaves the root": lambda file: {"name": f"../{file.name}"},
    "name that leaves and returns": lambda file: {"name": f"../{file.root.rpartition('/')[2]}/{file.name}"},
    "name through a folder and back": lambda file: {"name": f"a c/../{file.name}"},
    "name with a dot": lambda file: {"name": f"./{file.name}"},
    "name with an empty component": lambda file: {"name": f"/{file.name}"},
    "name with NUL": lambda file: {"name": f"{file.name}\0"},
    "no name": lambda _: {"name": ""},
    "any identity": lambda _: {"identity": "*"},
    "no identity": lambda _: {"identity": ""},
}


class SourceContract:
    """Of each kind of source; see the docstring of `Source`."""

    def test_source_finds_each_log_of_the_day_and_no_other(self, place: Place) -> None:
        written = {day: place.write_day(day) for day in DAYS}
        for day in DAYS:
            source = place.source()
            listing = source.find(day)
            assert [file.name for file in listing.files] == sorted(written[day])
            assert listing.failures == []
            assert {file.source for file in listing.files} == {source.name}
            assert {file.name: place.text(read(source, file)) for file in listing.files} == written[day]
            for file in listing.files:
                assert not {"", ".", ".."} & set(file.name.split("/"))
                assert file.size in (None, len(written[day][file.name]))

    def test_source_finds_the_same_again(self, place: Place) -> None:
        place.write_day()
        source = place.source()
        assert source.find(DAY) == source.find(DAY) == place.source().find(DAY)

    def test_source_with_too_few_logs_says_so(self, place: Place) -> None:
        place.write_day()
        for source, day in ((place.source(len(place.stems) + 1), DAY), (place.source(), DAYS[0])):
            with pytest.raises(SourceError, match=rf"source {source.name}: .* log files .*; at least") as caught:
                source.find(day)
            assert not caught.value.permanent
        assert place.source(0).find(DAYS[0]).files == []

    def test_another_task_reads_the_same_bytes(self, place: Place, tmp_path: Path) -> None:
        place.write_day()
        source = place.source()
        files = source.find(DAY).files
        write_jsonl(tmp_path / "files.jsonl", files)
        listed = list(read_jsonl(tmp_path / "files.jsonl", LogFile))
        assert listed == files
        bodies = [read(source, file) for file in files]
        assert bodies == [read(source, file) for file in files] == [read(place.source(), file) for file in listed]

    def test_source_is_read_by_threads_at_once(self, place: Place) -> None:
        written = place.write_day()
        source, all_open = place.source(), threading.Barrier(READERS)

        def read_with_others(file: LogFile) -> bytes:
            with source.open(file) as stream:
                all_open.wait(timeout=30)
                return place.text(stream.read())

        files = (source.find(DAY).files * READERS)[:READERS]
        with ThreadPoolExecutor(READERS) as pool:
            assert list(pool.map(read_with_others, files)) == [written[file.name] for file in files]

    def test_log_is_left_before_its_end(self, place: Place) -> None:
        place.write_day()
        source = place.source()
        for file in source.find(DAY).files:
            with source.open(file) as stream:
                start = stream.read(3)
                assert stream.peek(1)
            assert stream.closed
            assert read(source, file).startswith(start)

    def test_changed_log_is_refused_or_read_as_it_is_now(self, place: Place) -> None:
        place.write_day()
        source = place.source()
        for file in source.find(DAY).files:
            if text := place.change(file.name):
                assert place.text(read(source, file)) == text
            else:
                with pytest.raises(SourceError, match=re.escape(place.shown(file.name))):
                    read(source, file)

    def test_deleted_log_is_refused(self, place: Place) -> None:
        place.write_day()
        source = place.source()
        for file in source.find(DAY).files:
            place.delete(file.name)
            with pytest.raises(SourceError, match=re.escape(place.shown(file.name))):
                read(source, file)

    @pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
    def test_forged_record_is_refused(self, place: Place, forge: Any) -> None:
        place.write_day()
        source = place.source()
        for file in source.find(DAY).files:
            refuse(source, replace(file, **forge(file)))

    def test_record_of_another_source_is_refused(self, place: Place) -> None:
        other, source = place.neighbour(), place.source()
        place.write_day()
        other.write_day()
        for mine, theirs in zip(source.find(DAY).files, other.source().find(DAY).files, strict=True):
            leads_there = f"../{theirs.root.rpartition('/')[2]}/{theirs.name}"
            refuse(source, theirs)
            refuse(source, replace(theirs, root=mine.root))
            refuse(source, replace(theirs, root=mine.root, name=leads_there))
            refuse(source, replace(mine, identity=theirs.identity))

    def test_check_needs_no_request_and_no_log(self, place: Place, tmp_path: Path) -> None:
        place.source().with_clients(no_client).check()
        assert not list(tmp_path.iterdir())

    def test_source_with_other_clients_is_equal(self, place: Place) -> None:
        assert place.source().with_clients(no_client) == place.source()

    def test_permissions_are_statements_of_a_policy(self, place: Place) -> None:
        for statement in place.source().with_clients(no_client).permissions():
            assert statement["Effect"] == "Allow"
            assert statement.keys() <= {"Effect", "Action", "Resource", "Condition"}
            assert re.fullmatch("[a-z0-9]+:[A-Z][A-Za-z]+", statement["Action"])
            resources = statement["Resource"]
            for resource in [resources] if isinstance(resources, str) else resources:
                assert re.fullmatch(r"arn:\$\{AWS::Partition\}:[a-z0-9]+:[^:]*:[^:]*:.+", resource)
