"""The local AWS accounts: how they start and end, and which credentials, connections and stacks they have."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, Credentials, LocalAws, LocalAwsError, Session
from dev.local_aws.clients import isolated_session

ROOT = Path(__file__).parents[4]
PUT = {"Body": b"a log\n", "ACL": "bucket-owner-full-control", "IfNoneMatch": "*"}


def key() -> str:
    return f"logs/{secrets.token_hex(8)}"


def is_served(url: str) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def wait_until_gone(url: str) -> None:
    deadline = time.monotonic() + 20
    while is_served(url):
        assert time.monotonic() < deadline, f"{url} is still served"
        time.sleep(0.05)


def test_accounts_end_with_the_block(tmp_path: Path) -> None:
    with LocalAws.start(tmp_path) as aws:
        assert aws.role_arn == f"arn:aws:iam::{ARCHIVE_ACCOUNT}:role/LogWriterRole"
        aws.assume().client("s3").put_object(Bucket="acme-log-archive", Key=key(), **PUT)
        # The root's secret isn't written anywhere.
        assert aws._root_secret not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    wait_until_gone(aws.endpoint_url)


def test_credentials_of_other_accounts_are_refused(aws: LocalAws) -> None:
    with LocalAws.start() as other:
        assert other.endpoint_url != aws.endpoint_url
        with pytest.raises(ClientError):
            aws.assume(caller=Session(aws.endpoint_url, other.airflow))


def test_server_listens_on_one_loopback_address_only(aws: LocalAws) -> None:
    port = urlsplit(aws.endpoint_url).port or 0
    with socket.socket() as client:  # what listens on every interface listens here as well
        client.settimeout(1)
        assert client.connect_ex(("127.0.0.2", port)) != 0
    assert is_served(aws.endpoint_url)


@pytest.fixture
def command() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run `python -m dev.local_aws`; return it with the variables that it prints."""
    process = subprocess.Popen([sys.executable, "-m", "dev.local_aws"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        exports = [shlex.split(line)[1] for line in lines if line.startswith("export ")]
        yield process, dict(export.split("=", 1) for export in exports)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_command_prints_the_connections_and_ends_on_a_signal(
    command: tuple[subprocess.Popen[str], dict[str, str]], ending: signal.Signals
) -> None:
    process, variables = command
    assert list(variables) == ["AIRFLOW_CONN_LOG_ARCHIVE", "AIRFLOW_CONN_LOG_ARCHIVE_READER"]
    connection = json.loads(variables["AIRFLOW_CONN_LOG_ARCHIVE"])
    extra = connection["extra"]
    airflow = Session(extra["endpoint_url"], Credentials(connection["login"], connection["password"]))
    response = airflow.client("sts").assume_role(
        RoleArn=extra["role_arn"], ExternalId=extra["external_id"], RoleSessionName="log-archival"
    )
    assert response["Credentials"]["SessionToken"]
    process.send_signal(ending)
    assert process.wait(timeout=20) == 0
    wait_until_gone(extra["endpoint_url"])


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_server_ends_with_a_killed_command(
    command: tuple[subprocess.Popen[str], dict[str, str]],
) -> None:
    process, variables = command
    url = json.loads(variables["AIRFLOW_CONN_LOG_ARCHIVE"])["extra"]["endpoint_url"]
    assert is_served(url)
    os.kill(process.pid, signal.SIGKILL)
    wait_until_gone(url)


def test_stack_that_fails_raises_with_the_reason(aws: LocalAws) -> None:
    allow = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    properties = {"PolicyName": "x", "Users": ["nobody"], "PolicyDocument": {"Statement": [allow]}}
    template = {"Resources": {"Broken": {"Type": "AWS::IAM::Policy", "Properties": properties}}}
    with pytest.raises(LocalAwsError, match=f"failing of account {SOURCE_ACCOUNT}.*Broken: .*nobody"):
        aws.stack(SOURCE_ACCOUNT, "failing", template, {})


def test_connections_have_the_role_and_the_endpoint(aws: LocalAws) -> None:
    connection = aws.connection()
    assert connection == {
        "conn_type": "aws",
        "login": aws.source_access_key,
        "password": aws.source_secret_key,
        "extra": {
            "role_arn": aws.role_arn,
            "external_id": aws.external_id,
            "region_name": REGION,
            "endpoint_url": aws.endpoint_url,
            "service_config": {"sts": {"endpoint_url": aws.endpoint_url}},
        },
    }
    assert json.loads(aws.connection_json()) == connection
    reader = aws.reader_connection()
    assert reader["extra"]["role_arn"] == aws.reader_role_arn
    assert reader["extra"]["external_id"] not in ("", aws.external_id)


def test_repr_has_no_secrets(aws: LocalAws) -> None:
    session = aws.assume()
    shown = repr([aws, aws.airflow, aws.reader, session])
    token = session.credentials.token
    assert token
    hidden = [aws._root_secret, aws.source_secret_key, aws.reader.secret_key, aws.external_id]
    for secret in (*hidden, aws.reader_external_id, session.credentials.secret_key, token):
        assert secret not in shown


def test_callers_aws_settings_are_not_used(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nendpoint_url = http://127.0.0.1:9\nregion = us-west-2\nrole_arn = nonsense\n")
    for name, value in {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "AWS_PROFILE": "nobody",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "else",
        "AWS_SESSION_TOKEN": "token",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    isolated_session.cache_clear()
    with LocalAws.start() as other:
        for found in (aws, other):
            found.assume().client("s3").put_object(Bucket=found.bucket, Key=key(), **PUT)
            assert found.airflow_client("sts").meta.region_name == REGION
            assert found.airflow_client("sts").get_caller_identity()["Account"] == SOURCE_ACCOUNT


def test_deploy_creates_another_bucket_and_role(aws: LocalAws) -> None:
    deployed = aws.deploy()
    for name in ("bucket", "role_arn", "external_id", "source_access_key"):
        assert getattr(deployed, name) != getattr(aws, name)
    assert deployed.endpoint_url == aws.endpoint_url
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.assume(deployed.external_id)
