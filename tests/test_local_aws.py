"""The two local accounts: how they start, end and hide secrets, and what the server adds to MiniStack."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from dev import local_aws
import local_aws_clients
import local_aws_process
from dev.local_aws import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, Credentials, LocalAws, LocalAwsError, Session

SCRIPT = Path(local_aws.__file__)
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


# Starting and ending


def test_starts_fast_and_ends_with_the_block(tmp_path: Path) -> None:
    started = time.monotonic()
    with LocalAws.start(external_id="agreed-external-id", bucket="other-archive", directory=tmp_path) as aws:
        assert time.monotonic() - started < 20  # about 1 s on an idle machine
        assert (aws.external_id, aws.bucket) == ("agreed-external-id", "other-archive")
        assert aws.role_arn == f"arn:aws:iam::{ARCHIVE_ACCOUNT}:role/LogWriterRole"
        aws.assume("agreed-external-id").client("s3").put_object(Bucket="other-archive", Key=key(), **PUT)
        # The root's secret is written nowhere.
        assert aws._root_secret not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    wait_until_gone(aws.endpoint_url)


def test_two_at_a_time_are_strangers(aws: LocalAws) -> None:
    with LocalAws.start() as other:
        assert other.endpoint_url != aws.endpoint_url
        with pytest.raises(ClientError):
            aws.assume(caller=Session(aws.endpoint_url, other.airflow))


def test_listens_on_one_loopback_address_only(aws: LocalAws) -> None:
    port = urlsplit(aws.endpoint_url).port or 0
    with socket.socket() as client:  # what listens on every interface listens here as well
        client.settimeout(1)
        assert client.connect_ex(("127.0.0.2", port)) != 0
    assert is_served(aws.endpoint_url)


@pytest.fixture
def command() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`python include/local_aws.py`, and the variables that it tells to export."""
    process = subprocess.Popen([sys.executable, str(SCRIPT)], stdout=subprocess.PIPE, text=True)
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
def test_the_command_prints_the_connections_and_ends_when_told(
    command: tuple[subprocess.Popen[str], dict[str, str]], ending: signal.Signals
) -> None:
    process, variables = command
    assert list(variables) == ["AIRFLOW_CONN_LOG_ARCHIVE", "AIRFLOW_CONN_LOG_ARCHIVE_READER"]
    connection = json.loads(variables["AIRFLOW_CONN_LOG_ARCHIVE"])
    extra = connection["extra"]
    airflow = Session(extra["endpoint_url"], Credentials(connection["login"], connection["password"]))
    answer = airflow.client("sts").assume_role(
        RoleArn=extra["role_arn"], ExternalId=extra["external_id"], RoleSessionName="log-archival"
    )
    assert answer["Credentials"]["SessionToken"]
    process.send_signal(ending)
    assert process.wait(timeout=20) == 0
    wait_until_gone(extra["endpoint_url"])


def test_the_server_dies_with_a_parent_that_is_killed(
    command: tuple[subprocess.Popen[str], dict[str, str]],
) -> None:
    process, variables = command
    url = json.loads(variables["AIRFLOW_CONN_LOG_ARCHIVE"])["extra"]["endpoint_url"]
    assert is_served(url)
    os.kill(process.pid, signal.SIGKILL)
    wait_until_gone(url)


def test_a_start_that_fails_shows_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no MiniStack today')")
    monkeypatch.setattr(local_aws_process, "_SERVER", broken)
    with pytest.raises(LocalAwsError, match=r"exit status 1(.|\n)*no MiniStack today"), LocalAws.start():
        pass


def test_a_start_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent.py"
    silent.write_text("import time; print('still thinking', flush=True); time.sleep(600)")
    monkeypatch.setattr(local_aws_process, "_SERVER", silent)
    monkeypatch.setattr(local_aws_process, "READY_SECONDS", 1.0)
    with pytest.raises(LocalAwsError, match=r"does not answer(.|\n)*still thinking"), LocalAws.start():
        pass


def test_without_ministack_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_aws_process, "_PYTHON", tmp_path / "python")
    with pytest.raises(LocalAwsError, match="make install"), LocalAws.start():
        pass


def test_a_stack_that_fails_says_why(aws: LocalAws) -> None:
    allow = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    properties = {"PolicyName": "x", "Users": ["nobody"], "PolicyDocument": {"Statement": [allow]}}
    template = {"Resources": {"Broken": {"Type": "AWS::IAM::Policy", "Properties": properties}}}
    with pytest.raises(LocalAwsError, match=f"failing of account {SOURCE_ACCOUNT}.*Broken: .*nobody"):
        aws.stack(SOURCE_ACCOUNT, "failing", template, {})


# What callers see


