"""The command `templates`, as it is run from the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from log_archival.reader import templates
from log_archival.reader.cli import main

INCLUDE = Path(__file__).parents[3] / "include"
SHIPPED = {str(path.relative_to(INCLUDE)): path.read_bytes() for path in INCLUDE.rglob("*.yaml")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_templates_are_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["templates", "--to", str(folder)]) == 0
    assert contents(folder) == SHIPPED
    assert "cloudformation/archive_account.yaml" in SHIPPED
    assert capsys.readouterr().out.splitlines() == [str(folder / name) for name in sorted(SHIPPED)]


def test_templates_that_exist_already_are_no_error(tmp_path: Path) -> None:
    assert [main(["templates", "--to", str(tmp_path)]) for _ in range(2)] == [0, 0]
    assert contents(tmp_path) == SHIPPED


def test_templates_replace_other_content_only_with_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = tmp_path / "archive.yaml"
    edited.write_text("archive: mine\n")
    assert main(["templates", "--to", str(tmp_path)]) == 2
    assert f"nothing was written, since these exist with another content: {edited}" in capsys.readouterr().err
    assert contents(tmp_path) == {"archive.yaml": b"archive: mine\n"}

    assert main(["templates", "--to", str(tmp_path), "--overwrite"]) == 0
    assert contents(tmp_path) == SHIPPED


@pytest.mark.parametrize("to", ["file", "file/below"], ids=["a file", "below a file"])
def test_templates_name_what_is_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str) -> None:
    (tmp_path / "file").touch()
    assert main(["templates", "--to", str(tmp_path / to)]) == 2
    assert f"can't write {tmp_path / 'file'}" in capsys.readouterr().err


def test_templates_that_are_not_there_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(templates, "_PACKAGE", tmp_path / "plugins" / "log_archival")
    assert main(["templates", "--to", str(tmp_path / "out")]) == 2
    assert f"beside {tmp_path / 'plugins'}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
