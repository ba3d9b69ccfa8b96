"""The run directory in an object store of the source account, for workers that share no disk."""

from __future__ import annotations

import pytest

from tests.support.run_dir_contract import RunDirContract


@pytest.mark.parametrize("root", ["s3"], indirect=True)
class TestObjectStore(RunDirContract):
    """An s3:// URL with a connection."""
