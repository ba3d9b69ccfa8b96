"""The command on a real object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.archives import Writer, sha256
from tests.support.reader_cli import Cli
from tests.support.seaweed import REGION, Seaweed


@pytest.fixture
def cli(tmp_path: Path, store: Seaweed) -> Cli:
    """Return the command with a profile of the AWS configuration, as people have it."""
    config = tmp_path / ".aws" / "config"
    config.parent.mkdir()
    config.write_text(
        f"[profile archive]\naws_access_key_id={store.access_key}\naws_secret_access_key={store.secret_key}\n"
        f"endpoint_url={store.endpoint_url}\nregion={REGION}\n"
        f"[profile writer]\naws_access_key_id={store.user_access_key}\naws_secret_access_key={store.user_secret_key}\n"
        f"endpoint_url={store.endpoint_url}\nregion={REGION}\n"
    )
    return Cli(tmp_path, {"AWS_PROFILE": "archive"})


@pytest.fixture
def writer(request: pytest.FixtureRequest, store: Seaweed) -> Writer:
    return Writer(store.client(), store.bucket(f"cli-{sha256(request.node.nodeid.encode())[:16]}"))
