"""The folder of the demo: emptied only if it is the demo's own, and used by one run at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.demo import workspace
from dev.demo.workspace import DemoError


def test_folder_with_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    mine = tmp_path / "thesis.txt"
    mine.write_text("years of work")
    with pytest.raises(DemoError, match="holds other files"), workspace.empty(tmp_path):
        pass
    assert mine.read_text() == "years of work"


def test_folder_of_a_running_demo_is_refused_and_kept(tmp_path: Path) -> None:
    with workspace.empty(tmp_path / "work") as folder:
        folder.config.touch()
        with pytest.raises(DemoError, match="another run works"), workspace.empty(folder.path):
            pass
        assert folder.config.exists()


def test_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.touch()
    with workspace.empty(tmp_path / "work") as folder:
        folder.airflow.mkdir()
        (folder.airflow / "airflow.db").touch()
        folder.config.touch()
        folder.logs.symlink_to(tmp_path)
    with workspace.empty(folder.path):
        assert [path.name for path in folder.path.iterdir()] == ["made-by-log-archival"]
    assert kept.exists()
