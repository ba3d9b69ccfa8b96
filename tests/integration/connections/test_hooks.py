"""The hook: how it assumes the role, and what it says of a connection that is wrong."""

from __future__ import annotations

import json
import re
from typing import Any

import boto3
import pytest
from airflow.sdk import BaseHook

from log_archival.aws.writer import DEFAULT_MAX_CONCURRENT_REQUESTS
from log_archival.exceptions import ArchiveRequestError, ConnectionSettingsError, SettingsError
from log_archival.hooks import CrossAccountS3Hook
from log_archival.hooks.assumed_role import AssumedRole
from tests.support.operating import connect
from tests.support.recording_sts import Sts

PREFIX = "logs/2026/11/22/"
ROLE = "arn:aws:iam::222222222222:role/LogWriterRole"
EXTERNAL_ID = "agreed/between=the,two"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG"
SESSION_NAME = "log-archival@archive_logs@2026-11-22@1f3a9c2b.1"
KMS_KEY = "arn:aws:kms:eu-west-1:222222222222:key/1"


def connection(**extra: Any) -> dict[str, Any]:
    """Return a connection; an extra of None is left out."""
    fields = {"role_arn": ROLE, "external_id": EXTERNAL_ID, "region_name": "eu-west-1"} | extra
    return {
        "conn_type": "aws",
        "login": "AKIAIOSFODNN7EXAMPLE",
        "password": SECRET_KEY,
        "extra": {name: value for name, value in fields.items() if value is not None},
    }


