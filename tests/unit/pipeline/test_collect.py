"""Collect: every source is searched, what fails is named, and batches are written into the run directory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from log_archival.exceptions import SettingsError, SourceError
from log_archival.keys import MAX_KEY_BYTES, KeyTemplate
from log_archival.manifest import MAX_LINE_BYTES, MAX_PATH_BYTES, manifest_bodies
from log_archival.partition import Partition
from log_archival.pipeline.collect import Collected, choose_sources, find_log_files, log_plan, write_batches
from log_archival.pipeline.compressor import Compressor
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.sources.base import Listing
from log_archival.sources.files import FileSource
from tests.support.log_files import DAY, NOON, log_file, write_file
from tests.support.run_dir_contract import archive

MIB = 1 << 20
KNOWN = [FileSource(name, f"/var/log/{name}") for name in ("app", "nginx", "batch")]


def source(root: Path, name: str, files: dict[str, str], **fields: Any) -> FileSource:
    (root / name).mkdir()
    for file, text in files.items():
        write_file(root / name / file, text)
    return FileSource(name, str(root / name), **({"pattern": "*-%Y-%m-%d.log"} | fields))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [(None, ["app", "nginx", "batch"]), ([], ["app", "nginx", "batch"]), (["nginx"], ["nginx"]),
     (["batch", "app"], ["batch", "app"]), (["app", "batch", "app"], ["app", "batch"])],
    ids=repr,
)  # fmt: skip
def test_sources_are_chosen_by_name(names: list[str] | None, chosen: list[str]) -> None:
    assert [entry.name for entry in choose_sources(KNOWN, names)] == chosen


def test_unknown_sources_are_named_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"sources \['db', 'web'\] are unknown; there are app, nginx"):
        choose_sources(KNOWN[:2], ["web", "app", "db"])


@pytest.mark.parametrize("names", ["app", True, 5, {"app": 1}, [None], [["app"]]], ids=repr)
def test_sources_that_are_no_list_of_names_are_refused(names: Any) -> None:
    with pytest.raises(SettingsError, match=r"^sources .* is no list of names; there are app, nginx, batch"):
        choose_sources(KNOWN, names)


class Listed(FileSource):
    """A source of files with given names."""

    names: ClassVar[Sequence[str]] = ()

    def find(self, partition: Partition) -> Listing:
        return Listing([replace(log_file(name, 1), source=self.name) for name in self.names])


def test_path_that_no_manifest_can_list_is_named(caplog: pytest.LogCaptureFixture) -> None:
    folder = "x" * 200
    longest = "/".join([folder] * 20) + "/" + "y" * (MAX_PATH_BYTES - 20 * 201)
    long, of_bytes = f"{longest}z", "/".join(["\udcff" * 200] * 21)

    class Deep(Listed):
        names = ("a.log", long, longest, of_bytes)

    found = find_log_files([Deep("app", "/var/log/app"), Deep("web", "/var/log/web")], DAY)
    assert [(file.source, file.name) for file in found.files] == [
        (source, name) for source in ("app", "web") for name in ("a.log", longest)
    ]
    assert {(one.source, one.accepted) for one in found.failures} == {("app", False), ("web", False)}
    assert [one.name for one in found.failures] == [f"{long[:200]}…", "\\xff" * 200 + "…"] * 2
    assert "more than 4,096 bytes, which no manifest can list" in found.failures[0].error
    assert caplog.text.count("which no manifest can list") == 4


def test_longest_path_fits_into_a_line_of_a_manifest() -> None:
    path = "/".join(["\udcff" * 255] * 16)
    assert len(os.fsencode(path)) == MAX_PATH_BYTES - 1
    one = replace(archive("", 0, 1), name=path, key="k" * MAX_KEY_BYTES)
    [body] = manifest_bodies(DAY, [one])
    assert max(map(len, body.split(b"\n"))) < MAX_LINE_BYTES


def test_files_of_all_sources_are_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sources = [
        source(tmp_path, "app", {"b-2026-11-22.log": "bb\n", "a-2026-11-22.log": "a\n", "a-2026-11-23.log": ""}),
        source(tmp_path, "nginx", {"c-2026-11-22.log": "ccc\n"}),
        source(tmp_path, "quiet", {}, min_files=0),
    ]
    (tmp_path / "app" / "link-2026-11-22.log").symlink_to("/etc/passwd")
    with caplog.at_level(logging.INFO):
        found = find_log_files(sources, DAY)
    assert [(file.source, file.name) for file in found.files] == [
        ("app", "a-2026-11-22.log"), ("app", "b-2026-11-22.log"), ("nginx", "c-2026-11-22.log"),
    ]  # fmt: skip
    assert caplog.messages == [
        "source app: skipped link-2026-11-22.log: not a regular file (links are not followed)",
        "source app: 2 files, 5 B",
        "source nginx: 1 files, 4 B",
        "source quiet: 0 files, 0 B",
    ]


def test_sources_that_fail_are_all_named(tmp_path: Path) -> None:
    sources = [
        source(tmp_path, "app", {}),
        source(tmp_path, "nginx", {"c-2026-11-22.log": "ccc\n"}),
        source(tmp_path, "batch", {"c-2026-11-22.log": ""}, min_files=2),
    ]
    found = find_log_files(sources, DAY)
    error = found.error()
    message = str(error)
    assert f"source app: 0 log files match '*-2026-11-22.log' in {tmp_path}/app; at least 1 are expected" in message
    assert "source batch: 1 log files match" in message
    assert "source nginx" not in message
    assert isinstance(error, SourceError)
    assert not error.permanent
    assert [file.source for file in found.files] == ["nginx"]
    assert [(failure.source, failure.name, failure.accepted) for failure in found.failures] == [
        ("app", "", False), ("batch", "", False),
    ]  # fmt: skip
    assert "\n".join(failure.error for failure in found.failures) == message


def test_batches_are_written_into_the_run_directory(tmp_path: Path) -> None:
    files = [log_file(f"{number}.log", 3 * MIB) for number in range(5)]
    run_dir = RunDirectory.at(str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data-0001-5eed5eed-000009.bin").write_bytes(b"of a run that was cleared")
    batches = write_batches(Collected(files), run_dir, 6 * MIB)
    assert batches == [
        {"run_directory": str(run_dir), "batch": 1, "label": "app, 1 of 3", "files": 2, "raw_bytes": 6 * MIB},
        {"run_directory": str(run_dir), "batch": 2, "label": "app, 2 of 3", "files": 2, "raw_bytes": 6 * MIB},
        {"run_directory": str(run_dir), "batch": 3, "label": "app, 3 of 3", "files": 1, "raw_bytes": 3 * MIB},
    ]
    found_again = [RunDirectory.at(batch["run_directory"]).log_files(batch["batch"]) for batch in batches]
    assert [file for batch in found_again for file in batch] == files
    assert json.loads((tmp_path / "run" / "collected.json").read_text()) == {"batches": 3}
    assert not (tmp_path / "run" / "data-0001-5eed5eed-000009.bin").exists()


def test_xcom_of_100_000_files_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunDirectory, "create", lambda *_, **__: None)
    files = [log_file("app.log", 1000)] * 100_000
    run_dir = RunDirectory.at(str(tmp_path / "run"))
    batches = write_batches(Collected(files), run_dir, 256 * MIB)
    assert len(json.dumps(batches)) < 2000
    assert sum(batch["files"] for batch in batches) == 100_000


def test_day_without_files_has_no_batches(tmp_path: Path) -> None:
    run_dir = RunDirectory.at(str(tmp_path / "run"))
    assert write_batches(Collected(), run_dir, MIB) == []
    assert run_dir.read_records().files == []


def test_dry_run_logs_files_bytes_and_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sources = [
        source(tmp_path, "app", {"a-2026-11-22.log": "a\n"}),
        source(tmp_path, "packed", {}, pattern="p-%Y-%m-%d.log.gz", after="delete"),
    ]
    packed = tmp_path / "packed" / "p-2026-11-22.log.gz"
    packed.write_bytes(b"\x1f\x8b packed already")
    os.utime(packed, (NOON, NOON))
    found = find_log_files(sources, DAY)
    with caplog.at_level(logging.INFO):
        caplog.clear()
        plan = log_plan(found, Compressor(DAY, KeyTemplate(), {entry.name: entry for entry in sources}), sources)
    digests = [hashlib.sha256(data).hexdigest()[:32] for data in (b"a\n", packed.read_bytes())]
    assert caplog.messages == [
        f"{tmp_path}/app/a-2026-11-22.log (2 B) -> logs/2026/11/22/app/a-2026-11-22-{digests[0]}.log.zst",
        f"{packed} (17 B) -> logs/2026/11/22/packed/p-2026-11-22.log-{digests[1]}.gz, then delete",
        "dry run: 2 files, 19 B; nothing was archived. Large files are cut into parts.",
    ]
    assert plan == {
        "app": {"files": 1, "raw_bytes": 2, "failed": 0},
        "packed": {"files": 1, "raw_bytes": 17, "failed": 0},
    }
