"""Collect: every source is looked at, what fails is named, and batches are written down."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from log_archival import codecs
from log_archival.pipeline.collect import COLLECTED, chosen_sources, find_all, print_plan, stage_batches
from log_archival.exceptions import SettingsError, SourceError
from log_archival.keys import KeyTemplate
from log_archival.records import LogFile, read_jsonl
from log_archival.partition import Partition
from log_archival.pipeline.compress import Recipe
from log_archival.config import Settings, Source
from log_archival.pipeline.run_dir import StagingPath

DAY = Partition(date(2026, 11, 22))


def settings(*names: str) -> Settings:
    sources = [{"name": name, "path": f"/var/log/{name}"} for name in names]
    return Settings.model_validate({"archive": {"bucket": "acme-log-archive"}, "sources": sources})


def source(root: Path, name: str, files: dict[str, str], **fields: Any) -> Source:
    (root / name).mkdir()
    for file, text in files.items():
        (root / name / file).write_text(text)
    return Source(name=name, path=str(root / name), **({"pattern": "*-%Y-%m-%d.log"} | fields))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [(None, ["app", "nginx", "batch"]), ([], ["app", "nginx", "batch"]), (["nginx"], ["nginx"]),
     (["batch", "app"], ["batch", "app"])],
    ids=repr,
)  # fmt: skip
def test_sources_are_chosen_by_name(names: list[str] | None, chosen: list[str]) -> None:
    assert [entry.name for entry in chosen_sources(settings("app", "nginx", "batch"), names)] == chosen


def test_unknown_sources_are_named_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"sources \['db', 'web'\] are unknown; archive.yaml has app, nginx"):
        chosen_sources(settings("app", "nginx"), ["web", "app", "db"])


def test_files_of_all_sources_are_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sources = [
        source(tmp_path, "app", {"b-2026-11-22.log": "bb\n", "a-2026-11-22.log": "a\n", "a-2026-11-23.log": ""}),
        source(tmp_path, "nginx", {"c-2026-11-22.log": "ccc\n"}),
        source(tmp_path, "quiet", {}, min_files=0),
    ]
    (tmp_path / "app" / "link-2026-11-22.log").symlink_to("/etc/passwd")
    with caplog.at_level(logging.INFO):
        found = find_all(sources, DAY)
    assert [(file.source, file.name) for file in found] == [
        ("app", "a-2026-11-22.log"), ("app", "b-2026-11-22.log"), ("nginx", "c-2026-11-22.log"),
    ]  # fmt: skip
    assert caplog.messages == [
        "source app: skipped link-2026-11-22.log: not a regular file (links are not followed)",
        "source app: 2 files, 5 B",
        "source nginx: 1 files, 4 B",
        "source quiet: 0 files, 0 B",
    ]


def test_every_source_that_fails_is_named(tmp_path: Path) -> None:
    sources = [
        source(tmp_path, "app", {}),
        source(tmp_path, "nginx", {"c-2026-11-22.log": "ccc\n"}),
        source(tmp_path, "batch", {"c-2026-11-22.log": ""}, min_files=2),
    ]
    with pytest.raises(SourceError) as caught:
        find_all(sources, DAY)
    message = str(caught.value)
    assert f"source app: 0 files match '*-2026-11-22.log' in {tmp_path}/app; at least 1 are expected" in message
    assert "source batch: 1 files match" in message
    assert "source nginx" not in message
    assert not caught.value.permanent


def test_batches_are_written_down(tmp_path: Path) -> None:
    files = [LogFile("app", "/logs", f"{number}.log", 3 << 20, 0, number) for number in range(5)]
    folder = StagingPath(str(tmp_path / "run"))
    folder.make()
    (tmp_path / "run" / "left-over.bin").write_bytes(b"of a run that was cleared")
    batches = stage_batches(files, folder, batch_bytes=6 << 20, all_sources=False)
    assert batches == [
        {"batch": f"{folder}/batch-0001.jsonl", "number": 1, "files": 2, "raw_bytes": 6 << 20},
        {"batch": f"{folder}/batch-0002.jsonl", "number": 2, "files": 2, "raw_bytes": 6 << 20},
        {"batch": f"{folder}/batch-0003.jsonl", "number": 3, "files": 1, "raw_bytes": 3 << 20},
    ]
    assert [file for b in batches for file in read_jsonl(StagingPath(b["batch"]), LogFile)] == files
    assert json.loads((tmp_path / "run" / COLLECTED).read_text()) == {"all_sources": False, "batches": 3}
    assert not (tmp_path / "run" / "left-over.bin").exists()


def test_what_crosses_xcom_is_small(tmp_path: Path) -> None:
    files = [LogFile("app", "/logs", f"{number}.log", 1000, 0, number) for number in range(100_000)]
    batches = stage_batches(files, StagingPath(str(tmp_path / "run")), batch_bytes=256 << 20, all_sources=True)
    assert len(json.dumps(batches)) < 2000
    assert sum(batch["files"] for batch in batches) == 100_000


def test_no_files_are_no_batches(tmp_path: Path) -> None:
    assert stage_batches([], StagingPath(str(tmp_path / "run")), batch_bytes=1 << 20, all_sources=True) == []
    assert json.loads((tmp_path / "run" / COLLECTED).read_text())["batches"] == 0


def test_a_dry_run_says_files_bytes_and_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sources = [
        source(tmp_path, "app", {"a-2026-11-22.log": "a\n"}),
        source(
            tmp_path, "packed", {"p-2026-11-22.log": "", "p-2026-11-22.log.gz": ""}, pattern="*.gz*", after="delete"
        ),
    ]
    packed = tmp_path / "packed" / "p-2026-11-22.log.gz"
    packed.write_bytes(b"\x1f\x8b packed already")
    noon = int(DAY.start.timestamp()) + 43_200
    os.utime(packed, (noon, noon))
    files = find_all(sources, DAY)
    with caplog.at_level(logging.INFO):
        caplog.clear()
        print_plan(files, Recipe(DAY, KeyTemplate(), codecs.ZSTD, 16 << 20), sources)
    digests = [hashlib.sha256(data).hexdigest()[:32] for data in (b"a\n", packed.read_bytes())]
    assert caplog.messages == [
        f"{tmp_path}/app/a-2026-11-22.log (2 B) -> logs/2026/11/22/app/a-2026-11-22-{digests[0]}.log.zst",
        f"{packed} (17 B) -> logs/2026/11/22/packed/p-2026-11-22.log-{digests[1]}.gz, then delete",
        "dry run: 2 files, 19 B; nothing was archived. Files whose archive would pass 16.8 MB are cut into parts.",
    ]
