"""What a refusal says: what was tried, as whom, which statement is likely to blame, and where to mend it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from dev.local_aws import LocalAws
from log_archival.exceptions import ArchiveRequestError, RefusedError
from log_archival.hooks.archive import CrossAccountS3Hook
from log_archival.aws.errors import Attempt, refusal
from tests.support.privilege_mutations import ENDPOINT, MUTATIONS, Mutation
from tests.test_privileges import fill, fillings

__all__ = ["fillings"]

WORKS = {"assume-role", "put-a-log"}
BROKEN = {name: mutation for name, mutation in MUTATIONS.items() if set(mutation.caught) & WORKS}
TRUST = (
    "OnlyAirflowOfTheSourceAccountMayBecomeTheWriter of include/cloudformation/archive_account.yaml",
    "parameter ExternalId", "SourcePrincipalArn",
)  # fmt: skip
DENIED = ("statement", "explicit deny in a resource-based policy", "archive_account.yaml")
#: What the error says for each broken statement. Where S3 says no more than "an explicit deny", the statement is one
#: of a list; the likelier first.
SAYS: dict[str, tuple[str, ...]] = {
    "nobody is trusted": TRUST,
    "somebody else is trusted": TRUST,
    "another organization is asked for": (*TRUST, "parameter OrganizationId"),
    "neither policy allows the put": ("AddLogsUnderThePrefix", "parameter Prefix", "parameter BucketName"),
    "the role may not name the ACL": (
        "Likely: the role may not name an ACL", "NameTheBucketOwnersAclInThePut", "RequireAcl",
    ),
    "the role may not use the key": ("EncryptLogsWithTheArchiveKey", "KmsKeyArn", "kms_key_arn"),
    "every put is a replacement": (*DENIED, "NobodyMayReplaceALog"),
    "no put is one": (*DENIED, "LogsArriveInOnePut"),
    "a storage class must be named": (*DENIED, "LogsKeepTheAgreedStorageClasses"),
    "an encryption must be named": (*DENIED, "LogsAreEncryptedAsTheBucketSays"),
    "keys must be brought along": (*DENIED, "NobodyMayBringAKeyOfTheirOwn"),
    "the key must be named": (*DENIED, "LogsAreEncryptedWithTheArchiveKey"),
    "Airflow is outside of the VPC endpoint": (*DENIED, ENDPOINT, "parameter VpcEndpointId"),
    "no network will do": (*DENIED, ENDPOINT, "parameter VpcEndpointId"),
    "not even TLS will do": (*DENIED, "NothingTravelsUnencrypted", "endpoint_url"),
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
    key: str = "logs/x",
    **more: Any,
) -> None:
    """Put as the operators do, through a connection."""
    found = aws.connection()
    found["extra"] |= extra or {}
    found["login"] = more.pop("login", found["login"])
    monkeypatch.setenv("AIRFLOW_CONN_LOG_ARCHIVE", json.dumps(found))
    hook = CrossAccountS3Hook(**{"bucket": aws.bucket, "session_name": "log-archival@test", **more})
    hook.put(key, b"a log\n", content_type="text/plain")


def test_every_way_to_break_a_template_is_in_the_table() -> None:
    assert SAYS.keys() == BROKEN.keys()


@pytest.mark.parametrize("name", SAYS)
def test_a_broken_statement_is_named(
    aws: LocalAws, fillings: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mutation: Mutation = BROKEN[name]
    archive, source = mutation.templates()
    parameters = fill(mutation.parameters, fillings)
    deployed = aws.deploy(parameters, archive_template=archive, source_template=source)
    with pytest.raises(RefusedError) as caught:
        put(monkeypatch, deployed, kms_key_arn=parameters.get("KmsKeyArn"))
    message = str(caught.value)
    assert [part for part in SAYS[name] if part not in message] == []
    assert deployed.external_id not in message
    if "assume-role" in mutation.caught:
        assert message.startswith(f"AssumeRole {deployed.role_arn} as the credentials of connection 'log_archive'")
    else:
        assert f"PutObject s3://{deployed.bucket}/logs/x as {deployed.role_arn} (session log-archival@test)" in message


OTHERS: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
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
    "no such bucket": ({}, {"bucket": "there-is-no-such-bucket"}, "Is the bucket's name right"),
    "a session that is too long": (
        {}, {"extra": {"assume_role_kwargs": {"DurationSeconds": 7200}}}, 'Leave "DurationSeconds" out',
    ),
    "a wrong access key": ({}, {"login": "AKIAXXXXXXXXXXXXXXXX"}, "own access key"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_mistake_in_the_settings_is_named(
    aws: LocalAws, fillings: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    parameters, arguments, says = OTHERS[name]
    deployed = aws.deploy(fill(parameters, fillings))
    with pytest.raises(RefusedError) as caught:
        put(monkeypatch, deployed, **arguments)
    assert re.search(says, str(caught.value), re.DOTALL), str(caught.value)
    assert deployed.external_id not in str(caught.value)


def test_a_bucket_of_another_account(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = "strangers-archive"
    aws.source_client("s3").create_bucket(
        Bucket=strangers, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    with pytest.raises(RefusedError, match=r"belongs to another account|BucketName"):
        put(monkeypatch, aws, bucket=strangers)


# What AWS says and no server here does


PUT = Attempt("PutObject", "the role", "s3://bucket/logs/x", prefix="logs/")
ASSUME = Attempt("AssumeRole", "the connection", "arn:aws:iam::222222222222:role/R")
SESSION = "User: arn:aws:sts::111111111111:assumed-role/Airflow/i-1 is not authorized to perform: sts:AssumeRole"


@pytest.mark.parametrize(
    ("attempt", "code", "said", "says"),
    [
        (PUT, "AccessDenied", "Access Denied", "1. the bucket belongs to another account than the role"),
        (PUT, "AccessDenied", "… with an explicit deny in a service control policy", "a service control policy"),
        (PUT, "AccessDenied", "… because no VPC endpoint policy allows the s3:PutObject action", "the VPC endpoint"),
        (
            PUT,
            "AccessDenied",
            "… because no permissions boundary allows the s3:PutObject action",
            "a permissions bound",
        ),
        (PUT, "AccessDenied", "… because no session policy allows the s3:PutObject action", "is narrowed to logs/"),
        (PUT, "PermanentRedirect", "", 'set "region_name"'),
        (PUT, "KMS.DisabledException", "", "KmsKeyArn"),
        (ASSUME, "AccessDenied", SESSION, "somebody else than arn:aws:iam::111111111111:role/Airflow:"),
        (ASSUME, "AccessDenied", "… to perform: sts:TagSession on …", 'leave "Tags" out'),
        (ASSUME, "AccessDenied", "… to perform: sts:SetSourceIdentity on …", 'leave "SourceIdentity" out'),
        (ASSUME, "ExpiredToken", "", "have expired"),
        (ASSUME, "InvalidClientTokenId", "", "access key"),
        (ASSUME, "RegionDisabledException", "", "region_name"),
        (ASSUME, "Unheard", "", "may pass"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else value.operation,
)
def test_what_is_said(attempt: Attempt, code: str, said: str, says: str) -> None:
    error = refusal(attempt, {"Error": {"Code": code, "Message": said}, "ResponseMetadata": {"HTTPStatusCode": 403}})
    assert says in str(error)
    assert isinstance(error, RefusedError) == (code != "Unheard")
    assert isinstance(error, ArchiveRequestError)
