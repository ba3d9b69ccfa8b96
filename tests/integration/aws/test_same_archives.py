"""The same logs through each source: the same archives; and what the shipped template lets a source do."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev.local_aws import SOURCE_ACCOUNT
from log_archival.codec import BLOCK_BYTES
from log_archival.exceptions import RefusedError, SourceError
from log_archival.partition import Partition
from log_archival.records import Archive
from log_archival.sources.base import Source
from log_archival.sources.cloudwatch import CloudWatchSource
from log_archival.sources.files import FileSource
from log_archival.sources.s3 import S3Source
from tests.support.operating import Run, connect, write_logs
from tests.support.source_contract import read
from tests.support.source_users import connect_with_permissions, put_events, put_objects, statements
from tests.support.templates import load_template, sids, without_statements

if TYPE_CHECKING:
    from dev.local_aws import LocalAws, Session
    from dev.local_aws.accounts import Template

TEMPLATE = "log_sources.yaml"


#: Some lines, one line, and more than a block of compression.
MESSAGES = {
    "[$LATEST]a": [f"{number} GET /orders 200 é\n\tat x" for number in range(3000)],
    "b": ["one line"],
    "c": [f"{number} {secrets.token_hex(500)}" * 100 for number in range(BLOCK_BYTES // 100_000 + 5)],
}


def test_same_logs_through_each_source_give_the_same_archives(
    aws: LocalAws, tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, aws.connection())
    group, bucket, partition = f"/app/{secrets.token_hex(4)}", f"logs-{secrets.token_hex(4)}", Partition.parse(day)
    put_events(aws, group, partition, MESSAGES)
    cloudwatch = CloudWatchSource("cw", group, connection="logs_cw")
    s3 = S3Source("s3", f"s3://{bucket}/copied", "**/%Y:%m:%d:*.jsonl", connection="logs_s3")
    files = FileSource("files", str(tmp_path / "logs"), "**/%Y:%m:%d:*.jsonl")

    root = cloudwatch.with_clients(lambda service, *_: aws.source_client(service))
    contents = {file.name: read(root, file) for file in root.find(partition).files}
    assert len(contents) == 3
    assert max(map(len, contents.values())) > BLOCK_BYTES
    write_logs(tmp_path / "logs", day, contents)
    put_objects(aws, bucket, {f"copied/{name}": content for name, content in contents.items()})
    connect_with_permissions(aws, monkeypatch, "logs_cw", cloudwatch)
    connect_with_permissions(aws, monkeypatch, "logs_s3", s3)

    run = Run(aws.bucket, tmp_path / "staging", day)
    run.collect(files, s3, cloudwatch)
    run.compress()
    archives = run.archives()
    run.upload()
    summary = run.verify()

    reader = aws.archive_client("s3")

    def described(archive: Archive) -> tuple[Any, ...]:
        body = reader.get_object(Bucket=aws.bucket, Key=archive.key)["Body"].read()
        key = archive.key.replace(f"/{archive.source}/", "/SOURCE/", 1)
        return key, archive.name, archive.raw_sha256, archive.file_sha256, archive.file_size, body

    by_source = {
        source.name: sorted(described(archive) for archive in archives if archive.source == source.name)
        for source in (files, s3, cloudwatch)
    }
    assert len(by_source["files"]) == 3
    assert by_source["files"] == by_source["s3"] == by_source["cw"]

    listed = reader.list_objects_v2(Bucket=aws.bucket, Prefix=f"logs/{day.replace('-', '/')}/")["Contents"]
    keys = {item["Key"] for item in listed}
    assert keys == {*summary["manifests"], *(archive.key for archive in archives)}
    manifest = json.loads(reader.get_object(Bucket=aws.bucket, Key=summary["manifests"][0])["Body"].read())
    assert {entry["key"] for entry in manifest["archives"]} == keys - {*summary["manifests"]}
    assert (summary["files"], summary["objects"], summary["failed"]) == (9, 9, 0)


# The shipped template


@dataclass
class Deployed:
    """A user of the source account for whom the template is deployed, and a log of one kind of source to read.

    :param kind: a parameter of the template
    """

    aws: LocalAws
    kind: str
    name: str = field(default_factory=lambda: f"logs-{secrets.token_hex(4)}")

    @property
    def source(self) -> Source:
        if self.kind == "BucketName":
            return S3Source("app", f"s3://{self.name}/app", "%Y-%m-%d.log")
        return CloudWatchSource("app", f"/{self.name}/*")

    def deploy(self, template: Template) -> Session:
        user = self.aws.user(SOURCE_ACCOUNT, self.name)
        of_bucket = {"BucketName": self.name, "Prefix": "app/"}
        parameters = of_bucket if self.kind == "BucketName" else {"LogGroups": f"/{self.name}/*"}
        parameters["AirflowUserName"] = self.name
        self.aws.stack(SOURCE_ACCOUNT, f"log-source-{self.name}", template, parameters)
        return user

    def read_as(self, user: Session) -> list[bytes]:
        """Write a log of a day, and read what the source finds as this user."""
        day = Partition.parse("2026-11-22")
        if self.kind == "BucketName":
            put_objects(self.aws, self.name, {f"app/{day.key}.log": b"a line\n"})
        else:
            put_events(self.aws, f"/{self.name}/app", day, {"a": ["a line"]})
        source = self.source.with_clients(lambda service, *_: user.client(service))
        return [read(source, file) for file in source.find(day).files]

    def policy(self) -> dict[str, Any]:
        """Return the only policy that the user has."""
        iam = self.aws.source_client("iam")
        assert iam.list_user_policies(UserName=self.name)["PolicyNames"] == []
        [attached] = iam.list_attached_user_policies(UserName=self.name)["AttachedPolicies"]
        where = {"PolicyArn": attached["PolicyArn"]}
        version = iam.get_policy(**where)["Policy"]["DefaultVersionId"]
        document: dict[str, Any] = iam.get_policy_version(**where, VersionId=version)["PolicyVersion"]["Document"]
        return document


def granted(policy: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what statements say, however they write it: without names, and one resource as a list of one."""
    found = []
    for statement in policy:
        resources = statement["Resource"]
        resources = [resources] if isinstance(resources, str) else resources
        found.append((statement["Effect"], statement["Action"], resources, statement.get("Condition")))
    return found


