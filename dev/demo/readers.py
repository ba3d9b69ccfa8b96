"""The archive account's own people, who may read: their command line, and what it restored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dev.demo.settings import ROOT, DemoError, DemoFolder
from dev.local_aws import REGION, LocalAws

_SECONDS = 180.0  # for one command, which takes a few


def run_command(aws: LocalAws, *arguments: str) -> dict[str, Any]:
    """Run `python -m log_archival` with the reader role's credentials and nothing of the caller's; answer its JSON.

    :raises DemoError: when it ends with another status than 0, with what it printed
    """
    credentials = aws.assume_reader().credentials
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "plugins"),
        "PYTHONNOUSERSITE": "1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.token or "",
    }
    options = ["--json", "--endpoint-url", aws.endpoint_url, "--region", REGION]
    done = subprocess.run(
        [sys.executable, "-m", "log_archival", *arguments, *options],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise DemoError(f"`log_archival {arguments[0]}` ended with status {done.returncode} instead of 0:\n{said}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def check_restored(folder: DemoFolder, originals: Iterable[Path]) -> int:
    """Check that exactly these files were restored, byte for byte; answer how many.

    :raises DemoError: naming the files that differ
    """
    expected = {path.relative_to(folder.logs): path for path in originals}
    found = {path.relative_to(folder.restored): path for path in folder.restored.rglob("*") if not path.is_dir()}
    different = [
        str(name)
        for name in sorted(expected.keys() | found.keys())
        if name not in expected or name not in found or expected[name].read_bytes() != found[name].read_bytes()
    ]
    if different:
        raise DemoError(f"{len(different)} restored files are not the originals: {different[:5]}")
    return len(found)
