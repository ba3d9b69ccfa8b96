"""What a connection has to say, checked before the first request; session names and policies; Test connection."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks import base_aws
from hypothesis import given
from hypothesis import strategies as st

from dev.local_aws import LocalAws
from log_archival.aws import connection
from log_archival.exceptions import ConnectionSettingsError, SettingsError
from log_archival.hooks.archive import CrossAccountS3Hook
from log_archival.hooks.session import CrossAccountSessionFactory

ARN = "arn:aws:iam::222222222222:role/LogWriterRole"
EXTERNAL_ID = "the-agreed-external-id"
GOOD: dict[str, Any] = {"role_arn": ARN, "external_id": EXTERNAL_ID}


def read(extra: dict[str, Any], **more: Any) -> connection.RoleSettings:
    return connection.role_settings("log_archive", extra, **{"region": "eu-west-1", **more})


@pytest.mark.parametrize(
    ("extra", "more"),
    [
        pytest.param(GOOD, {}, id="external_id"),
        pytest.param(
            {"role_arn": ARN, "assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, {}, id="the provider's form"
        ),
        pytest.param(GOOD | {"assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, {}, id="both, the same"),
        pytest.param(GOOD | {"assume_role_kwargs": {"DurationSeconds": 3600}}, {}, id="an hour"),
        pytest.param(
            GOOD | {"assume_role_kwargs": {"DurationSeconds": 43200}}, {"long_term_key": True}, id="12 hours of a user"
        ),
        pytest.param(GOOD | {"role_arn": "arn:aws:iam::222222222222:role/a/b/LogWriterRole"}, {}, id="a path"),
        pytest.param(GOOD | {"role_arn": ARN.replace("aws", "aws-cn")}, {"region": "cn-north-1"}, id="China"),
        pytest.param(GOOD | {"role_arn": ARN.replace("aws", "aws-us-gov")}, {"region": "us-gov-west-1"}, id="GovCloud"),
        pytest.param(GOOD, {"bucket": "acme-log-archive"}, id="a bucket"),
        pytest.param(GOOD | {"assume_role_kwargs": {"RoleSessionName": "x"}}, {}, id="a session name for other hooks"),
    ],
)
def test_a_good_connection(extra: dict[str, Any], more: dict[str, Any]) -> None:
    role = read(extra, **more)
    assert (role.account, role.external_id, role.role_arn) == ("222222222222", EXTERNAL_ID, extra["role_arn"])
    assert not {"ExternalId", "RoleSessionName"} & role.assume_role_kwargs.keys()
    assert EXTERNAL_ID not in repr(role)


@pytest.mark.parametrize(
    ("changes", "more", "says"),
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
            {"assume_role_kwargs": {"DurationSeconds": 43201}}, {"long_term_key": True}, "900 to 43200",
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
        pytest.param({}, {"region": "Frankfurt"}, "the region 'Frankfurt' can't be", id="a city for a region"),
        *(
            pytest.param({}, {"bucket": name}, "can't be: 3 to 63", id=f"the bucket {name}")
            for name in ("ab", "Acme", "a_b_c", "a..b", "192.168.1.1", "xn--abc", "abc-s3alias", "-abc", "x" * 64)
        ),
    ],
)  # fmt: skip
def test_a_bad_connection(changes: dict[str, Any], more: dict[str, Any], says: str) -> None:
    extra = {name: value for name, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(ConnectionSettingsError, match=re.escape(says)) as caught:
        read(extra, **more)
    message = str(caught.value)
    assert message.startswith("connection 'log_archive': ")
    assert '"external_id": "<the agreed external id>"' in message  # an extra that works
    assert "; " not in message.partition("\n")[0] or message.count(";") < 3  # that one thing, and not others with it
    secret = (extra.get("external_id"), (changes.get("external_id")), "another", "x1")
    assert not [text for text in secret if isinstance(text, str) and len(text) > 4 and text in message]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    extra = {"role_arn": "LogWriterRole", "assume_role_kwargs": {"DurationSeconds": 7200, "Policy": "{}"}}
    with pytest.raises(ConnectionSettingsError) as caught:
        read(extra, region=None, bucket="Acme")
    for said in ("role_arn", "external_id", "DurationSeconds", "Policy", "region", "'Acme'"):
        assert said in str(caught.value)


# Sessions


@given(st.text(max_size=300), st.text(max_size=40), st.integers(1, 99))
def test_any_session_name_is_one_that_sts_takes(dag: str, run: str, attempt: int) -> None:
    name = connection.session_name(dag, "2026-11-22", run, attempt)
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII)
    assert name.startswith("log-archival")
    assert "@2026-11-22@" in name


def test_session_names_tell_sessions_apart() -> None:
    names = {
        connection.session_name(dag, "2026-11-22", run, attempt)
        for dag in ("a" * 60, "a" * 61, "ä", "ö")
        for run in ("r/t/0", "r/t/1")
        for attempt in (1, 2)
    }
    assert len(names) == 16


@pytest.mark.parametrize("kms_key_arn", [None, f"arn:aws-us-gov:kms:us-gov-west-1:222222222222:key/{'0' * 36}"])
def test_the_longest_prefix_fits_a_session_policy(kms_key_arn: str | None) -> None:
    policy = connection.session_policy(
        aws_partition="aws-us-gov", bucket="b" * 63, prefix="p" * 1000 + "/", with_acl=True, kms_key_arn=kms_key_arn
    )
    assert len(policy) <= 2048
    assert json.loads(policy)["Statement"][0]["Resource"].endswith("p/*")


def test_a_session_policy_that_is_too_long_is_refused() -> None:
    with pytest.raises(SettingsError, match="STS takes 2,048"):
        connection.session_policy(aws_partition="aws", bucket="b", prefix="p" * 2000, with_acl=True)


# Airflow's Test connection, which asks the provider's own hook


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a deployment starts with `[aws] session_factory`."""
    path = f"{CrossAccountSessionFactory.__module__}.{CrossAccountSessionFactory.__name__}"
    monkeypatch.setenv("AIRFLOW__AWS__SESSION_FACTORY", path)
    monkeypatch.setattr(base_aws, "SessionFactory", base_aws.resolve_session_factory())


