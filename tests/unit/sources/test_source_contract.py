"""The contract of sources: folders, CloudWatch Logs in memory, and the class that the documentation shows."""

from __future__ import annotations

import re
import secrets
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import yaml

from log_archival.config import build_source
from log_archival.partition import Partition
from log_archival.sources.base import Source
from log_archival.sources.files import FileSource
from tests.support.fake_logs import FakeLogs
from tests.support.log_files import NOON, write_file
from tests.support.logs_place import LogsPlace
from tests.support.operating import write_logs
from tests.support.source_contract import DAY, Place, SourceContract

PAGE = Path(__file__).parents[3] / "docs" / "sources.md"


class FilePlace(Place):
    """A folder whose files have the day in their names."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def source(self, min_files: int = 1) -> FileSource:
        return FileSource("app", str(self.root), "**/*-%Y-%m-%d.log*", min_files=min_files)

    def write(self, day: Partition, stem: str, text: bytes) -> str:
        name = f"{stem}-{day.key}.log"
        write_logs(self.root, day.key, {name: text})
        return name

    def change(self, name: str) -> None:
        # Neither its size nor its time tells, but the nanosecond.
        path = self.root / name
        write_file(path, path.read_text()[::-1], NOON * 10**9 + 1)

    def delete(self, name: str) -> None:
        (self.root / name).unlink()

    def neighbour(self) -> FilePlace:
        return FilePlace(self.root.with_name("other"))


class TestFiles(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> FilePlace:
        return FilePlace(tmp_path / "logs")


class FakeLogsPlace(LogsPlace):
    """A log group of a service in memory."""

    def __init__(self, logs: FakeLogs, group: str = "/app/1") -> None:
        super().__init__(group, logs.client)
        self.logs = logs

    def put_events(self, stream: str, events: list[tuple[int, str]]) -> None:
        found = self.logs.groups.get(self.group, {}).get(stream, {"events": []})["events"]
        known = [(event["timestamp"], event["message"]) for event in found]
        self.logs.add(self.group, stream, *known, *events)

    def delete_stream(self, stream: str) -> None:
        del self.logs.groups[self.group][stream]

    def neighbour(self) -> FakeLogsPlace:
        return FakeLogsPlace(self.logs, "/other/1")


class TestCloudWatchInMemory(SourceContract):
    @pytest.fixture
    def place(self) -> FakeLogsPlace:
        # Its only group, so that a day without streams is known.
        logs = FakeLogs()
        logs.groups["/app/1"] = {}
        return FakeLogsPlace(logs)


class ReportPlace(Place):
    """The database of the class that the documentation shows, with one report a day."""

    stems: ClassVar[Sequence[str]] = ("",)

    def __init__(self, database: Path, settings: dict[str, Any]) -> None:
        self.database, self.settings = database, settings

    def source(self, min_files: int = 1) -> Source:
        return build_source({**self.settings, "database": str(self.database), "min_files": min_files})

    def _execute(self, statement: str, *values: str) -> None:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS reports (day TEXT PRIMARY KEY, version TEXT, text TEXT)")
            connection.execute(statement, values)

    def write(self, day: Partition, stem: str, text: bytes) -> str:
        self._execute("INSERT INTO reports VALUES (?, ?, ?)", day.key, secrets.token_hex(8), text.decode())
        return f"{day.key}.txt"

    def change(self, name: str) -> None:
        self._execute("UPDATE reports SET version = 'new', text = 'new' WHERE day = ?", DAY.key)

    def delete(self, name: str) -> None:
        self._execute("DELETE FROM reports WHERE day = ?", DAY.key)

    def neighbour(self) -> ReportPlace:
        return ReportPlace(self.database.with_name("other.db"), self.settings)


class TestClassOfTheDocumentation(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReportPlace:
        section = PAGE.read_text().partition("## A source of your own\n")[2]
        [(language, settings), (other_language, code)] = re.findall(r"^```(\w+)\n(.*?)^```", section, re.DOTALL | re.M)
        assert (language, other_language) == ("yaml", "python")
        [described] = yaml.safe_load(settings)
        name, _, class_name = described["class"].rpartition(".")
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(code, PAGE, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        assert class_name in module.__dict__
        return ReportPlace(tmp_path / "reports.db", described)
