"""What the launcher of the local AWS accounts reports when the server doesn't start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dev.local_aws import LocalAws, LocalAwsError, launcher


@pytest.mark.parametrize(
    ("code", "timeout_seconds", "reason"),
    [
        ("raise SystemExit('no MiniStack today')", 60, "no MiniStack today"),
        ("import time; time.sleep(600)", 0.5, "timed out"),
    ],
    ids=["it ends", "it hangs"],
)
def test_start_that_fails_raises_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, timeout_seconds: float, reason: str
) -> None:
    server = tmp_path / "server.py"
    server.write_text(code)
    monkeypatch.setattr(launcher, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(launcher, "SERVER", server)
    monkeypatch.setattr(launcher, "READY_SECONDS", timeout_seconds)
    with pytest.raises(LocalAwsError, match=rf"(?s)didn't start: .*{reason}"), LocalAws.start():
        pass


def test_start_without_ministack_raises_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "PYTHON", tmp_path / "python")
    with pytest.raises(LocalAwsError, match="make install"), LocalAws.start():
        pass
