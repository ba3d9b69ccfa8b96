"""The checks of least privilege, against the templates as they ship and with each of their statements weakened."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

from local_aws import REGION, Credentials, LocalAws, Session
from local_aws_clients import _isolated_session
from log_archival import connection, privileges
from log_archival.errors import PrivilegeError
from log_archival.privilege_checks import CHECKS, applicable
from log_archival.privileges import Probe, Result, Target
from tests.privilege_mutations import MUTATIONS, parts

AWS = "https://s3.eu-central-1.amazonaws.com"  # only says that the checks for AWS apply; nothing is sent there


class Clients:
    """Clients of the local accounts; "without TLS" is what that server is told by a header."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws

    def __call__(self, service: str, who: privileges.Identity, tls: bool) -> Any:
        if who == "nobody":
            unsigned = Config(signature_version=UNSIGNED)
            return _isolated_session().client(
                service, region_name=REGION, endpoint_url=self._aws.endpoint_url, config=unsigned
            )
        if isinstance(who, privileges.Credentials):
            credentials = Credentials(who.access_key, who.secret_key, who.token)
        else:
            credentials = self._aws.airflow
        session = Session(self._aws.endpoint_url, credentials)
        return session.client(service, transport=None if tls else "http")


def target(aws: LocalAws, **changes: Any) -> Target:
    role = connection.role_settings("log_archive", aws.connection()["extra"], region=REGION, bucket=aws.bucket)
    return Target(role, aws.bucket, "logs/", "log-archival@check", **{"endpoint_url": AWS, **changes})


def run(aws: LocalAws, **changes: Any) -> dict[str, Result]:
    checked = target(aws, **changes)
    probe = Probe(checked, Clients(aws))
    return {check.name: privileges.run_check(check, probe) for check in applicable(checked)[0]}


@pytest.fixture(scope="module")
def elsewhere(aws: LocalAws) -> str:
    """Another bucket of the archive account, without a policy."""
    name = f"elsewhere-{secrets.token_hex(4)}"
    aws.archive_client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


@pytest.fixture(scope="module")
def trap(aws: LocalAws) -> str:
    """A role of the archive account that trusts everybody, so that it is theirs not to assume it."""
    name = f"trap-{secrets.token_hex(4)}"
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws.archive_client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]
    return str(role["Arn"])


@pytest.fixture(scope="module")
def fillings(aws: LocalAws) -> dict[str, str]:
    key = aws.archive_client("kms").create_key()["KeyMetadata"]["Arn"]
    organization = aws.source_client("organizations").describe_organization()["Organization"]["Id"]
    return {"{key}": key, "{organization}": organization}


@pytest.fixture(scope="module")
def caught_by() -> Iterator[dict[str, str]]:
    """Collects the table "mutation, caught by", and prints it at the end."""
    lines: dict[str, str] = {}
    yield lines
    width = max(map(len, lines), default=0)
    print("\n" + "\n".join(f"{mutation.ljust(width)}  {caught}" for mutation, caught in lines.items()))


# The templates as they ship


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({}, id="by default"),
        pytest.param({"RequireAcl": "false"}, id="without the ACL"),
        pytest.param({"KmsKeyArn": "{key}"}, id="with a KMS key"),
        pytest.param({"RetentionDays": "7"}, id="with a retention"),
        pytest.param({"Prefix": "archive/prod/"}, id="another prefix"),
    ],
)
def test_the_templates_pass(
    aws: LocalAws, elsewhere: str, trap: str, fillings: dict[str, str], parameters: dict[str, str]
) -> None:
    given = fill(parameters, fillings)
    deployed = aws.deploy(given)
    changes: dict[str, Any] = {
        "acl": None if given.get("RequireAcl") == "false" else "bucket-owner-full-control",
        "kms_key_arn": given.get("KmsKeyArn"),
    }
    checked = target(deployed, other_bucket=elsewhere, other_roles=[(trap, None)], **changes)
    if prefix := given.get("Prefix"):
        checked = Target(checked.role, checked.bucket, prefix, checked.session_name, endpoint_url=AWS)
    checks, _ = applicable(checked)
    probe = Probe(checked, Clients(deployed))
    results = [privileges.run_check(check, probe) for check in checks]
    assert {result.check: result for result in results if result.verdict != "ok"} == {}
    privileges.require_least_privilege(results)


def test_every_check_is_tried_somewhere(aws: LocalAws, elsewhere: str, trap: str, fillings: dict[str, str]) -> None:
    every = {"other_bucket": elsewhere, "other_roles": [(trap, None)], "kms_key_arn": fillings["{key}"]}
    tried = {check.name for acl in ("x", None) for check in applicable(target(aws, acl=acl, **every))[0]}
    assert tried == set(CHECKS)
    reasons = applicable(target(aws, endpoint_url=aws.endpoint_url))[1]
    assert reasons.keys() == {
        "put-with-an-acl", "put-into-another-bucket", "source-assumes-another-role", "use-the-key-directly",
        "put-without-tls", "put-the-bucket-policy",
    }  # fmt: skip


# The templates, weakened


def fill(values: Mapping[str, str], fillings: Mapping[str, str]) -> dict[str, str]:
    return {name: fillings.get(value, value) for name, value in values.items()}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_weakened_template_is_noticed(
    aws: LocalAws, elsewhere: str, trap: str, fillings: dict[str, str], caught_by: dict[str, str], name: str
) -> None:
    mutation = MUTATIONS[name]
    archive, source = mutation.templates()
    parameters = fill(mutation.parameters, fillings)
    deployed = aws.deploy(parameters, archive_template=archive, source_template=source)
    roles: list[tuple[str, str | None]] = [(trap, None)]
    if deployed.reader_role_arn:
        roles.append((deployed.reader_role_arn, deployed.reader_external_id))
    results = run(deployed, other_bucket=elsewhere, other_roles=roles, kms_key_arn=parameters.get("KmsKeyArn"))
    undecided = {check for check, result in results.items() if result.verdict == "undecided"}
    found = {check for check, result in results.items() if result.verdict != "ok"} - undecided

    caught_by[name] = ", ".join(sorted(found)) or f"not to be seen: {mutation.unseen} ({mutation.tested})"
    works = {"assume-role", "put-a-log"}
    # Where nothing works, what builds on it can't be decided, and what must work as well fails with it.
    assert found - ({"bucket-keeps-versions", "bucket-encrypts"} if found & works else set()) == mutation.caught
    assert bool(undecided) <= bool(found & works)
    assert bool(mutation.caught) != bool(mutation.unseen)
    assert bool(mutation.unseen) == bool(mutation.tested)
    if found:
        with pytest.raises(PrivilegeError, match="mend:"):
            privileges.require_least_privilege(list(results.values()))


def test_every_statement_and_every_condition_is_weakened() -> None:
    weakened = [part for mutation in MUTATIONS.values() for part in mutation.parts]
    assert set(parts()) - set(weakened) == set()
