"""The run directory on a local disk: what is staged is read back, or an error says why not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from botocore.config import Config
from hypothesis import example, given
from hypothesis import strategies as st

from log_archival.exceptions import SettingsError, StagingError
from log_archival.pipeline.local_folder import LocalFolder
from log_archival.pipeline.location import folder_of
from log_archival.pipeline.packs import MAX_PACKED_FILE_BYTES, PackWriter
from log_archival.pipeline.run_dir import RunDirectory
from tests.support.run_dir_contract import RunDirContract, archive, new_run, read


@pytest.mark.parametrize("root", ["path", "url"], indirect=True)
class TestLocalDisk(RunDirContract):
    """A path, and a file:// URL."""


def test_archive_that_grew_when_it_was_compressed_shares_its_file(tmp_path: Path) -> None:
    # A file just below the limit that doesn't compress: its archive is just above it, behind others.
    bodies = [b"x" * 10, b"y" * (MAX_PACKED_FILE_BYTES + 100), b"z" * 10]
    archives = []
    with PackWriter(LocalFolder(tmp_path), 1) as writer:
        for body in bodies:
            with writer.open_archive(large=False) as (stream, staged, offset):
                stream.write(body)
            archives.append(archive(staged, offset, len(body)))
    assert [read(RunDirectory.at(str(tmp_path)), one) for one in archives] == bodies
    assert len({one.staged for one in archives}) == 1


def test_run_directory_is_closed_to_other_users(tmp_path: Path) -> None:
    run_dir = new_run(str(tmp_path / "staging"))
    assert stat.S_IMODE(os.stat(str(run_dir)).st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"sources": 1}', '{"batches": "1"}'],
    ids=["empty", "cut off", "no object", "field missing", "no number"],
)
def test_damaged_head_of_a_run_is_an_error_with_a_hint(tmp_path: Path, text: str) -> None:
    run_dir = new_run(str(tmp_path))
    (Path(str(run_dir)) / "collected.json").write_text(text)
    with pytest.raises(StagingError, match="Clear the run's `collect` and what follows it"):
        run_dir.read_records()


IDS = st.text(min_size=0, max_size=250) | st.sampled_from(
    ["", ".", "..", "/", "a/../../b", "manual__2026-11-22T10:00:00"]
)


@given(IDS, IDS)
# Codes of different lengths would let these two meet.
@example("\u01f600", "\U0001f600")
@example("", ".")
@example("x" * 250, "x" * 249)
@example(".~", "")
def test_no_id_leads_out_of_staging_or_into_another_run(one: str, other: str) -> None:
    folder = Path(str(RunDirectory.of_run("/staging", "dag", one)))
    assert folder.parent == Path("/staging/dag")
    assert folder.name not in ("", ".", "..")
    assert len(os.fsencode(folder.name)) <= 255
    assert folder.name.isascii()
    if one != other:
        assert str(RunDirectory.of_run("/staging", "dag", other)) != str(folder)
        assert str(RunDirectory.of_run("/staging", other, "run")) != str(RunDirectory.of_run("/staging", one, "run"))


def test_readable_ids_stay_readable() -> None:
    run_dir = RunDirectory.of_run(
        "s3://bucket/staging/", "archive_logs", "manual__2026-11-22T10:00:00+00:00", lambda *_: None
    )
    assert str(run_dir) == "s3://bucket/staging/archive_logs/manual__2026-11-22T10.3a00.3a00+00.3a00"


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("/var/staging", "/var/staging"),
        ("file:///var/a%20b", "/var/a b"),
        ("relative", "relative"),
        ("s3://b/x", "s3://b/x"),
        ("s3://b", "s3://b"),
        ("s3://b//x//", "s3://b/x"),
        ("s3://conn-id@b/x/y/", "s3://conn-id@b/x/y"),
    ],
    ids=["path", "file URL", "relative path", "s3", "bucket", "slashes", "connection"],
)
def test_location_is_a_url_that_names_the_same_again(url: str, same: str) -> None:
    asked: list[str] = []

    def new_client(service: str, connection: str, region: str | None, _: Config) -> None:
        assert (service, region) == ("s3", None)
        asked.append(connection)

    folder = folder_of(url, new_client)
    assert str(folder) == str(folder_of(str(folder), new_client)) == same
    assert str(folder.child("dag") / "data.bin") == f"{same}/dag/data.bin"
    assert asked == ["conn-id" if "@" in url else "aws_default"] * 2 * url.startswith("s3:")


@pytest.mark.parametrize("url", ["gs://bucket/staging", "s3://", "s3:///staging", "http://host/x"])
def test_location_of_another_kind_is_an_error(url: str) -> None:
    with pytest.raises(SettingsError, match="is neither a path nor of the form s3://CONNECTION@BUCKET/FOLDER"):
        folder_of(url)