@pytest.mark.parametrize("kind", ["BucketName", "LogGroups"])
def test_template_allows_what_the_source_asks_for_and_no_more(aws: LocalAws, kind: str) -> None:
    one = Deployed(aws, kind)
    user = one.deploy(TEMPLATE)
    assert granted(one.policy()["Statement"]) == granted(statements(one.source))
    [content] = one.read_as(user)
    assert b"a line" in content


MISSING = {
    "ListTheLogs": ("BucketName", "needs s3:ListBucket on the bucket"),
    "ReadTheLogs": ("BucketName", "needs s3:GetObject on"),
    "FindTheLogGroups": ("LogGroups", "Allow logs:DescribeLogGroups on arn:aws:logs:"),
    "ListTheLogStreams": ("LogGroups", "Allow logs:DescribeLogStreams on arn:aws:logs:"),
    "ReadTheLogEvents": ("LogGroups", "Allow logs:GetLogEvents on arn:aws:logs:"),
}


@pytest.mark.parametrize(("sid", "kind", "message"), [(sid, *row) for sid, row in MISSING.items()], ids=MISSING)
def test_source_without_a_statement_of_the_template_names_the_permission(
    aws: LocalAws, sid: str, kind: str, message: str
) -> None:
    one = Deployed(aws, kind)
    user = one.deploy(without_statements(TEMPLATE, sid))
    with pytest.raises((RefusedError, SourceError), match=f"\n.*{message}"):
        one.read_as(user)


def test_statements_of_the_template_are_all_tried() -> None:
    # Nothing is encrypted with a key in the local account.
    assert set(sids(load_template(TEMPLATE))) == {*MISSING, "DecryptTheLogs"}
