"""The hint of a permanent error: what was requested, by whom, and which statement or setting to correct."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from dev.local_aws import LocalAws
from log_archival.exceptions import RefusedError
from log_archival.hooks import CrossAccountS3Hook
from tests.support.privilege_mutations import ENDPOINT, MUTATIONS, Mutation
from tests.support.templates import fill, placeholder_values


@pytest.fixture(scope="module")
def placeholders(aws: LocalAws) -> dict[str, str]:
    return placeholder_values(aws)


WORKS = {"assume-role", "put-a-log"}
BREAKING = {name: mutation for name, mutation in MUTATIONS.items() if set(mutation.failing) & WORKS}
TRUST = (
    "OnlyAirflowOfTheSourceAccountMayBecomeTheWriter of include/cloudformation/archive_account.yaml",
    "parameter ExternalId", "SourcePrincipalArn",
)  # fmt: skip
DENIED = ("statement", "explicit deny in a resource-based policy", "archive_account.yaml")
#: What the error names for each broken statement. Where S3 returns no more than "an explicit deny", the statement is
#: one of a list, the likelier first.
HINTS: dict[str, tuple[str, ...]] = {
    "nobody is trusted": TRUST,
    "somebody else is trusted": TRUST,
    "another organization is required": (*TRUST, "parameter OrganizationId"),
    "neither policy allows the put": ("AddLogsUnderThePrefix", "parameter Prefix", "parameter BucketName"),
    "the role may not name the ACL": (
        "Likely: the role may not name an ACL", "NameTheBucketOwnersAclInThePut", "RequireAcl",
    ),
    "no ACL may be named": ("Likely: the role may not name an ACL", "TheWriterMayNameNoOtherAcl"),
    "not even S3 may use the key": ("TheWriterMayNotUseTheKeyDirectly", "KmsKeyArn"),
    "the role may not use the key": ("EncryptLogsWithTheArchiveKey", "KmsKeyArn", "kms_key_arn"),
    "every put is a replacement": (*DENIED, "NobodyMayReplaceALog"),
    "no put is one": (*DENIED, "LogsArriveInOnePut"),
    "a storage class must be named": (*DENIED, "LogsKeepTheAgreedStorageClasses"),
    "an encryption must be named": (*DENIED, "LogsAreEncryptedAsTheBucketSays"),
    "keys must be brought along": (*DENIED, "NobodyMayBringAKeyOfTheirOwn"),
    "the key must be named": (*DENIED, "LogsAreEncryptedWithTheArchiveKey"),
    "Airflow is outside of the VPC endpoint": (*DENIED, ENDPOINT, "parameter VpcEndpointId"),
    "no network is accepted": (*DENIED, ENDPOINT, "parameter VpcEndpointId"),
    "not even TLS is accepted": (*DENIED, "NothingTravelsUnencrypted", "endpoint_url"),
    "no TLS is new enough": (*DENIED, "NothingTravelsUnderAnOldTls"),
    "Airflow may assume no role": (
        "Likely: arn:aws:iam::111111111111:user/airflow-", "BecomeTheLogWriterOfTheArchiveAccount",
        "source_account.yaml, parameters RoleArn",
    ),
    "Airflow may assume another role only": (
        "Likely: arn:aws:iam::111111111111:user/airflow-", "BecomeTheLogWriterOfTheArchiveAccount",
        "source_account.yaml, parameters RoleArn",
    ),
}  # fmt: skip


def put(
    monkeypatch: pytest.MonkeyPatch,
    aws: LocalAws,
    *,
    extra: dict[str, Any] | None = None,
    **more: Any,
) -> None:
    """Put as the operators do, through a connection."""
    found = aws.connection()
    found["extra"] |= extra or {}
    found["login"] = more.pop("login", found["login"])
    monkeypatch.setenv("AIRFLOW_CONN_LOG_ARCHIVE", json.dumps(found))
    hook = CrossAccountS3Hook(**{"bucket": aws.bucket, "session_name": "log-archival@test", **more})
    body = b"a log\n"
    sha256 = hashlib.sha256(body).hexdigest()
    hook.writer.put("logs/x", body, content_type="text/plain", sha256=sha256, size=len(body))


def test_every_breaking_mutation_has_a_hint() -> None:
    assert HINTS.keys() == BREAKING.keys()


@pytest.mark.parametrize("name", HINTS)
def test_broken_statement_is_named(
    aws: LocalAws, placeholders: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mutation: Mutation = BREAKING[name]
    archive, source = mutation.templates()
    parameters = fill(mutation.parameters, placeholders)
    deployed = aws.deploy(parameters, archive_template=archive, source_template=source)
    with pytest.raises(RefusedError) as caught:
        put(monkeypatch, deployed, kms_key_arn=parameters.get("KmsKeyArn"))
    message = str(caught.value)
    assert [part for part in HINTS[name] if part not in message] == []
    assert deployed.external_id not in message
    if "assume-role" in mutation.failing:
        assert message.startswith(f"AssumeRole {deployed.role_arn} as the credentials of connection 'log_archive'")
    else:
        assert f"PutObject s3://{deployed.bucket}/logs/x as {deployed.role_arn} (session log-archival@test)" in message


MISTAKES: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "the external id is another": ({}, {"extra": {"external_id": "not-the-agreed-one"}}, '1. "external_id" is not'),
    "the session name is another": ({}, {"session_name": "somebody"}, "does not begin with log-archival"),
    "session tags": (
        {}, {"extra": {"assume_role_kwargs": {"Tags": [{"Key": "a", "Value": "b"}]}}}, 'leave "Tags" out|ExternalId',
    ),
    "no such role": (
        {}, {"extra": {"role_arn": "arn:aws:iam::222222222222:role/NoSuch"}},
        "BecomeTheLogWriterOfTheArchiveAccount.*RoleArn \\(this role\\)",
    ),
    "no ACL where one is required": ({}, {"acl": None}, "1. the put carries no ACL: .*WithoutTheOwnersAcl"),
    "an ACL where none is allowed": (
        {"RequireAcl": "false"}, {}, "Likely: the role may not name an ACL: .*is meant, set `acl: null`",
    ),
    "another prefix": ({"Prefix": "archive/"}, {}, "NobodyMayWriteOutsideThePrefix .*parameter Prefix"),
    "the key is not in archive.yaml": ({"KmsKeyArn": "{key}"}, {}, "set `kms_key_arn` in archive.yaml"),
    "no such bucket": ({}, {"bucket": "no-such-bucket-anywhere"}, "Is the bucket's name right"),
    "a session that is too long": (
        {}, {"extra": {"assume_role_kwargs": {"DurationSeconds": 7200}}}, 'Leave "DurationSeconds" out',
    ),
    "a wrong access key": ({}, {"login": "AKIAXXXXXXXXXXXXXXXX"}, "a connection's own login and password"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_in_the_settings_is_named(
    aws: LocalAws, placeholders: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    parameters, arguments, hint = MISTAKES[name]
    deployed = aws.deploy(fill(parameters, placeholders))
    with pytest.raises(RefusedError) as caught:
        put(monkeypatch, deployed, **arguments)
    assert re.search(hint, str(caught.value), re.DOTALL), str(caught.value)
    assert deployed.external_id not in str(caught.value)


def test_bucket_of_another_account_is_named(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = "strangers-archive"
    aws.source_client("s3").create_bucket(
        Bucket=strangers, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    with pytest.raises(RefusedError, match=r"belongs to another account|BucketName"):
        put(monkeypatch, aws, bucket=strangers)
