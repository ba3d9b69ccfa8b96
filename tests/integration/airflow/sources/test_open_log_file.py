"""open_log_file as the user of Airflow's worker, who may not read everything."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.log_files import write_file

AS_NOBODY = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
from datetime import date
from log_archival.exceptions import SourceError
from log_archival.partition import Partition
from log_archival.sources.files import FileSource
from log_archival.sources.opening import open_log_file
source = FileSource("app", sys.argv[2])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    for file in source.find(Partition(date(2026, 11, 22))).files:
        with open_log_file(file) as stream:
            stream.read()
except SourceError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("locked", "message"),
    [
        ("web/app.log", "source app: can't read {}/web/app.log: Permission denied\nAirflow's worker needs read perm"),
        ("web", "source app: can't list {}/web: Permission denied\nAirflow's worker needs read and search permission"),
        (".", "source app: can't list {}: Permission denied"),
    ],
    ids=["file", "folder", "root"],
)  # fmt: skip
def test_unreadable_path_is_named(locked: str, message: str, tmp_path: Path) -> None:
    # In a process that gives up root, where permissions wouldn't count.
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    root = tmp_path / "root"
    write_file(root / "web" / "app.log")
    target = root / locked
    mode = target.stat().st_mode
    target.chmod(0)
    try:
        command = [sys.executable, "-c", AS_NOBODY, json.dumps(sys.path), str(root)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        target.chmod(mode)
    assert result.stderr == ""
    assert result.stdout.startswith(message.format(root))
