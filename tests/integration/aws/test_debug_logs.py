"""What botocore, the provider and this package log at DEBUG while they talk to two accounts: no secret."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from airflow.sdk.exceptions import AirflowFailException
from botocore.client import BaseClient

from dev.local_aws import REGION, SOURCE_ACCOUNT, LocalAws
from log_archival.operators import LeastPrivilegeCheckOperator
from log_archival.sources.s3 import S3Source
from tests.support.operating import Run, connect, context, write_logs


class Secrets:
    """What must not be in a log: what the test knows, and what STS returned while it looked.

    :param known: external ids and keys
    """

    def __init__(self, *known: str) -> None:
        self.values, self.sessions = set(known), 0

    def add_session(self, credentials: dict[str, str]) -> None:
        self.sessions += 1
        self.values |= {credentials["SecretAccessKey"], credentials["SessionToken"]}

    def found_in(self, text: str) -> list[str]:
        """Return the lines that have a secret, as it is or as in a form."""
        values = self.values | set(map(quote_plus, self.values))
        return [line for line in text.splitlines() if any(value in line for value in values)]


@pytest.fixture
def known(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """Have the secrets of every session that is made."""
    found = Secrets(
        aws.external_id, aws.reader_external_id, aws.source_secret_key, aws.reader.secret_key, "another-external-id"
    )
    send = BaseClient._make_api_call  # type: ignore[attr-defined]

    def make_api_call(client: BaseClient, operation: str, arguments: Any) -> Any:
        response = send(client, operation, arguments)
        if operation == "AssumeRole":
            found.add_session(response["Credentials"])
        return response

    monkeypatch.setattr(BaseClient, "_make_api_call", make_api_call)
    connect(monkeypatch, aws.connection())
    connect(monkeypatch, aws.reader_connection(), "log_archive_reader")
    return found


@contextmanager
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield


def source_role(aws: LocalAws, external_id: str) -> dict[str, Any]:
    """Return a connection of the source account whose role asks for an external id, and may read S3."""
    iam, name = aws.source_client("iam"), f"log-source-{secrets.token_hex(4)}"
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": aws.airflow_client("sts").get_caller_identity()["Arn"]},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
    }
    may = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
    document = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=document)
    user = aws.airflow_client("sts").get_caller_identity()["Arn"].rpartition("/")[2]
    role_arn = f"arn:aws:iam::{SOURCE_ACCOUNT}:role/{name}"
    assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn}
    document = json.dumps({"Version": "2012-10-17", "Statement": [assume]})
    iam.put_user_policy(UserName=user, PolicyName=name, PolicyDocument=document)
    connection = aws.connection()
    connection["extra"] |= {"role_arn": role_arn, "external_id": external_id}
    return connection


def test_daily_archive_logs_no_secret_at_debug(
    aws: LocalAws, tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    known: Secrets,
) -> None:  # fmt: skip
    external_id = secrets.token_urlsafe(24)
    known.values.add(external_id)
    connect(monkeypatch, source_role(aws, external_id), "of_the_source")
    bucket, owner = f"logs-{secrets.token_hex(4)}", aws.source_client("s3")
    owner.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    owner.put_object(Bucket=bucket, Key=f"{day}/a.log", Body=b"a log\n")
    source = S3Source("s3", f"s3://{bucket}", "%Y-%m-%d/*.log", connection="of_the_source")
    run = Run(aws.bucket, tmp_path / "staging", day)
    with everything_logged(caplog):
        run.collect(write_logs(tmp_path / "logs", day), source)
        run.compress()
        run.upload()
        summary = run.verify(tier="read", read_conn_id="log_archive_reader")
    assert (summary["tier"], summary["verified"]) == ("read", 5)
    assert known.sessions >= 4  # source, upload, verify, reader
    assert known.found_in(caplog.text) == []


@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
def test_check_least_privilege_logs_no_secret_at_debug(
    wrong: bool, aws: LocalAws, day: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    known: Secrets,
) -> None:  # fmt: skip
    connection = aws.connection()
    if wrong:
        connection["extra"]["external_id"] = "another-external-id"
    connect(monkeypatch, connection)
    operator = LeastPrivilegeCheckOperator(
        task_id="check", bucket=aws.bucket, read_conn_id="log_archive_reader", accepted_risks=["put-without-tls"]
    )
    with everything_logged(caplog):
        if wrong:
            with pytest.raises(AirflowFailException):
                operator.execute(context(day))
        else:
            operator.execute(context(day))
    assert bool(known.sessions) is not wrong
    assert known.found_in(caplog.text) == []
