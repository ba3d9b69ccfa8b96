"""Clients for sources: from an Airflow connection, with or without a role."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

from log_archival.exceptions import ArchiveRequestError, ConnectionSettingsError
from log_archival.hooks.source_clients import source_client
from log_archival.sources.s3 import CLIENT_CONFIG
from tests.support.operating import connect
from tests.support.recording_sts import Sts

ROLE = "arn:aws:iam::111111111111:role/LogReader"
EXTERNAL_ID = "agreed/between=the,two"
REGION = {"region_name": "eu-west-1"}


def connection(**extra: Any) -> dict[str, Any]:
    return {
        "conn_type": "aws",
        "login": "AKIAIOSFODNN7EXAMPLE",
        "password": "wJalrXUtnFEMI/K7MDENG",
        "extra": REGION | extra,
    }


@pytest.mark.parametrize("service", ["s3", "logs"])
def test_source_client_is_of_the_connection(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection(service_config={service: {"endpoint_url": "http://127.0.0.1:9"}}), "logs_of_ours")
    client = source_client(service, "logs_of_ours", None, CLIENT_CONFIG)
    assert client.meta.service_model.service_name == service
    assert (client.meta.region_name, client.meta.endpoint_url) == ("eu-west-1", "http://127.0.0.1:9")
    assert client._request_signer._credentials.access_key == "AKIAIOSFODNN7EXAMPLE"


def test_source_client_has_the_sources_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection(), "aws_default")
    config = source_client("s3", "aws_default", None, CLIENT_CONFIG).meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 5}
    assert config.max_pool_connections == 16


def test_config_of_the_connection_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection(config_kwargs={"max_pool_connections": 3}), "aws_default")
    assert source_client("s3", "aws_default", None, CLIENT_CONFIG).meta.config.max_pool_connections == 3


def test_region_of_the_source_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection(), "aws_default")
    assert source_client("s3", "aws_default", "eu-north-1", CLIENT_CONFIG).meta.region_name == "eu-north-1"


@pytest.mark.parametrize(
    ("extra", "external_id"),
    [
        pytest.param({}, None, id="no external id"),
        pytest.param({"external_id": EXTERNAL_ID}, EXTERNAL_ID, id="at the top level"),
        pytest.param({"assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, EXTERNAL_ID, id="in assume_role_kwargs"),
    ],
)
def test_source_client_assumes_the_connections_role(
    extra: dict[str, Any], external_id: str | None, sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = {"service_config": {"sts": {"endpoint_url": sts.url}}}
    connect(monkeypatch, connection(role_arn=ROLE, **endpoint, **extra), "aws_default")
    client = source_client("s3", "aws_default", None, CLIENT_CONFIG)
    [request] = sts.requests
    assert (request["RoleArn"], request.get("ExternalId")) == (ROLE, external_id)
    assert client._request_signer._credentials.access_key == "ASIA1"


def test_undefined_default_connection_is_boto3s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    client = source_client("s3", "aws_default", None, CLIENT_CONFIG)
    assert client.meta.region_name == "eu-north-1"
    assert client._request_signer._credentials.access_key == "AKIAENVIRONMENT"


@pytest.mark.parametrize(
    ("defined", "message"),
    [
        pytest.param({}, "connection 'logs_of_ours' is not defined", id="undefined"),
        pytest.param(connection() | {"conn_type": "http"}, "is of type 'http'; it has to be `aws`", id="another type"),
        pytest.param(connection() | {"extra": "{"}, "the extra is not valid JSON", id="no JSON"),
        pytest.param(connection(config_kwargs="x", verify="no"), '"verify".*; "config_kwargs"|"config_kw.*; "verify"',
                     id="two settings"),
        pytest.param(connection(role_arn="LogReader"), '"role_arn" is \'LogReader\'', id="a role's name"),
        pytest.param(connection(role_arn=ROLE, external_id="a b"), "2 to 1,224", id="an external id"),
        pytest.param(connection(region_name="garage", role_arn=ROLE, endpoint_url="http://127.0.0.1:9"),
                     "is none that botocore knows for s3 and sts", id="a region that STS does not have"),
    ],
)  # fmt: skip
def test_wrong_connection_of_a_source_is_refused(
    defined: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if defined:
        connect(monkeypatch, defined, "logs_of_ours")
    with pytest.raises(ConnectionSettingsError, match=message) as caught:
        source_client("s3", "logs_of_ours", None, CLIENT_CONFIG)
    assert caught.value.permanent


def test_role_that_cannot_be_assumed_for_now_is_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = {"sts": {"endpoint_url": "http://127.0.0.1:9"}}
    once = {"retries": {"total_max_attempts": 1}}
    connect(monkeypatch, connection(role_arn=ROLE, service_config=nobody, config_kwargs=once), "aws_default")
    with pytest.raises(ArchiveRequestError, match=f"AssumeRole {ROLE} as the credentials of connection") as caught:
        source_client("s3", "aws_default", None, CLIENT_CONFIG)
    assert not caught.value.permanent


def test_source_client_is_a_function_that_pickles_and_no_hook() -> None:
    assert pickle.loads(pickle.dumps(source_client)) is source_client  # noqa: S301
    assert not isinstance(source_client, AwsGenericHook)
