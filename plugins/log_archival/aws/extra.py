"""What the extra of any AWS connection has to look like, checked before the provider, boto3 or botocore reads it.

They would end in an error of their own, later and for one setting at a time. The names that are read:
https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/connections/aws.html

To import this loads botocore's client, so that only what makes clients imports it.
"""

import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, UnknownRegionError
from botocore.utils import is_valid_uri
from botocore.validate import ParamValidator

_TEXTS = (
    "region_name", "profile_name", "endpoint_url", "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
    "assume_role_method", "assume_role_with_web_identity_federation", "assume_role_with_web_identity_token_file",
)  # fmt: skip
_OBJECTS = ("assume_role_kwargs", "config_kwargs", "service_config", "session_kwargs")
#: The second would be passed to a method of the provider's.
_REFUSED = {"profile": 'is not read by anything; write "profile_name"', "self": "can't be a name; leave it out"}
#: The provider takes null for a value of these two.
_NEVER_NULL = ("assume_role_method", "service_config")
_KEY = ("aws_access_key_id", "aws_secret_access_key")
_SECRET = re.compile("[!-~]+")
_REGION = re.compile(r"(?!\d+$)(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")
_URL = "has to begin with https:// or http://, and to name a host, such as https://s3.eu-west-1.amazonaws.com"
_DAY_SECONDS = 24 * 3600
_CHECKED_ELSEWHERE = ("DurationSeconds", "ExternalId")
_OPERATIONS = {"assume_role": "AssumeRole", "assume_role_with_web_identity": "AssumeRoleWithWebIdentity"}


@dataclass(frozen=True)
class Inspected:
    """What was found in a connection.

    :param extra: the extra, without what is null or of a wrong type
    :param region: the region, from the connection, the environment, or AWS's configuration files
    :param aws_partition: the region's AWS partition; None for a region of a store that isn't AWS
    :param long_term_key: whether it has a user's own access key
    :param problems: what is wrong, and what to write instead
    """

    extra: Mapping[str, Any]
    region: str | None
    aws_partition: str | None
    long_term_key: bool
    problems: list[str]


def inspect(
    extra: Any, *, region: str | None, login: str | None, password: str | None, services: Sequence[str]
) -> Inspected:
    """Look at a connection; problems are returned, so that one message can name them all, and never hold a secret.

    :param extra: its extra: JSON as text, or what it says
    :param region: what takes precedence over the extra's ``region_name``
    :param login: its login, an access key id
    :param password: its password, the key's secret
    :param services: the AWS services that clients will be made for
    """
    given, problems = _parsed(extra)
    found, more = _well_formed(given)
    try:
        botocore.session.Session().get_scoped_config()
    except BotoCoreError as error:
        where = "AWS's configuration on this machine (AWS_PROFILE, AWS_CONFIG_FILE) can't be used"
        return Inspected(found, None, None, False, [*problems, *more, f"{where}: {error}"])
    if found.get("role_arn") and "sts" not in services:
        services = (*services, "sts")
    key, token = _credentials(found, login, password)
    problems += [
        *more,
        *_credential_problems(found, login, password, has_key=bool(key), token=token),
        *_endpoint_problems(found),
        *_verify_problems(found.get("verify")),
        *_config_problems(found.get("config_kwargs", {})),
        *_assume_role_problems(found),
    ]
    name, partition, more = _region(found, region, services)
    return Inspected(found, name, partition, bool(key and not token), problems + more)


def _parsed(extra: Any) -> tuple[dict[str, Any], list[str]]:
    try:
        found = json.loads(extra) if isinstance(extra, str) and extra else extra or {}
        # What is half a character could be in no request.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        return {}, [f"the extra is not valid JSON{where}"]
    if not isinstance(found, dict):
        return {}, ["the extra has to be a JSON object, {…}"]
    return found, []