def try_out(monkeypatch: pytest.MonkeyPatch, aws: LocalAws, **extra: Any) -> tuple[bool, str]:
    found = aws.connection()
    found["extra"] = {name: value for name, value in (found["extra"] | extra).items() if value is not None}
    monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(found))
    status, message = base_aws.AwsGenericHook("tested").test_connection()
    assert aws.external_id not in message
    return status, message


@pytest.mark.usefixtures("factory")
def test_test_connection_works_with_an_external_id(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = try_out(monkeypatch, aws)
    assert status, message
    assert "assumed-role/LogWriterRole/log-archival@test_connection@tested@" in message


def providers_form(aws: LocalAws) -> dict[str, Any]:
    kwargs = {"ExternalId": aws.external_id, "RoleSessionName": "log-archival@test"}
    return {"external_id": None, "assume_role_kwargs": kwargs}


def test_test_connection_works_with_the_providers_form(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = try_out(monkeypatch, aws, **providers_form(aws))
    assert status, message
    assert "assumed-role/LogWriterRole/log-archival@test'" in message


@pytest.mark.usefixtures("factory")
def test_the_factory_leaves_other_connections_as_they_are(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    assert try_out(monkeypatch, aws, **providers_form(aws))[0]
    status, message = try_out(monkeypatch, aws, role_arn=None, external_id=None)
    assert status, message
    assert "user/airflow" in message


def test_without_the_factory_an_external_id_is_not_sent(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = try_out(monkeypatch, aws)
    assert not status
    assert "AccessDenied" in message


@pytest.mark.usefixtures("factory")
def test_test_connection_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = try_out(monkeypatch, aws, external_id="not-the-one-agreed")
    assert not status
    assert "parameter ExternalId" in message
    status, message = try_out(monkeypatch, aws, role_arn="LogWriterRole")
    assert not status
    assert "not of the form arn:aws:iam::" in message


def test_our_hook_works_with_the_factory_too(monkeypatch: pytest.MonkeyPatch, aws: LocalAws, factory: None) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LOG_ARCHIVE", aws.connection_json())
    hook = CrossAccountS3Hook(bucket=aws.bucket, session_name="log-archival@hook")
    identity = hook.get_session().client("sts", endpoint_url=aws.endpoint_url).get_caller_identity()
    assert identity["Arn"].endswith("/log-archival@hook")
    assert hook.test_connection() == (True, f"assumed {aws.role_arn}")
