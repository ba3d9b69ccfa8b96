"""An STS for the hooks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.http_server import serving
from tests.support.recording_sts import Sts


@pytest.fixture
def sts() -> Iterator[Sts]:
    recorder = Sts()
    with serving(recorder.server):
        yield recorder