def _well_formed(extra: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {}
    problems = [f'"{name}" {what}' for name, what in _REFUSED.items() if name in extra]
    for name, value in extra.items():
        if value is None and name not in _NEVER_NULL:
            continue
        if name in _TEXTS and not (isinstance(value, str) and value):
            problems.append(f'"{name}" has to be text in quotes, and not empty; or leave it out')
        elif name in _OBJECTS and not isinstance(value, dict):
            problems.append(f'"{name}" has to be an object, such as {{"name": "value"}}; or leave it out')
        else:
            found[name] = value
    return found, problems


def _credentials(extra: Mapping[str, Any], login: str | None, password: str | None) -> tuple[Any, Any]:
    """Return the access key id and the session token that the provider takes."""
    deprecated = extra.get("session_kwargs", {})
    pairs = ((login, password), *((place.get(_KEY[0]), place.get(_KEY[1])) for place in (extra, deprecated)))
    key = next((key for key, secret in pairs if key and secret), None)
    return key, extra.get("aws_session_token") or deprecated.get("aws_session_token")


def _credential_problems(
    extra: Mapping[str, Any], login: str | None, password: str | None, *, has_key: bool, token: Any
) -> Iterator[str]:
    deprecated = extra.get("session_kwargs", {})
    if bool(login) != bool(password):
        yield "one of login (an access key id) and password (its secret) is missing; give both or neither"
    for place, found in (("", extra), ("session_kwargs.", deprecated)):
        if bool(found.get(_KEY[0])) != bool(found.get(_KEY[1])):
            yield f'one of "{place}{_KEY[0]}" and "{place}{_KEY[1]}" is missing; give both or neither'
        for name in (*_KEY, "aws_session_token"):
            value = found.get(name)
            if value and not (isinstance(value, str) and _SECRET.fullmatch(value)):
                yield f'"{place}{name}" has to be text, as AWS shows it: without blanks, line ends or accents'
    if not all(_SECRET.fullmatch(value) for value in (login, password) if value):
        yield "login and password have to be as AWS shows them: without blanks, line ends or accents"
    if token and not has_key:
        yield '"aws_session_token" goes with an access key, and there is none; give both or neither'
    if extra.get("profile_name") and extra.get(_KEY[0]):
        yield '"profile_name" and "aws_access_key_id" contradict each other; keep one of the two'


def _is_url(text: Any, *, may_have_user: bool = False) -> bool:
    with suppress(ValueError):  # of urlsplit, for ports and IPv6 addresses
        parts = urlsplit(text) if isinstance(text, str) else None
        if parts and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            # Errors of requests show the whole URL.
            return bool(is_valid_uri(text)) and (may_have_user or "@" not in parts.netloc)
    return False


def _endpoint_problems(extra: Mapping[str, Any]) -> Iterator[str]:
    if "endpoint_url" in extra and not _is_url(extra["endpoint_url"]):
        yield f'"endpoint_url" {_URL}'
    for service, found in extra.get("service_config", {}).items():
        if not isinstance(found, dict):
            yield f'"service_config"."{service}" has to be an object, such as {{"endpoint_url": "https://…"}}'
        elif found.get("endpoint_url") is not None and not _is_url(found["endpoint_url"]):
            yield f'"service_config"."{service}"."endpoint_url" {_URL}'


def _verify_problems(verify: Any) -> Iterator[str]:
    if verify is None or isinstance(verify, bool):
        return
    if verify and isinstance(verify, str):
        with suppress(OSError, ValueError):  # ssl.SSLError is an OSError
            ssl.create_default_context(cafile=verify)
            return
    yield '"verify" has to be true or false, without quotes, or the path of a CA bundle (PEM) on this machine'


def _is_proxies(value: Any) -> bool:
    urls = value.values() if isinstance(value, dict) else [None]
    # botocore takes http:// when there is no scheme.
    return all(isinstance(url, str) and _is_url(url if "://" in url else f"http://{url}", may_have_user=True)
               for url in urls)  # fmt: skip


def _is_seconds(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 < value <= _DAY_SECONDS)


def _is_certificate(value: Any) -> bool:
    paths = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(isinstance(path, str) and "\0" not in path and os.path.isfile(path) for path in paths)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind  # by type: a bool is an int of Python's


# What botocore's Config doesn't look at by itself; what isn't here is text.
# https://docs.aws.amazon.com/botocore/latest/reference/config.html
_CONFIG: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("connect_timeout", "read_timeout"), (_is_seconds, f"a number of seconds, up to {_DAY_SECONDS}")),
    **dict.fromkeys((
        "disable_request_compression", "endpoint_discovery_enabled", "ignore_configured_endpoint_urls",
        "inject_host_prefix", "parameter_validation", "s3_disable_express_session_auth", "tcp_keepalive",
        "use_dualstack_endpoint", "use_fips_endpoint",
    ), (_is(bool), "true or false, without quotes")),
    **dict.fromkeys(("client_context_params", "proxies_config", "retries", "s3"), (_is(dict), "an object")),
    "client_cert": (_is_certificate, "the path of a file on this machine, or two: certificate and key"),
    "max_pool_connections": (lambda value: type(value) is int and 0 < value <= 10_000, "1 to 10,000"),
    "proxies": (_is_proxies, 'an object, such as {"https": "http://proxy.example.com:3128"}'),
    "request_min_compression_size_bytes": (_is(int), "a number of bytes"),
}  # fmt: skip
_OF_S3 = ("client_context_params", "s3", "s3_disable_express_session_auth")
_TEXT = (lambda value: isinstance(value, str) and re.fullmatch("[ -~]+", value) is not None, "text in quotes")


def _config_problems(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        fits, what = _CONFIG.get(name, _TEXT)
        if name not in Config.OPTION_DEFAULTS:
            similar = get_close_matches(name, Config.OPTION_DEFAULTS, 1)
            yield f'"config_kwargs" has "{name}", which botocore\'s Config does not know' + (
                f'; did you mean "{similar[0]}"?' if similar else ""
            )
        elif name == "region_name":
            yield 'the region belongs into the extra itself as "region_name", not into "config_kwargs"'
        elif not fits(value):
            yield f'"config_kwargs"."{name}" has to be {what}'
        elif reason := _refused_by_botocore(name, value):
            yield f'"config_kwargs"."{name}" {reason}'


def _refused_by_botocore(name: str, value: Any) -> str | None:
    """Return why botocore can't make a client with an option, and sign a request, of which it sends none."""
    unsigned = name == "signature_version" and value == "unsigned"  # as the provider reads it
    service, operation = ("s3", "list_buckets") if name in _OF_S3 else ("sts", "get_caller_identity")
    try:
        config = Config(**{name: UNSIGNED if unsigned else value})
        client: Any = _botocore().create_client(service, "us-east-1", config=config)
        client.generate_presigned_url(operation)
    except BotoCoreError as error:
        return f"is refused by botocore: {error}"
    except Exception:  # of any type: botocore trusts its settings
        return "is not what botocore's Config takes: https://docs.aws.amazon.com/botocore/latest/reference/config.html"
    return None


def _assume_role_problems(extra: Mapping[str, Any]) -> Iterator[str]:
    operation, kwargs = _OPERATIONS.get(extra.get("assume_role_method", "assume_role")), extra.get("assume_role_kwargs")
    if not extra.get("role_arn") or not operation or not kwargs:
        return
    model: Any = _botocore().get_service_model("sts").operation_model(operation)
    members = model.input_shape.members
    for name, value in kwargs.items():
        # Not botocore's report: it has the values.
        if name not in members:
            yield f'"assume_role_kwargs" has "{name}", which {operation} does not know'
        elif name not in _CHECKED_ELSEWHERE and ParamValidator().validate(value, members[name]).has_errors():
            url = f"https://docs.aws.amazon.com/STS/latest/APIReference/API_{operation}.html"
            yield f'"assume_role_kwargs"."{name}" is not of the form that {operation} takes: {url}'


@cache
def _botocore() -> botocore.session.Session:
    """Return a session for what botocore knows of AWS, which takes a while to read; it sends nothing."""
    session = botocore.session.Session()
    session.set_credentials("none", "none")
    return session


@cache
def _partition_of_regions(service: str) -> dict[str, str]:
    """Return the AWS partition of each region that a service has, as botocore knows them."""
    session = _botocore()
    return {
        region: partition
        for partition in session.get_available_partitions()
        for region in session.get_available_regions(service, partition)
    }


def _region(
    extra: Mapping[str, Any], region: str | None, services: Sequence[str]
) -> tuple[str | None, str | None, list[str]]:
    """Return the region, its AWS partition, and what is wrong with it."""
    profile = extra.get("profile_name")
    session = botocore.session.Session(profile=profile)
    try:
        scoped = session.get_scoped_config()
        region = region or extra.get("region_name") or session.get_config_variable("region")
    except BotoCoreError as error:
        return None, None, [f"the AWS profile {profile!r} can't be used on this machine: {error}"]
    if not region:
        return None, None, ['no region is known; write "region_name", for example "eu-west-1"']
    known = [_partition_of_regions(service) for service in services]
    if all(region in regions for regions in known):
        return region, known[0][region], []
    if not _REGION.fullmatch(region) or not all(_has_endpoint(service, extra, scoped) for service in services):
        similar = get_close_matches(region, known[0], 1) or ["eu-west-1"]
        return region, None, [
            f"the region {region!r} is none that botocore knows for {' and '.join(services)}; write \"region_name\","
            f' for example "{similar[0]}", or, for a store that is not AWS, its endpoints in "service_config", too'
        ]  # fmt: skip
    with suppress(UnknownRegionError):
        return region, _botocore().get_partition_for_region(region), []
    return region, None, []


def _has_endpoint(service: str, extra: Mapping[str, Any], scoped: Mapping[str, Any]) -> bool:
    own = extra.get("service_config", {}).get(service)
    return bool(
        (isinstance(own, dict) and own.get("endpoint_url"))
        # The provider assumes roles without it.
        or (service != "sts" and extra.get("endpoint_url"))
        # https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
        or {"endpoint_url", "services"} & scoped.keys()
        or any(name.startswith("AWS_ENDPOINT_URL") for name in os.environ)
    )
