"""The two CloudFormation templates as data, and requests to what was deployed from them."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from dev.local_aws import TEMPLATES, LocalAws, Session

ARCHIVE, SOURCE = "archive_account.yaml", "source_account.yaml"
OWNERS_ACL = "bucket-owner-full-control"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
VPCE = "vpce-0123456789abcdef0"
#: SSE-C: arguments of a put that only its sender can decrypt.
CUSTOMER_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (`!Ref X`) as the long ones (`{"Ref": "X"}`)."""


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt":
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _short_form)


def load_template(name: str) -> dict[str, Any]:
    """Return a template as a dict that belongs to the caller.

    :param name: its file name
    """
    return copy.deepcopy(_parsed(name))


@cache
def _parsed(name: str) -> dict[str, Any]:
    template = yaml.load((TEMPLATES / name).read_text(), Loader=_Loader)  # noqa: S506
    assert isinstance(template, dict)
    return template


def statement_lists(node: Any) -> Iterator[list[Any]]:
    """Return the `Statement` lists of a template, wherever they are.

    :param node: the template, or a part of it
    """
    if isinstance(node, dict):
        for name, child in node.items():
            if name == "Statement":
                yield child
            else:
                yield from statement_lists(child)
    elif isinstance(node, list):
        for child in node:
            yield from statement_lists(child)


def statement_of(item: dict[str, Any]) -> dict[str, Any]:
    """Return the statement itself, also of a conditional one.

    :param item: an item of a `Statement` list
    """
    statement: dict[str, Any] = item["Fn::If"][1] if "Fn::If" in item else item
    return statement


def sids(template: Mapping[str, Any]) -> list[str]:
    """Return the Sids of all statements.

    :param template: a template
    """
    return [statement_of(item)["Sid"] for items in statement_lists(template) for item in items]


def without_statements(name: str, *unwanted: str) -> dict[str, Any]:
    """Return a template without some of its statements.

    :param name: the template's file name
    :param unwanted: the Sids to leave out
    """
    template = load_template(name)
    assert set(unwanted) <= set(sids(template))
    for items in statement_lists(template):
        items[:] = [item for item in items if statement_of(item)["Sid"] not in unwanted]
    return template


def placeholder_values(aws: LocalAws) -> dict[str, str]:
    """Return values for ``{key}``, ``{other key}`` (KMS keys of the archive account) and ``{organization}``.

    :param aws: where to create them
    """
    kms = aws.archive_client("kms")
    organization = aws.source_client("organizations").describe_organization()["Organization"]["Id"]
    keys = {name: kms.create_key()["KeyMetadata"]["Arn"] for name in ("{key}", "{other key}")}
    return {**keys, "{organization}": organization}


def fill(values: Mapping[str, Any], placeholders: Mapping[str, str]) -> dict[str, Any]:
    """Return values with the placeholders replaced.

    :param values: parameters of a template, or arguments of a request
    :param placeholders: what `placeholder_values` returned
    """
    return {name: placeholders.get(value, value) if isinstance(value, str) else value for name, value in values.items()}


def put(
    session: Session, bucket: str, key: str = "", *, client: Mapping[str, str] | None = None, **changes: Any
) -> Any:
    """Put a log the way this project does.

    :param session: who puts it
    :param bucket: the archive bucket
    :param key: by default one that no object has, under ``logs/``
    :param client: arguments of `Session.client`
    :param changes: other arguments of PutObject; None leaves one out
    """
    arguments = {
        "Key": key or f"logs/{secrets.token_hex(8)}",
        "Body": b"a log\n",
        "ACL": OWNERS_ACL,
        "IfNoneMatch": "*",
        "ChecksumAlgorithm": "SHA256",
        **changes,
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    return session.client("s3", **(client or {})).put_object(Bucket=bucket, **given)


def error_code(action: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    """Return the error code of a request that has to fail.

    :param action: sends it
    :param arguments: of the action
    :param more: of the action
    """
    with pytest.raises(ClientError) as caught:
        action(*arguments, **more)
    return str(caught.value.response["Error"]["Code"])