def connect_to(sts: Sts, monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    connect(monkeypatch, connection(service_config={"sts": {"endpoint_url": sts.url}}, **extra))


def policy(prefix: str = PREFIX, actions: Any = ("s3:PutObject", "s3:PutObjectAcl"), more: Any = ()) -> dict[str, Any]:
    resource = f"arn:aws:s3:::acme-log-archive/{prefix}*"
    allow = {
        "Effect": "Allow",
        "Action": list(actions) if isinstance(actions, tuple) else actions,
        "Resource": resource,
    }
    return {"Version": "2012-10-17", "Statement": [allow, *more]}


@pytest.mark.parametrize(
    ("extra", "settings", "sent"),
    [
        ({}, {}, {"Policy": policy()}),
        ({"external_id": None, "assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, {}, {"Policy": policy()}),
        ({"assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, {}, {"Policy": policy()}),
        ({"assume_role_kwargs": {"DurationSeconds": 1800}}, {}, {"Policy": policy(), "DurationSeconds": "1800"}),
        ({}, {"acl": None}, {"Policy": policy(actions="s3:PutObject")}),
        ({}, {"prefix": "logs/2026/03/29/"}, {"Policy": policy("logs/2026/03/29/")}),
        (
            {},
            {"kms_key_arn": KMS_KEY},
            {"Policy": policy(more=[{"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": KMS_KEY}])},
        ),
    ],
    ids=["top level", "in assume_role_kwargs", "in both, the same", "duration", "no acl", "another day", "kms"],
)
def test_assume_role_sends_exactly(
    extra: dict[str, Any], settings: dict[str, Any], sent: dict[str, Any], sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_to(sts, monkeypatch, **extra)
    arguments = {"bucket": "acme-log-archive", "prefix": PREFIX, "session_name": SESSION_NAME} | settings
    hook = CrossAccountS3Hook(**arguments)
    hook.writer.assume_role()
    hook.get_conn().assume_role()
    [request] = sts.requests  # one session is enough
    assert request | {"Policy": json.loads(request["Policy"])} == {
        "Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": ROLE, "RoleSessionName": SESSION_NAME,
        "ExternalId": EXTERNAL_ID, **sent,
    }  # fmt: skip


def test_arguments_are_known_to_botocore() -> None:
    model: Any = boto3.session.Session().client("sts", region_name="eu-west-1").meta.service_model
    members = model.operation_model("AssumeRole").input_shape.members
    assert {"RoleArn", "RoleSessionName", "ExternalId", "Policy", "DurationSeconds"} <= set(members)


def test_credentials_are_renewed_before_they_end(sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_to(sts, monkeypatch)
    sts.session_seconds = 60  # botocore renews what has less than 10 minutes left
    role = AssumedRole("log_archive", bucket="acme-log-archive")
    credentials: Any = role.get_session().get_credentials()
    sts.session_seconds = 3600
    before = len(sts.requests)
    assert credentials.get_frozen_credentials().access_key == f"ASIA{before + 1}"
    assert credentials.get_frozen_credentials().access_key == f"ASIA{before + 1}"
    assert {form["ExternalId"] for form in sts.requests} == {EXTERNAL_ID}
    assert len({form["RoleSessionName"] for form in sts.requests}) == 1


def test_default_session_name_is_valid_and_random(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection())
    names = {
        AssumedRole("log_archive", bucket="acme-log-archive").conn_config.assume_role_kwargs["RoleSessionName"]
        for _ in range(2)
    }
    assert len(names) == 2
    assert all(re.fullmatch(r"log-archival@[\w+=,.@-]{2,51}", name) for name in names)


@pytest.mark.parametrize(
    ("settings", "extra", "size"),
    [
        ({}, {}, DEFAULT_MAX_CONCURRENT_REQUESTS),
        ({"max_concurrent_requests": 7}, {}, 7),
        ({"max_concurrent_requests": 7}, {"config_kwargs": {"read_timeout": 5}}, 7),
        ({}, {"config_kwargs": {"max_pool_connections": 3}}, 3),
    ],
    ids=["default", "given", "given beside the connection's settings", "in the connection"],
)
def test_client_keeps_a_connection_for_each_concurrent_request(
    settings: dict[str, Any], extra: dict[str, Any], size: int, sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_to(sts, monkeypatch, **extra)
    hook = CrossAccountS3Hook(bucket="acme-log-archive", prefix=PREFIX, **settings)
    client: Any = hook._role.conn
    assert client.meta.config.max_pool_connections == size
    assert hook.writer.max_concurrent_requests == settings.get(
        "max_concurrent_requests", DEFAULT_MAX_CONCURRENT_REQUESTS
    )


def test_unreachable_sts_is_a_transient_error_of_assume_role(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = {"service_config": {"sts": {"endpoint_url": "http://127.0.0.1:9"}}}
    connect(monkeypatch, connection(**nobody, config_kwargs={"retries": {"total_max_attempts": 1}}))
    with pytest.raises(ArchiveRequestError, match=f"AssumeRole {re.escape(ROLE)} as the credentials of") as caught:
        CrossAccountS3Hook(bucket="acme-log-archive").writer.assume_role()
    assert not caught.value.permanent


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"external_id": None}, 'the extra has no "external_id"; write the one that'),
        ({"external_id": ""}, 'the extra has no "external_id"'),
        ({"assume_role_kwargs": {"ExternalId": "another"}}, "the external ids in .* differ; keep one of the two"),
        ({"external_id": None, "ExternalId": "x1"}, '"ExternalId" is not read by anything; write .* as "external_id"'),
        ({"assume_role_kwargs": {"external_id": "x1"}}, '"assume_role_kwargs.external_id" is not read by anything'),
        ({"external_id": "with space"}, '"external_id" has to be 2 to 1,224 letters'),
        ({"role_arn": None}, 'the extra has no "role_arn"; write the RoleArn output'),
        ({"role_arn": "arn:aws:iam::2222:role/x"}, '"role_arn" is .*, which is not of the form'),
        ({"region_name": None}, 'no region is known; write "region_name"'),
        ({"region_name": "cn-north-1"}, "is of the AWS partition 'aws', but the region is 'cn-north-1'"),
        ({"assume_role_method": "assume_role_with_saml"}, '"assume_role_method" is .*, which sends no external id'),
        ({"assume_role_kwargs": {"Policy": "{}"}}, '"assume_role_kwargs" has "Policy", which each run sets'),
        ({"assume_role_kwargs": {"DurationSeconds": 60}}, '"DurationSeconds" is 60; it can be 900 to 43200'),
        ({"assume_role_kwargs": {"Tags": 5}}, '"assume_role_kwargs"."Tags" is not of the form that AssumeRole takes'),
        ({"config_kwargs": "read_timeout=5"}, '"config_kwargs" has to be an object'),
        ({"config_kwargs": {"read_timout": 5}}, '"config_kwargs" has "read_timout", .* did you mean "read_timeout"'),
        ({"config_kwargs": {"signature_version": "unsigned"}}, "a role is needed to add logs; leave it out"),
        ({"endpoint_url": "s3.example.com"}, '"endpoint_url" has to begin with https://'),
        ({"service_config": None, "verify": "false"}, '"verify" has to be true or false, without quotes'),
        ({"region_name": "eu-west1"}, 'none that botocore knows .* for example "eu-west-1"'),
        ({"profile_name": "nobody"}, "the AWS profile 'nobody' can't be used on this machine"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_wrong_connection_says_what_to_write_where(
    extra: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, connection(**extra))
    with pytest.raises(ConnectionSettingsError, match=message) as caught:
        CrossAccountS3Hook(bucket="acme-log-archive").writer.assume_role()
    assert str(caught.value).startswith("connection 'log_archive': ")
    assert "An extra that works: {" in str(caught.value)
    for secret in (EXTERNAL_ID, "with space", "another", SECRET_KEY):
        assert secret not in str(caught.value)


def test_wrong_connection_lists_every_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection(role_arn="x", external_id=None, region_name=None))
    with pytest.raises(ConnectionSettingsError, match=r"region_name.*role_arn.*external_id.*bucket 'Acme'"):
        CrossAccountS3Hook(bucket="Acme").writer.assume_role()


def test_connection_of_another_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection() | {"conn_type": "http"})
    with pytest.raises(ConnectionSettingsError, match="is of type 'http'; it has to be `aws`"):
        CrossAccountS3Hook(bucket="acme-log-archive").writer.assume_role()


@pytest.mark.parametrize("extra", ["{", "[]", "null", '"x"'])
def test_extra_that_is_no_object_is_refused(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection() | {"extra": extra})
    with pytest.raises(ConnectionSettingsError, match=r"the extra (is not valid JSON|has to be a JSON object)"):
        CrossAccountS3Hook(bucket="acme-log-archive").writer.assume_role()


def test_undefined_connection_is_named() -> None:
    with pytest.raises(ConnectionSettingsError, match=r"connection 'log_archive' is not defined.*\nDefine it"):
        CrossAccountS3Hook(bucket="acme-log-archive").writer.assume_role()


@pytest.mark.parametrize("settings", [{"acl": "public-read"}, {"kms_key_arn": "alias/logs"}], ids=["acl", "kms key"])
def test_setting_that_cannot_work_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        CrossAccountS3Hook(bucket="acme-log-archive", **settings)  # type: ignore[arg-type]


def test_region_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    connect(monkeypatch, connection(region_name=None))
    role = AssumedRole("log_archive", bucket="acme-log-archive")
    assert (role.role.region, role.conn_config.region_name) == ("eu-north-1", "eu-north-1")


def test_hook_has_the_writer_and_none_of_the_providers_methods() -> None:
    methods = {name for name in dir(CrossAccountS3Hook) if not name.startswith("_")}
    assert methods - set(dir(BaseHook)) == {"role_arn", "writer"}
