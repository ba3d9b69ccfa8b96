"""A writer, a source and a run directory in S3 that were used before a fork, in several processes at once."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed


def test_clients_that_were_used_before_a_fork_work_in_the_children(store: Seaweed) -> None:
    bucket = store.bucket(f"forks-{secrets.token_hex(4)}")
    environment = os.environ | {
        "AIRFLOW_CONN_LOG_ARCHIVE": json.dumps(store.connection()),
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_ENDPOINT_URL_S3": store.endpoint_url,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "tests.support.forked_puts", bucket]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
