"""``python -m log_archival.reader.cli`` as its users run it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import log_archival

PACKAGE = Path(log_archival.__file__).parent.parent


@dataclass
class Cli:
    """Runs the command with nothing of this process's environment.

    :param home: the home and working directory
    :param environment: the environment
    """

    home: Path
    environment: dict[str, str]

    def start(self, *arguments: str, script: str = "", **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *(["-c", script] if script else ["-m", "log_archival.reader.cli"]), *arguments],
            cwd=self.home,
            env={"HOME": str(self.home), "PYTHONPATH": str(PACKAGE), "PYTHONWARNINGS": "error"}
            | self.environment
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **environment) as process:
            out, error = process.communicate(timeout=120)
        assert "Traceback" not in error, error
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def json(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        done = self(*arguments, "--json")
        assert done.returncode == status, done.stderr
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed
