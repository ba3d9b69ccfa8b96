"""An STS for the hooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.recording_sts import Sts


@pytest.fixture
def sts() -> Iterator[Sts]:
    recorder = Sts()
    thread = threading.Thread(target=recorder.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield recorder
    recorder.server.shutdown()
    thread.join()
    recorder.server.server_close()
