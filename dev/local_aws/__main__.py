"""`python -m dev.local_aws`: serve both accounts, and print the Airflow connections to use, until Ctrl-C."""

import json
import shlex
import signal
from contextlib import suppress

from dev.local_aws import ARCHIVE_ACCOUNT, SOURCE_ACCOUNT, LocalAws


def main() -> None:
    """Serve both accounts until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), LocalAws.start() as aws:
        print(f"Two AWS accounts at {aws.endpoint_url}: source {SOURCE_ACCOUNT}, archive {ARCHIVE_ACCOUNT}.")
        print(f"The archive is s3://{aws.bucket}/logs/. The Airflow connections:\n")
        print(f"export AIRFLOW_CONN_LOG_ARCHIVE={shlex.quote(aws.connection_json())}")
        print(f"export AIRFLOW_CONN_LOG_ARCHIVE_READER={shlex.quote(json.dumps(aws.reader_connection()))}")
        print("\nCtrl-C stops them; nothing is kept.", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
