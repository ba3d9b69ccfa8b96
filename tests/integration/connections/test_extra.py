"""What the extra of any AWS connection may hold: one message says what to write where, and nothing bites later."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import botocore
import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from airflow.sdk import Connection
from botocore.exceptions import BotoCoreError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from log_archival.aws.connection import check_connection, role_settings
from log_archival.exceptions import ConnectionSettingsError
from tests.support.extras import ARN, EXTRAS, JSON, LOCAL, SECRET

REGION = {"region_name": "eu-west-1"}
ROLE: dict[str, Any] = REGION | {"role_arn": ARN, "external_id": "the-agreed-external-id"}
NO_TEXTS: tuple[Any, ...] = (5, "", ["x"])
NO_OBJECTS: tuple[Any, ...] = ("x", 5, [], [{}])
CA_BUNDLE = str(Path(botocore.__file__).with_name("cacert.pem"))


def problems_of(extra: Any, **more: Any) -> str:
    with pytest.raises(ConnectionSettingsError) as caught:
        check_connection("aws_default", extra, **more)
    assert caught.value.permanent
    assert str(caught.value).startswith("connection 'aws_default': ")
    return str(caught.value).partition("\n")[0]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        pytest.param("{", "not valid JSON (line 1, column 2)", id="no JSON"),
        pytest.param("[" * 100_000, "not valid JSON", id="deep JSON"),
        pytest.param('{"a": "\\ud800"}', "not valid JSON", id="half a character"),
        pytest.param("null", "has to be a JSON object", id="null"),
        pytest.param('["region_name"]', "has to be a JSON object", id="a list"),
        pytest.param('"eu-west-1"', "has to be a JSON object", id="text"),
    ],
)
def test_extra_that_is_no_object_is_refused(extra: str, message: str) -> None:
    assert message in problems_of(extra)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            pytest.param({name: given}, f'"{name}" has to be text in quotes', id=f"{name} {given!r}")
            for name in ("region_name", "profile_name", "endpoint_url", "aws_session_token", "assume_role_method")
            for given in NO_TEXTS
        ),
        *(
            pytest.param({name: given}, f'"{name}" has to be an object', id=f"{name} {given!r}")
            for name in ("assume_role_kwargs", "config_kwargs", "service_config", "session_kwargs")
            for given in NO_OBJECTS
        ),
        pytest.param({"service_config": None}, '"service_config" has to be an object', id="null for service_config"),
        pytest.param({"profile": "logs"}, '"profile" is not read by anything; write "profile_name"', id="profile"),
        pytest.param({"self": 1}, '"self" can\'t be a name', id="a name of Python's"),
        # Credentials
        pytest.param({"aws_access_key_id": "AKIAX"}, "give both or neither", id="half a key"),
        pytest.param({"session_kwargs": {"aws_access_key_id": "AKIAX"}}, '"session_kwargs.aws_acc', id="half, nested"),
        pytest.param({"aws_session_token": SECRET}, "goes with an access key", id="a token alone"),
        pytest.param(
            {"aws_access_key_id": "AKIAX", "aws_secret_access_key": SECRET + "\n"},
            '"aws_secret_access_key" has to be text, as AWS shows it', id="a line end in a secret",
        ),
        pytest.param(
            {"session_kwargs": {"aws_access_key_id": 5, "aws_secret_access_key": {"x": SECRET}}},
            '"session_kwargs.aws_secret_access_key" has to be text', id="a secret of another type",
        ),
        # Endpoints
        *(
            pytest.param({"endpoint_url": url}, '"endpoint_url" has to begin with https://', id=f"{url!r}")
            for url in (
                "s3.eu-west-1.amazonaws.com", "127.0.0.1:4566", "ftp://host", "http://", "http://host:port",
                "http://host:99999", "http://a b", "http://[::1", "http://host\n", f"http://user:{SECRET}@host",
            )
        ),
        pytest.param(
            {"service_config": {"s3": {"endpoint_url": "minio:9000"}}},
            '"service_config"."s3"."endpoint_url" has to begin with https://', id="a service's endpoint",
        ),
        pytest.param({"service_config": {"s3": LOCAL}}, '"service_config"."s3" has to be an object', id="a service"),
        # Certificates
        *(
            pytest.param({"verify": value}, '"verify" has to be true or false, without quotes', id=f"verify {value!r}")
            for value in ("false", "true", 0, 1, "", "/no/such/file", "/", "a\0b", [True])
        ),
        # config_kwargs
        *(
            pytest.param({"config_kwargs": {name: value}}, f'."{name}" {message}', id=f"{name} {value!r}")
            for name, value, message in (
                ("connect_timeout", "5", "has to be a number of seconds"),
                ("read_timeout", -1, "has to be a number of seconds"),
                ("read_timeout", float("inf"), "has to be a number of seconds"),
                ("read_timeout", True, "has to be a number of seconds"),
                ("max_pool_connections", "10", "has to be 1 to 10,000"),
                ("max_pool_connections", None, "has to be 1 to 10,000"),
                ("max_pool_connections", 0, "has to be 1 to 10,000"),
                ("use_fips_endpoint", "true", "has to be true or false"),
                ("proxies", "http://proxy:3128", "has to be an object, such as"),
                ("proxies", {"https": "http://"}, "has to be an object, such as"),
                ("proxies", {"https": 5}, "has to be an object, such as"),
                ("client_cert", "/no/such/file", "has to be the path of a file"),
                ("s3", "path", "has to be an object"),
                ("s3", {"addressing_style": "paths"}, "is refused by botocore: S3 addressing style paths is invalid"),
                ("s3", {"us_east_1_regional_endpoint": "x"}, "is refused by botocore: "),
                ("retries", 5, "has to be an object"),
                ("retries", {"mode": "best"}, "is refused by botocore: Invalid value provided to \"mode\": \"best\""),
                ("retries", {"attempts": 3}, "is refused by botocore: Cannot provide retry configuration"),
                ("retries", {"max_attempts": "3"}, "is not what botocore's Config takes: https://docs.aws"),
                ("retries", {"max_attempts": -1}, "is refused by botocore: "),
                ("signature_version", "v5", "is refused by botocore: "),
                ("defaults_mode", "slow", "is refused by botocore: "),
                ("user_agent_extra", "two\nlines", "has to be text"),
                ("user_agent", 5, "has to be text"),
            )
        ),
        pytest.param(
            {"config_kwargs": {"read_timout": 5}},
            '"config_kwargs" has "read_timout", which botocore\'s Config does not know; did you mean "read_timeout"?',
            id="an unknown option",
        ),
        pytest.param({"config_kwargs": {"region_name": "x"}}, "belongs into the extra itself", id="the region there"),
    ],
)  # fmt: skip
def test_extra_is_refused(changes: dict[str, Any], message: str) -> None:
    shown = problems_of(changes, region="eu-west-1")
    assert message in shown
    assert "; ".join(shown.split("; ")[2:]) == ""  # that one problem only
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"assume_role_kwargs": {"Tags": "a=b"}}, '"assume_role_kwargs"."Tags" is not of', id="tags"),
        pytest.param({"assume_role_kwargs": {"Tags": [{"Key": 5}]}}, '"assume_role_kwargs"."Tags" is not', id="a tag"),
        pytest.param({"assume_role_kwargs": {"Tag": []}}, 'has "Tag", which AssumeRole does not know', id="unknown"),
        pytest.param({"assume_role_kwargs": {"DurationSeconds": 60}}, "900 to 43200", id="a minute"),
        pytest.param({"assume_role_kwargs": {"ExternalId": 5}}, "external ids", id="two external ids"),
        pytest.param({"role_arn": "LogWriterRole"}, "not of the form", id="a role's name"),
        pytest.param({"role_arn": ARN.replace("aws", "aws-cn")}, "AWS partition 'aws-cn'", id="a Chinese role"),
        pytest.param({"external_id": "a b"}, "2 to 1,224", id="external id"),
        pytest.param({"assume_role_method": "assume_role_with_saml"}, "it can be", id="SAML"),
        pytest.param({"assume_role_method": "magic"}, "it can be", id="an unknown method"),
        pytest.param({"assume_role_method": "assume_role_with_web_identity"}, 'has to be "file"', id="web identity"),
    ],
)
def test_role_of_a_source_is_refused(changes: dict[str, Any], message: str) -> None:
    shown = problems_of(ROLE | changes)
    assert message in shown
    assert ROLE["external_id"] not in shown


def test_message_names_every_problem() -> None:
    extra = {"config_kwargs": "x", "endpoint_url": "x", "verify": "no", "profile_name": "nobody", "role_arn": "x"}
    shown = problems_of(extra | {"assume_role_kwargs": {"Foo": 1}}, login="AKIAX", password=None)
    for name in ("login", "config_kwargs", "endpoint_url", "verify", "nobody", "role_arn", "Foo"):
        assert name in shown


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="nothing but a region"),
        pytest.param({"role_arn": None, "endpoint_url": None, "config_kwargs": None, "verify": None}, id="null"),
        pytest.param({"aws_access_key_id": "AKIAX", "aws_secret_access_key": SECRET}, id="a key"),
        pytest.param(
            {"session_kwargs": {"aws_access_key_id": "A", "aws_secret_access_key": "s", "aws_session_token": "t"}},
            id="session_kwargs",
        ),
        pytest.param({"endpoint_url": "https://s3.eu-west-1.amazonaws.com/"}, id="an endpoint"),
        pytest.param({"endpoint_url": "http://[::1]:9000"}, id="an endpoint by its IPv6 address"),
        pytest.param({"service_config": {"s3": {"endpoint_url": LOCAL}, "sts": {"endpoint_url": None}}}, id="services"),
        pytest.param({"verify": False}, id="no verification"),
        pytest.param({"verify": CA_BUNDLE}, id="a CA bundle"),
        pytest.param({"config_kwargs": {"signature_version": "unsigned"}}, id="no signature"),
        pytest.param(
            {
                "config_kwargs": {
                    "connect_timeout": 5.5, "read_timeout": None, "max_pool_connections": 3, "tcp_keepalive": True,
                    "retries": {"mode": "adaptive", "max_attempts": 3}, "s3": {"addressing_style": "path"},
                    "proxies": {"https": "proxy:3128", "http": "http://user:pass@proxy.example.com"},
                    "client_cert": CA_BUNDLE, "user_agent_extra": "logs", "proxies_config": {},
                }
            },
            id="a configuration",
        ),
        pytest.param({"role_arn": ARN}, id="a role without an external id"),
        pytest.param({"role_arn": ARN, "assume_role_kwargs": {"Tags": [{"Key": "a", "Value": "b"}]}}, id="tags"),
        pytest.param({"anything": {"else": ["is", "not", "read"]}}, id="another name"),
    ],
)  # fmt: skip
def test_extra_is_accepted(extra: dict[str, Any]) -> None:
    assert check_connection("aws_default", json.dumps(REGION | extra)).region == "eu-west-1"


def test_token_of_a_web_identity_has_to_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = {"assume_role_method": "assume_role_with_web_identity"}
    extra = REGION | method | {"role_arn": ARN, "assume_role_with_web_identity_federation": "file"}
    assert "assume_role_with_web_identity_token_file" in problems_of(extra)
    token = tmp_path / "token"
    token.write_text("token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    assert check_connection("aws_default", extra).external_id is None


# Regions

SOVEREIGN = {
    "aws-cn": "cn-northwest-1", "aws-us-gov": "us-gov-east-1", "aws-iso": "us-iso-east-1",
    "aws-iso-b": "us-isob-east-1", "aws-iso-e": "eu-isoe-west-1",
    "aws-iso-f": "us-isof-south-1", "aws-eusc": "eusc-de-east-1",
}  # fmt: skip


@pytest.mark.parametrize(("partition", "region"), SOVEREIGN.items(), ids=SOVEREIGN)
def test_sovereign_partition_is_known(partition: str, region: str) -> None:
    extra = ROLE | {"role_arn": ARN.replace("aws", partition), "region_name": region}
    role = role_settings("log_archive", extra, bucket="acme-log-archive")
    assert (role.aws_partition, role.region) == (partition, region)
    with pytest.raises(ConnectionSettingsError, match=f"partition 'aws', but the region is '{region}'"):
        role_settings("log_archive", ROLE | {"region_name": region}, bucket="acme-log-archive")


@pytest.mark.parametrize(
    ("extra", "services", "known"),
    [
        pytest.param({"region_name": "eu-west1"}, ("s3",), False, id="a typing error"),
        pytest.param({"region_name": "eu-west-9"}, ("s3",), False, id="a region that is not there yet"),
        pytest.param({"region_name": "aws-global"}, ("s3",), False, id="no region"),
        pytest.param({"region_name": "garage", "endpoint_url": LOCAL}, ("s3",), True, id="with an endpoint"),
        pytest.param(
            {"region_name": "garage", "service_config": {"s3": {"endpoint_url": LOCAL}}}, ("s3",), True,
            id="with the service's endpoint",
        ),
        pytest.param(
            {"region_name": "garage", "service_config": {"s3": {"endpoint_url": LOCAL}}}, ("logs",), False,
            id="with another service's endpoint",
        ),
        pytest.param({"region_name": "garage", "endpoint_url": LOCAL}, ("s3", "sts"), False, id="STS is at AWS"),
        pytest.param(
            {"region_name": "garage", "endpoint_url": LOCAL, "service_config": {"sts": {"endpoint_url": LOCAL}}},
            ("s3", "sts"), True, id="STS has its own",
        ),
        pytest.param({"region_name": "a b", "endpoint_url": LOCAL}, ("s3",), False, id="a blank"),
        pytest.param({"region_name": "x\n", "endpoint_url": LOCAL}, ("s3",), False, id="a line end"),
        pytest.param({"region_name": "evil.com/", "endpoint_url": LOCAL}, ("s3",), False, id="a host"),
    ],
)  # fmt: skip
def test_region_is_what_botocore_knows_or_has_an_endpoint(
    extra: dict[str, Any], services: tuple[str, ...], known: bool
) -> None:
    if known:
        assert check_connection("aws_default", extra, services=services).region == extra["region_name"]
    else:
        assert "is none that botocore knows" in problems_of(extra, services=services)


def test_unknown_region_gets_the_nearest_as_an_example() -> None:
    assert 'for example "eu-west-1"' in problems_of({"region_name": "eu-west1"})


def test_region_with_an_endpoint_in_the_environment_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", LOCAL)
    assert check_connection("aws_default", {"region_name": "garage"}).region == "garage"


@pytest.mark.parametrize(
    ("region", "extra", "variables", "expected"),
    [
        pytest.param("eu-north-1", REGION, {"AWS_DEFAULT_REGION": "us-east-1"}, "eu-north-1", id="given"),
        pytest.param(None, REGION, {"AWS_DEFAULT_REGION": "us-east-1"}, "eu-west-1", id="the extra's"),
        pytest.param(None, {}, {"AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1", id="the environment's"),
        pytest.param(None, {}, {}, "eu-west-2", id="the default profile's"),
        pytest.param(None, {"profile_name": "logs"}, {}, "eu-west-3", id="the profile's"),
        pytest.param(None, {}, {"AWS_PROFILE": "logs"}, "eu-west-3", id="the environment's profile's"),
        pytest.param(None, {"profile_name": "bare"}, {}, None, id="a profile without a region"),
    ],
)
def test_region_is_found(
    region: str | None, extra: dict[str, Any], variables: dict[str, str], expected: str | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = tmp_path / "config"
    config.write_text(
        "[default]\nregion = eu-west-2\n[profile logs]\nregion = eu-west-3\n[profile bare]\noutput = json\n"
    )
    for name, value in ({"AWS_CONFIG_FILE": str(config)} | variables).items():
        monkeypatch.setenv(name, value)
    if expected:
        assert check_connection("aws_default", extra, region=region).region == expected
    else:
        assert 'no region is known; write "region_name"' in problems_of(extra)


@pytest.mark.parametrize(
    ("extra", "variables", "message"),
    [
        pytest.param({"profile_name": "nobody"}, {}, "the AWS profile 'nobody' can't be used", id="the extra's"),
        pytest.param(
            {}, {"AWS_PROFILE": "nobody"}, "AWS's configuration on this machine (AWS_PROFILE", id="AWS_PROFILE"
        ),
        pytest.param({}, {"AWS_CONFIG_FILE": __file__}, "AWS's configuration on this machine", id="a broken file"),
    ],
)
def test_unknown_profile_is_named(
    extra: dict[str, Any], variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert message in problems_of(REGION | extra)


# Whatever the extra is


@given(JSON | EXTRAS, st.none() | st.text(max_size=3), st.sampled_from([None, "", SECRET]))
def test_any_extra_is_settings_or_one_message(extra: Any, login: str | None, password: str | None) -> None:
    try:
        found: Any = role_settings(
            "log_archive", json.dumps(extra), bucket="acme-log-archive", login=login, password=password
        )
    except ConnectionSettingsError as error:
        found = error
    assert SECRET not in f"{found} {found!r}"


@settings(max_examples=20)
@given(EXTRAS.map(lambda extra: extra | {"role_arn": None}))
@example({"config_kwargs": {"client_context_params": {"accelerate": "x"}}})
def test_what_is_accepted_makes_a_client_and_requests(extra: dict[str, Any]) -> None:
    connection = Connection(conn_id="aws_default", conn_type="aws", extra=json.dumps(REGION | extra))
    with suppress(ConnectionSettingsError), pytest.MonkeyPatch.context() as patch:
        region = check_connection("aws_default", connection.extra).region
        patch.setattr(AwsGenericHook, "get_connection", lambda *_: connection)
        client: Any = AwsGenericHook("aws_default", client_type="s3", region_name=region).get_conn()
        assert client.meta.region_name == region
        with suppress(BotoCoreError):  # which `translated_errors` knows; there are no credentials, for example
            client.generate_presigned_url("list_buckets")


def test_botocore_is_not_loaded_when_dags_are_parsed() -> None:
    code = "import log_archival.aws.connection, sys; print({'botocore', 'boto3', 'airflow'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={
        "PYTHONPATH": str(Path(__file__).parents[3] / "plugins"),
    })  # fmt: skip
    assert re.fullmatch(r"set\(\)\s*", run.stdout)
