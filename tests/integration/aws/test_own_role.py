"""A role and a bucket that a company has already, as docs/own-role-and-bucket.md describes them."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, LocalAws
from log_archival.aws.connection import role_settings
from log_archival.keys import canary_key
from log_archival.least_privilege.attempts import Requester, Target
from log_archival.least_privilege.checks import applicable_checks
from log_archival.least_privilege.judgement import run_check
from log_archival.operators import CrossAccountPutOperator, LeastPrivilegeCheckOperator
from tests.support.operating import Run, connect, context, write_logs
from tests.support.privilege_targets import AWS_ENDPOINT_URL, LocalClients

PAGE = Path(__file__).parents[3] / "docs" / "own-role-and-bucket.md"


def policies() -> list[dict[str, Any]]:
    """Return the trust policy and the permissions that the page shows, the first two of its blocks of JSON."""
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.M | re.S)[:2]]


def listed_checks() -> list[str]:
    """Return the checks that the page's table says fail."""
    table = PAGE.read_text().partition("| check |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [name for row in rows for name in re.findall(r"`([a-z-]+)`", row)]


class Own:
    """A bucket with AWS's defaults and no policy, and a role with the page's two policies."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        suffix = secrets.token_hex(4)
        self.bucket, role = f"own-archive-{suffix}", f"OwnRole-{suffix}"
        user = aws.airflow_client("sts").get_caller_identity()["Arn"]
        s3, iam = aws.archive_client("s3"), aws.archive_client("iam")
        s3.create_bucket(
            Bucket=self.bucket,
            CreateBucketConfiguration={"LocationConstraint": REGION},
            ObjectOwnership="BucketOwnerEnforced",
        )
        encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
        s3.put_bucket_encryption(Bucket=self.bucket, ServerSideEncryptionConfiguration=encryption)
        s3.put_public_access_block(
            Bucket=self.bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )  # fmt: skip
        names = {
            "arn:aws:iam::111111111111:role/airflow": user,
            "<the agreed external id>": aws.external_id,
            "acme-log-archive": self.bucket,
        }
        trust, permissions = (json.dumps(policy) for policy in policies())
        for name, value in names.items():
            assert name in trust + permissions
            trust, permissions = trust.replace(name, value), permissions.replace(name, value)
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName=role, PolicyName="AddLogs", PolicyDocument=permissions)
        role_arn = f"arn:aws:iam::{ARCHIVE_ACCOUNT}:role/{role}"
        assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn}
        aws.source_client("iam").put_user_policy(
            UserName=user.rpartition("/")[2],
            PolicyName=role,
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [assume]}),
        )
        self.connection = aws.connection()
        self.connection["extra"]["role_arn"] = role_arn


@pytest.fixture(scope="module")
def own(aws: LocalAws) -> Own:
    return Own(aws.deploy())


@pytest.fixture(autouse=True)
def connection(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, own.connection)


def check(own: Own, day: str, **arguments: Any) -> dict[str, Any]:
    return LeastPrivilegeCheckOperator(task_id="check", bucket=own.bucket, acl=None, **arguments).execute(context(day))


def test_minimal_role_archives_a_day(own: Own, tmp_path: Path, day: str) -> None:
    run = Run(own.bucket, tmp_path / "staging", day)
    run.collect(write_logs(tmp_path / "logs", day))
    run.compress()
    [uploaded] = run.upload(acl=None)
    summary = run.verify(acl=None)
    assert (uploaded["new"], summary["verified"]) == (4, 4)
    again = CrossAccountPutOperator(
        task_id="archive", bucket=own.bucket, acl=None, paths=f"{tmp_path}/logs/**/*.log*", source="app", partition=day
    ).execute(context(day))
    assert (again["new"], again["existing"]) == (0, 4)


def test_minimal_role_refuses_a_put_with_an_acl(own: Own, tmp_path: Path, day: str) -> None:
    (tmp_path / "app.log").write_bytes(day.encode())
    with pytest.raises(AirflowFailException, match="s3:PutObjectAcl"):
        CrossAccountPutOperator(task_id="archive", bucket=own.bucket, paths=f"{tmp_path}/app.log").execute(context(day))


def test_checks_that_fail_are_those_of_the_page(own: Own) -> None:
    role = role_settings("log_archive", own.connection["extra"], bucket=own.bucket)
    canary = canary_key("logs/", secrets.token_hex(8))
    # As on AWS: with the checks that need TLS.
    target = Target(role, own.bucket, "logs/", "log-archival@check", canary, acl=None, endpoint_url=AWS_ENDPOINT_URL)
    requester = Requester(target, LocalClients(own.aws))
    results = [run_check(one, requester) for one in applicable_checks(target)[0]]
    failed = {result.check.name: result.verdict for result in results if result.verdict != "ok"}
    assert failed == dict.fromkeys(listed_checks(), "missing hardening")


def test_operator_fails_without_accepted_risks(own: Own, day: str) -> None:
    with pytest.raises(AirflowFailException) as caught:
        check(own, day)
    failed = set(re.findall(r"^  ([a-z-]+): missing hardening$", str(caught.value), re.M))
    assert failed == set(listed_checks()) - {"put-without-tls"}  # the local endpoint is http


def test_known_risks_are_accepted(own: Own, day: str) -> None:
    report = check(own, day, accepted_risks=listed_checks())
    assert {*report["accepted"], "put-without-tls"} == set(listed_checks())
