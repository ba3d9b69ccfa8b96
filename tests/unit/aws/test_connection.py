"""What a connection has to have, checked before the first request; session names and session policies."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log_archival.aws import connection
from log_archival.exceptions import ConnectionSettingsError, SettingsError

ARN = "arn:aws:iam::222222222222:role/LogWriterRole"
EXTERNAL_ID = "the-agreed-external-id"
GOOD: dict[str, Any] = {"role_arn": ARN, "external_id": EXTERNAL_ID}
KEY = {"login": "AKIAIOSFODNN7EXAMPLE", "password": "wJalrXUtnFEMI/K7MDENG"}


def read(extra: dict[str, Any], **more: Any) -> connection.RoleSettings:
    others: dict[str, Any] = {"region": "eu-west-1", "bucket": "acme-log-archive"}
    return connection.role_settings("log_archive", extra, **others | more)


@pytest.mark.parametrize(
    ("extra", "more"),
    [
        pytest.param(GOOD, {}, id="external_id"),
        pytest.param(
            {"role_arn": ARN, "assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, {}, id="the provider's form"
        ),
        pytest.param(GOOD | {"assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, {}, id="both, the same"),
        pytest.param(GOOD | {"assume_role_kwargs": {"DurationSeconds": 3600}}, {}, id="an hour"),
        pytest.param(GOOD | {"assume_role_kwargs": {"DurationSeconds": 43200}}, KEY, id="12 hours of a user"),
        pytest.param(GOOD | {"role_arn": "arn:aws:iam::222222222222:role/a/b/LogWriterRole"}, {}, id="a path"),
        pytest.param(GOOD | {"role_arn": ARN.replace("aws", "aws-cn")}, {"region": "cn-north-1"}, id="China"),
        pytest.param(GOOD | {"role_arn": ARN.replace("aws", "aws-us-gov")}, {"region": "us-gov-west-1"}, id="GovCloud"),
        pytest.param(GOOD, {"bucket": "acme-log-archive"}, id="a bucket"),
        pytest.param(GOOD | {"assume_role_kwargs": {"RoleSessionName": "log-archival@test"}}, {}, id="a session name"),
    ],
)
def test_connection_is_accepted(extra: dict[str, Any], more: dict[str, Any]) -> None:
    role = read(extra, **more)
    assert (role.account, role.external_id, role.role_arn) == ("222222222222", EXTERNAL_ID, extra["role_arn"])
    assert not {"ExternalId", "RoleSessionName"} & role.assume_role_kwargs.keys()
    assert EXTERNAL_ID not in repr(role)


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        pytest.param({"role_arn": None}, {}, 'no "role_arn"', id="no role"),
        pytest.param({"role_arn": "LogWriterRole"}, {}, "not of the form", id="a role's name"),
        pytest.param({"role_arn": "arn:aws:iam::222222222222:root"}, {}, "not of the form", id="an account"),
        pytest.param({"role_arn": "arn:aws:iam::222222222222:user/x"}, {}, "not of the form", id="a user"),
        pytest.param({"role_arn": "arn:aws:iam::2222:role/x"}, {}, "not of the form", id="a short account"),
        pytest.param({"role_arn": ARN + " "}, {}, "not of the form", id="a blank behind the ARN"),
        pytest.param(
            {"role_arn": "arn:aws:sts::222222222222:assumed-role/x/y"}, {}, "not of the form", id="a session"
        ),
        pytest.param({"role_arn": ARN.replace("aws", "aws-cn")}, {}, "AWS partition 'aws-cn'", id="a Chinese role"),
        pytest.param({}, {"region": "cn-north-1"}, "AWS partition 'aws'", id="a Chinese region"),
        pytest.param({"role_arn": ARN.replace("aws", "aws-us-gov")}, {}, "'aws-us-gov'", id="a GovCloud role"),
        pytest.param({"external_id": None}, {}, 'no "external_id"', id="no external id"),
        pytest.param({"external_id": ""}, {}, 'no "external_id"', id="an empty external id"),
        pytest.param({"external_id": "x"}, {}, "2 to 1,224", id="an external id of one character"),
        pytest.param({"external_id": "x" * 1225}, {}, "2 to 1,224", id="a long external id"),
        pytest.param({"external_id": "with a blank"}, {}, "2 to 1,224", id="a blank in the external id"),
        pytest.param({"external_id": "newline\n"}, {}, "2 to 1,224", id="a newline behind the external id"),
        pytest.param({"external_id": "schlüssel"}, {}, "2 to 1,224", id="an umlaut in the external id"),
        pytest.param({"external_id": 12345}, {}, "2 to 1,224", id="a number for an external id"),
        *(
            pytest.param({"external_id": None, name: "x1"}, {}, f'"{name}" is not read by anything', id=f"{name}")
            for name in ("ExternalId", "externalId", "external-id")
        ),
        pytest.param(
            {"external_id": None, "assume_role_kwargs": {"external_id": "x1"}}, {},
            '"assume_role_kwargs.external_id" is not read', id="external_id in assume_role_kwargs",
        ),
        pytest.param({"assume_role_kwargs": {"ExternalId": "another"}}, {}, "differ; keep one", id="two external ids"),
        pytest.param({"assume_role_kwargs": "ExternalId"}, {}, "has to be an object", id="kwargs that are none"),
        pytest.param({"assume_role_kwargs": {"DurationSeconds": 3601}}, {}, "an hour at most", id="more than an hour"),
        pytest.param({"assume_role_kwargs": {"DurationSeconds": 60}}, {}, "900 to 3600", id="a minute"),
        pytest.param({"assume_role_kwargs": {"DurationSeconds": "900"}}, {}, "900 to 3600", id="seconds as text"),
        pytest.param({"assume_role_kwargs": {"DurationSeconds": True}}, {}, "900 to 3600", id="seconds as a truth"),
        pytest.param(
            {"assume_role_kwargs": {"DurationSeconds": 43201}}, KEY, "900 to 43200",
            id="over 12 hours",
        ),
        *(
            pytest.param({"assume_role_kwargs": {name: "x"}}, {}, f'has "{name}", which each run sets', id=name)
            for name in ("RoleArn", "Policy", "PolicyArns")
        ),
        pytest.param({"assume_role_method": "assume_role_with_saml"}, {}, "sends no external id", id="SAML"),
        pytest.param({"aws_access_key_id": "AKIAX"}, {}, "give both or neither", id="half a key"),
        pytest.param(
            {"aws_access_key_id": "AKIAX", "aws_secret_access_key": "s", "profile_name": "p"}, {},
            '"profile_name" and "aws_access_key_id" contradict', id="a key and a profile",
        ),
        pytest.param({}, {"region": None}, "no region is known", id="no region"),
        pytest.param({}, {"region": "Frankfurt"}, "'Frankfurt' is none that botocore knows", id="a city for a region"),
        *(
            pytest.param({}, {"bucket": name}, "can't be: 3 to 63", id=f"the bucket {name}")
            for name in ("ab", "Acme", "a_b_c", "a..b", "192.168.1.1", "xn--abc", "abc-s3alias", "-abc", "x" * 64)
        ),
    ],
)  # fmt: skip
def test_connection_is_refused(changes: dict[str, Any], more: dict[str, Any], message: str) -> None:
    extra = {name: value for name, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(ConnectionSettingsError, match=re.escape(message)) as caught:
        read(extra, **more)
    shown = str(caught.value)
    assert shown.startswith("connection 'log_archive': ")
    assert '"external_id": "<the agreed external id>"' in shown  # an extra that works
    assert "; " not in shown.partition("\n")[0] or shown.count(";") < 3  # that one problem only
    secrets = (extra.get("external_id"), changes.get("external_id"), "another", "x1")
    assert not [text for text in secrets if isinstance(text, str) and len(text) > 4 and text in shown]


def test_error_names_every_problem() -> None:
    extra = {"role_arn": "LogWriterRole", "assume_role_kwargs": {"DurationSeconds": 7200, "Policy": "{}"}}
    with pytest.raises(ConnectionSettingsError) as caught:
        read(extra, region=None, bucket="Acme")
    for problem in ("role_arn", "external_id", "DurationSeconds", "Policy", "region", "'Acme'"):
        assert problem in str(caught.value)


# archive.yaml

KMS_KEY = "arn:aws:kms:eu-west-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize("acl", ["bucket-owner-full-control", None])
def test_acl_of_the_bucket_policy_is_accepted(acl: str | None) -> None:
    assert connection.require_acl(acl) == acl


@pytest.mark.parametrize("acl", ["public-read", "public-read-write"])
def test_acl_that_would_publish_logs_says_so(acl: str) -> None:
    with pytest.raises(SettingsError, match="It would make logs public"):
        connection.require_acl(acl)


@pytest.mark.parametrize(
    "acl",
    [
        "private", "authenticated-read", "aws-exec-read", "bucket-owner-read", "log-delivery-write",
        "Bucket-Owner-Full-Control", "", "x" * 1000,
    ],
)  # fmt: skip
def test_acl_that_the_bucket_refuses_is_refused(acl: str) -> None:
    with pytest.raises(SettingsError, match=r"accepts bucket-owner-full-control only.*\n.*RequireAcl=false") as caught:
        connection.require_acl(acl)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "arn",
    [
        pytest.param(None, id="none"),
        pytest.param(KMS_KEY, id="a key"),
        pytest.param(KMS_KEY.replace("key/", "key/mrk-"), id="a key of several regions"),
        pytest.param(KMS_KEY.replace("aws", "aws-us-gov").replace("eu-west-1", "us-gov-west-1"), id="GovCloud"),
    ],
)
def test_kms_key_is_accepted(arn: str | None) -> None:
    assert connection.require_kms_key_arn(arn) == arn


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        pytest.param("arn:aws:kms:eu-west-1:222222222222:alias/logs", "An alias gives no permission", id="alias ARN"),
        pytest.param("alias/logs", "An alias gives no permission", id="alias"),
        pytest.param("1234abcd-12ab-34cd-56ef-1234567890ab", "is not of the form", id="key id"),
        pytest.param("arn:aws:kms:eu-west-1:222222222222:key/*", "is not of the form", id="every key"),
        pytest.param("*", "is not of the form", id="everything"),
        pytest.param("", "is not of the form", id="empty"),
        pytest.param(KMS_KEY + "\n", "is not of the form", id="line end"),
        pytest.param(ARN, "is not of the form", id="a role"),
    ],
)
def test_what_is_no_kms_key_is_refused(arn: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        connection.require_kms_key_arn(arn)
    assert "KmsKeyArn" in str(caught.value)


# Sessions


@given(st.text(max_size=100), st.text(max_size=40), st.integers(1, 99))
def test_session_name_is_accepted_by_sts(dag: str, run: str, try_number: int) -> None:
    name = connection.session_name(dag, "2026-11-22", run, try_number)
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII)
    assert name.startswith("log-archival")
    assert "@2026-11-22@" in name


def test_session_names_differ() -> None:
    names = {
        connection.session_name(dag, "2026-11-22", run, try_number)
        for dag in ("a" * 60, "a" * 61, "ä", "ö")
        for run in ("r/t/0", "r/t/1")
        for try_number in (1, 2)
    }
    assert len(names) == 16


@pytest.mark.parametrize("kms_key_arn", [None, f"arn:aws-us-gov:kms:us-gov-west-1:222222222222:key/{'0' * 36}"])
def test_session_policy_has_room_for_the_longest_prefix(kms_key_arn: str | None) -> None:
    policy = connection.session_policy(
        aws_partition="aws-us-gov", bucket="b" * 63, prefix="p" * 1000 + "/", with_acl=True, kms_key_arn=kms_key_arn
    )
    assert len(policy) <= 2048
    assert json.loads(policy)["Statement"][0]["Resource"].endswith("p/*")


def test_session_policy_that_is_too_long_is_refused() -> None:
    with pytest.raises(SettingsError, match="STS accepts 2,048"):
        connection.session_policy(aws_partition="aws", bucket="b", prefix="p" * 2000, with_acl=True)