def test_the_connections(aws: LocalAws) -> None:
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


def test_nothing_secret_is_shown(aws: LocalAws) -> None:
    session = aws.assume()
    shown = repr([aws, aws.airflow, aws.reader, session])
    token = session.credentials.token
    assert token
    hidden = [aws._root_secret, aws.source_secret_key, aws.reader.secret_key, aws.external_id]
    for secret in (*hidden, aws.reader_external_id, session.credentials.secret_key, token):
        assert secret not in shown


def test_nothing_of_the_callers_is_used(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
    local_aws_clients._isolated_session.cache_clear()
    with LocalAws.start() as other:
        for found in (aws, other):
            found.assume().client("s3").put_object(Bucket=found.bucket, Key=key(), **PUT)
            assert found.airflow_client("sts").meta.region_name == REGION
            assert found.airflow_client("sts").get_caller_identity()["Account"] == SOURCE_ACCOUNT


def test_a_deployment_is_another_one(aws: LocalAws) -> None:
    deployed = aws.deploy()
    for name in ("bucket", "role_arn", "external_id", "source_access_key"):
        assert getattr(deployed, name) != getattr(aws, name)
    assert deployed.endpoint_url == aws.endpoint_url
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.assume(deployed.external_id)


# What the server adds to MiniStack; the condition keys are tested with the templates


# The sums of the nine bytes "123456789", which the definitions of the CRCs give as their check value.
SUMS = {
    "SHA256": hashlib.sha256(b"123456789").digest(),
    "SHA1": hashlib.sha1(b"123456789").digest(),  # noqa: S324
    "CRC32": bytes.fromhex("CBF43926"),
    "CRC32C": bytes.fromhex("E3069283"),
    "CRC64NVME": bytes.fromhex("AE8B14860A799888"),
}


@pytest.mark.parametrize("algorithm", SUMS)
def test_a_put_answers_the_checksum(aws: LocalAws, algorithm: str) -> None:
    s3 = aws.assume().client("s3")
    name, right = f"Checksum{algorithm}", base64.b64encode(SUMS[algorithm]).decode()
    where = {"Bucket": aws.bucket, "Key": key()}
    wrong = base64.b64encode(bytes(len(SUMS[algorithm]))).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(**where, **PUT | {"Body": b"123456789"}, **{name: wrong})
    with pytest.raises(ClientError, match="404"):
        aws.archive_client("s3").head_object(**where)
    answer = s3.put_object(**where, **PUT | {"Body": b"123456789"}, **{name: right})
    assert (answer[name], answer["ChecksumType"]) == (right, "FULL_OBJECT")


def test_a_put_without_a_checksum_answers_crc64nvme(aws: LocalAws) -> None:
    where = {"Bucket": aws.bucket, "Key": key()}
    url = aws.archive_client("s3").generate_presigned_url("put_object", Params=where)
    asked = urllib.request.Request(url, b"123456789", method="PUT")  # noqa: S310
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as answer:
        found = answer.headers["x-amz-checksum-crc64nvme"]
    assert found == base64.b64encode(SUMS["CRC64NVME"]).decode()


@pytest.mark.parametrize(
    ("owner", "works"),
    [(ARCHIVE_ACCOUNT, True), (SOURCE_ACCOUNT, False)],
    ids=["the owner", "another account"],
)
def test_the_expected_bucket_owner(aws: LocalAws, owner: str, works: bool) -> None:
    head = aws.archive_client("s3").head_bucket
    if works:
        head(Bucket=aws.bucket, ExpectedBucketOwner=owner)
    else:
        with pytest.raises(ClientError, match="403"):
            head(Bucket=aws.bucket, ExpectedBucketOwner=owner)


def test_a_session_lasts_no_longer_than_its_role_allows(aws: LocalAws) -> None:
    assert aws.assume(DurationSeconds=3600)
    with pytest.raises(ClientError, match="MaxSessionDuration"):
        aws.assume(DurationSeconds=3601)


def test_an_unsigned_request_is_refused(aws: LocalAws) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError, match="403") as caught:
        opener.open(f"{aws.endpoint_url}/{aws.bucket}?list-type=2")
    caught.value.close()


def test_a_condition_sees_the_role_behind_a_session(aws: LocalAws) -> None:
    deployed = aws.deploy()
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{deployed.bucket}/*",
        "Condition": {"ArnEquals": {"aws:PrincipalArn": deployed.role_arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    deployed.archive_client("s3").put_bucket_policy(Bucket=deployed.bucket, Policy=policy)
    with pytest.raises(ClientError, match="explicit deny"):
        deployed.assume().client("s3").put_object(Bucket=deployed.bucket, Key=key(), **PUT)
