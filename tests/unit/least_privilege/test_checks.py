"""The table of checks, against the templates as data."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from log_archival.exceptions import SettingsError
from log_archival.keys import is_probe_or_canary
from log_archival.least_privilege.attempts import Requester, Target
from log_archival.least_privilege.checks import CHECKS, applicable_checks, require_known_checks
from tests.support.privilege_mutations import MUTATIONS, parts
from tests.support.privilege_targets import AWS_ENDPOINT_URL, TARGET
from tests.support.templates import ARCHIVE, SOURCE, load_template, sids

INTEGRATION_TESTS = Path(__file__).parents[2] / "integration" / "aws" / "least_privilege"
EVERYTHING = {"other_bucket": "other", "kms_key_arn": "arn:aws:kms:…", "endpoint_url": AWS_ENDPOINT_URL}


def target(**changes: Any) -> Target:
    return dataclasses.replace(TARGET, **changes)


def test_checks_have_names_of_their_own() -> None:
    assert all(name == check.name and re.fullmatch(r"[a-z]+(-[a-z]+)+", name) for name, check in CHECKS.items())
    assert len(CHECKS) == 55


def test_remediations_name_statements_of_the_templates() -> None:
    known = {*sids(load_template(ARCHIVE)), *sids(load_template(SOURCE))}
    for check in CHECKS.values():
        named = set(re.findall(r"\b(?:[A-Z][a-z]+){4,}\b", check.remediation)) - {"PublicAccessBlockConfiguration"}
        assert named <= known, check.name
        assert named or check.remediation.startswith(("none: ", "archive_account.yaml: ")), check.name


def test_every_check_is_applicable_somewhere() -> None:
    tried = {check.name for acl in ("x", None) for check in applicable_checks(target(acl=acl, **EVERYTHING))[0]}
    assert tried == CHECKS.keys()


@pytest.mark.parametrize(
    ("changes", "not_tried"),
    [
        ({}, {"put-with-an-acl"}),
        ({"endpoint_url": ""}, {"put-with-an-acl"}),
        ({"acl": None}, {"put-without-acl", "put-with-another-acl"}),
        ({"kms_key_arn": None}, {"put-with-an-acl", "use-the-key-directly"}),
        ({"other_bucket": None}, {"put-with-an-acl", "put-into-another-bucket", "list-another-bucket"}),
        ({"other_roles": []}, {"put-with-an-acl", "source-assumes-another-role"}),
        ({"endpoint_url": "https://s3.example.com"}, {"put-with-an-acl", "put-the-bucket-policy"}),
        ({"endpoint_url": "https://amazonaws.com.example"}, {"put-with-an-acl", "put-the-bucket-policy"}),
        ({"endpoint_url": "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com"}, {"put-with-an-acl"}),
        ({"endpoint_url": "https://s3.cn-north-1.amazonaws.com.cn"}, {"put-with-an-acl"}),
        ({"endpoint_url": "http://127.0.0.1:1"}, {"put-with-an-acl", "put-the-bucket-policy", "put-without-tls"}),
    ],
    ids=[
        "everything", "endpoint of the SDK", "no ACL", "no KMS key", "no other bucket", "no other role",
        "another store", "a host that looks like AWS", "VPC endpoint", "China", "no TLS",
    ],
)  # fmt: skip
def test_inapplicable_checks_have_a_reason(changes: dict[str, Any], not_tried: set[str]) -> None:
    checks, reasons = applicable_checks(target(**{**EVERYTHING, **changes}))
    assert reasons.keys() == not_tried
    assert all(reasons.values())
    assert [check.name for check in checks] == [name for name in CHECKS if name not in not_tried]


def test_checks_can_be_chosen() -> None:
    checks, not_tried = applicable_checks(TARGET, ["get-a-log", "put-a-log", "put-into-another-bucket"])
    assert [check.name for check in checks] == ["put-a-log", "get-a-log"]
    assert not_tried["put-into-another-bucket"] == "no other_bucket is given"
    assert not_tried["head-a-log"] == "not chosen"
    assert not_tried.keys() | {"put-a-log", "get-a-log"} == CHECKS.keys()


def test_unknown_check_is_refused() -> None:
    require_known_checks(["put-without-tls", "get-a-log"], "accepted_risks")
    with pytest.raises(SettingsError, match="accepted_risks: no check is called 'put-without-tsl'"):
        require_known_checks(["put-without-tsl"], "accepted_risks")
    with pytest.raises(SettingsError, match="'put-without-tsl'"):
        applicable_checks(TARGET, ["put-without-tsl"])


def test_checks_that_can_not_be_tried_are_refused_with_their_reasons() -> None:
    with pytest.raises(SettingsError, match="put-into-another-bucket: no other_bucket is given"):
        applicable_checks(TARGET, ["put-into-another-bucket"])


@pytest.mark.parametrize(
    "key",
    [TARGET.canary, Requester(TARGET, lambda *_: None).unused_key(), f"{TARGET.canary}/{'1' * 16}"],
    ids=["canary", "unused key", "below the canary"],  # the keys are random, and xdist compares the tests' names
)
def test_readers_know_the_objects_of_the_checks(key: str) -> None:
    assert is_probe_or_canary(key, 80)


@pytest.mark.parametrize(
    ("check", "start"),
    [
        ("put-at-the-root", ""),
        ("put-beside-the-prefix", "logs-"),
        ("put-with-dots", "logs../"),
        ("put-with-a-slash-before", "/logs/"),
        ("put-in-capitals", "LOGS/"),
    ],
)
def test_uploads_outside_of_the_prefix(check: str, start: str) -> None:
    keys = []

    class Client:
        def put_object(self, **arguments: Any) -> dict[str, Any]:
            keys.append(arguments["Key"])
            return {}

    requester = Requester(TARGET, lambda *_: Client())
    requester.writer = Credentials("AKIAX", "secret")
    CHECKS[check].trial(requester)
    assert re.fullmatch(re.escape(start) + "least-privilege-[0-9a-f]{16}", *keys)


@pytest.mark.parametrize(
    ("kms_key_arn", "fields", "shortcoming"),
    [
        (None, {"ServerSideEncryption": "AES256"}, None),
        (None, {}, "S3 returned no encryption"),
        ("arn:1", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:1"}, None),
        ("arn:1", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:2"}, "aws:kms and the key arn:2, not"),
        ("arn:1", {"ServerSideEncryption": "AES256"}, "AES256 and the key None, not"),
    ],
)
def test_encryption_is_the_archives(kms_key_arn: str | None, fields: dict[str, str], shortcoming: str | None) -> None:
    found = CHECKS["bucket-encrypts"].shortcoming(target(kms_key_arn=kms_key_arn), fields)
    assert found is None if shortcoming is None else shortcoming in (found or "")


def test_every_statement_and_every_condition_is_weakened() -> None:
    weakened = {part for mutation in MUTATIONS.values() for part in mutation.parts}
    assert set(parts()) <= weakened


def test_undetected_mutations_are_tested_otherwise() -> None:
    tests = {
        name for path in INTEGRATION_TESTS.glob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    for name, mutation in MUTATIONS.items():
        assert bool(mutation.failing) != bool(mutation.undetected), name
        assert bool(mutation.undetected) == bool(mutation.tested_by), name
        if mutation.tested_by:
            assert set(mutation.tested_by.split(", ")) <= tests | MUTATIONS.keys(), name
