"""Logs of several days in S3 and CloudWatch Logs, and what of them an archive has."""

from __future__ import annotations

import io
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dev.local_aws import REGION, SOURCE_ACCOUNT, LocalAws
from log_archival.codec import ZSTD, decompress

PATTERN = "*/%Y-%m-%d/*.log"
FOLDERS, STREAMS = ("orders", "web-1", "web-2"), ("i-0abc", "i-0def")
FILES_PER_FOLDER, LINES_PER_FILE, EVENTS_PER_STREAM = 2, 3_500, 200
#: Of a day: in S3, and in CloudWatch Logs.
LOG_FILES = len(FOLDERS) * FILES_PER_FOLDER + len(STREAMS)
#: With `batch_size` 1 MiB: files of about 210 kB, five in a batch; and a batch for each stream, whose size isn't known.
BATCHES = 2 + len(STREAMS)


@dataclass
class Found:
    """What is in the archive of some days.

    :param objects: the archives' keys
    :param manifests: the manifests' keys
    :param versions: how many versions of objects there are
    :param lines: how often each line is there
    """

    objects: list[str]
    manifests: list[str]
    versions: int
    lines: Counter[str]


class Logs:
    """A bucket and a log group of the source account, and the bucket of the run directories.

    :param aws: the accounts
    """

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        token = secrets.token_hex(4)
        self.bucket, self.staging, self.group = f"logs-{token}", f"staging-{token}", f"/app/{token}"
        self._s3, self._logs = aws.source_client("s3"), aws.source_client("logs")
        for bucket in (self.bucket, self.staging):
            self._s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self._logs.create_log_group(logGroupName=self.group)
        for stream in STREAMS:
            self._logs.create_log_stream(logGroupName=self.group, logStreamName=stream)

    def sources(self, connection: str) -> list[dict[str, Any]]:
        """Return the sources as archive.yaml has them."""
        return [
            {"name": "app", "s3": f"s3://{self.bucket}/app", "pattern": PATTERN, "connection": connection},
            {"name": "cw", "cloudwatch": self.group, "connection": connection},
        ]

    def allow(self, user: str) -> None:
        """Let Airflow's user read the logs, and use the bucket of the run directories."""
        for name, source in {"s3": {"BucketName": self.bucket}, "logs": {"LogGroups": self.group}}.items():
            self.aws.stack(SOURCE_ACCOUNT, f"sources-{name}", "log_sources.yaml", {"AirflowUserName": user, **source})
        bucket = f"arn:aws:s3:::{self.staging}"
        actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        statements = [
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
            {"Effect": "Allow", "Action": actions, "Resource": f"{bucket}/*"},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam = self.aws.source_client("iam")
        iam.put_user_policy(UserName=user, PolicyName="staging", PolicyDocument=policy)

    def write(self, days: Iterable[date]) -> Counter[str]:
        """Write the days' logs, and return how often each line was written: once."""
        written: Counter[str] = Counter()
        for day in days:
            for folder in FOLDERS:
                for number in range(FILES_PER_FOLDER):
                    lines = [
                        f"{day} {folder}/{number} GET /orders/{n:06d} 200 a-user-agent" for n in range(LINES_PER_FILE)
                    ]
                    key = f"app/{folder}/{day}/{number}.log"
                    self._s3.put_object(Bucket=self.bucket, Key=key, Body="".join(f"{line}\n" for line in lines))
                    written.update(lines)
            for stream in STREAMS:
                written.update(self._write_events(day, stream))
        return written

    def _write_events(self, day: date, stream: str) -> list[str]:
        lines = [f"{day} {stream} GET /{number:06d} 200" for number in range(EVENTS_PER_STREAM)]
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        events = [
            {"timestamp": int((noon + timedelta(seconds=second)).timestamp() * 1000), "message": line}
            for second, line in enumerate(lines)
        ]
        self._logs.put_log_events(logGroupName=self.group, logStreamName=stream, logEvents=events)
        return lines

    def staged(self) -> list[str]:
        """Return the keys that are left in the bucket of the run directories."""
        return [item["Key"] for item in self._s3.list_objects_v2(Bucket=self.staging).get("Contents", [])]

    def read_archive(self, days: Iterable[date]) -> Found:
        """Return everything that is in the archive of some days, as the archive account sees it."""
        s3 = self.aws.archive_client("s3")
        found = Found([], [], 0, Counter())
        for day in days:
            pages = s3.get_paginator("list_object_versions").paginate(
                Bucket=self.aws.bucket, Prefix=f"logs/{day:%Y/%m/%d}/"
            )
            versions = [version["Key"] for page in pages for version in page.get("Versions", [])]
            versions = [key for key in versions if "/_probe-" not in key]
            found.versions += len(versions)
            for key in sorted(set(versions)):
                if "/_manifest-" in key:
                    found.manifests.append(key)
                    continue
                found.objects.append(key)
                body = s3.get_object(Bucket=self.aws.bucket, Key=key)["Body"].read()
                found.lines.update(_lines(key, b"".join(decompress(io.BytesIO(body), ZSTD))))
        return found


def _lines(key: str, content: bytes) -> Iterator[str]:
    for line in content.decode().splitlines():
        yield json.loads(line)["message"] if "/cw/" in key else line
