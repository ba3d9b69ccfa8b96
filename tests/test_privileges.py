"""The checks of least privilege, against the templates as they ship and with each of their statements weakened."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, Credentials, LocalAws, Session
from dev.local_aws.clients import _isolated_session
from log_archival.aws import connection
from log_archival.least_privilege import judgement as privileges
from log_archival.least_privilege import requests as probing
from log_archival.exceptions import ArchiveRequestError, PrivilegeError, RefusedError, SettingsError
from log_archival.least_privilege.checks import CHECKS, applicable
from log_archival.least_privilege.judgement import Check, Result
from log_archival.least_privilege.requests import DENIED, Answer, ClientFactory, Identity, NotTried, Probe, Target
from tests.support.privilege_mutations import MUTATIONS, parts
from tests.test_templates import load, sids

AWS = "https://s3.eu-central-1.amazonaws.com"  # only says that the checks for AWS apply; nothing is sent there


class Clients:
    """Clients of the local accounts; "without TLS" is what that server is told by a header."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws

    def __call__(self, service: str, who: Identity, tls: bool) -> Any:
        if who == "nobody":
            unsigned = Config(signature_version=UNSIGNED)
            return _isolated_session().client(
                service, region_name=REGION, endpoint_url=self._aws.endpoint_url, config=unsigned
            )
        if isinstance(who, probing.Credentials):
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
    aws: LocalAws, elsewhere: str, trap: str, fillings: dict[str, str], show: Callable[[str], None], name: str
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

    caught_by = ", ".join(sorted(found)) or f"not to be seen: {mutation.unseen} ({mutation.tested})"
    show(f"{name}: caught by {caught_by}" if found else f"{name}: {caught_by}")
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


# Nothing that is tried can harm an archive


def everything(aws: LocalAws, bucket: str) -> dict[str, Any]:
    """All that a bucket has and is, as its owner sees it, but for the canaries."""
    s3 = aws.archive_client("s3")
    listed = s3.list_object_versions(Bucket=bucket)
    asked = ("policy", "versioning", "lifecycle_configuration", "acl", "encryption", "ownership_controls")
    configuration = {name: getattr(s3, f"get_bucket_{name}")(Bucket=bucket) for name in asked}
    for answer in configuration.values():
        del answer["ResponseMetadata"]
    objects = [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]
    return {**configuration, "objects": [o for o in objects if "least-privilege-" not in o["Key"]]}


def test_no_check_harms_an_archive_even_where_the_role_may_do_anything(aws: LocalAws) -> None:
    archive, source = MUTATIONS["the role may do anything in its bucket"].templates()
    policy = archive["Resources"]["ArchivePolicy"]["Properties"]["PolicyDocument"]
    policy["Statement"] = policy["Statement"][:1]  # no deny is left
    deployed = aws.deploy(archive_template=archive, source_template=source)
    s3 = deployed.assume().client("s3")
    for key in ("logs/2026/11/22/app.log.zst", "logs", "x"):
        s3.put_object(Bucket=deployed.bucket, Key=key, Body=b"a log\n")
    before = everything(aws, deployed.bucket)
    results = run(deployed, endpoint_url=deployed.endpoint_url)  # as the operator would see this server
    assert {name for name, result in results.items() if result.verdict != "ok"} > {"delete-a-log", "put-the-lifecycle"}
    assert everything(aws, deployed.bucket) == before
    left = aws.archive_client("s3").list_objects_v2(Bucket=deployed.bucket)["Contents"]
    assert all(item["Size"] < 100 for item in left)


def test_a_healthy_archive_gets_five_small_objects_a_run_and_nothing_else(aws: LocalAws) -> None:
    deployed = aws.deploy()
    run(deployed)
    listed = aws.archive_client("s3").list_object_versions(Bucket=deployed.bucket)
    assert len(listed["Versions"]) == 5
    assert all(item["Key"].startswith("logs/_canary/least-privilege-") for item in listed["Versions"])
    assert "DeleteMarkers" not in listed


# What is allowed, in full

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"ACL": None, "IfNoneMatch": None},
    "acl": {"IfNoneMatch": None},
    "once": {"ACL": None},
    "acl, once": {},
    "acl, once, STANDARD": {"StorageClass": "STANDARD"},
    "acl, once, GLACIER": {"StorageClass": "GLACIER"},
    "acl, once, AES256": {"ServerSideEncryption": "AES256"},
    "acl, once, KMS": {"ServerSideEncryption": "aws:kms"},
    "acl, once, tagged": {"Tagging": "a=b"},
    "acl, once, held": {"ObjectLockLegalHoldStatus": "ON"},
    "acl, once, redirect": {"WebsiteRedirectLocation": "/x"},
    "another acl, once": {"ACL": "bucket-owner-read"},
    "public, once": {"ACL": "public-read"},
    "acl, once, by If-Match too": {"IfMatch": '"x"'},
    "acl, once, no TLS": {"tls": False},
}
KEYS = ("logs/2026/{}", "logs/{}", "logs{}", "logs../{}", "{}", "Logs/{}", "/logs/{}", "private/{}")
EXPECTED_WAYS = {"acl, once", "acl, once, STANDARD", "acl, once, AES256", "acl, once, redirect"} | {
    "acl, once, by If-Match too"  # which is no way to replace anything: no key is both free and taken
}
EXPECTED_KEYS = {"logs/2026/{}", "logs/{}"}


def test_which_puts_are_allowed(aws: LocalAws, elsewhere: str) -> None:
    probe = Probe(target(aws), Clients(aws))
    allowed = set()
    for where in KEYS:
        for bucket in (aws.bucket, elsewhere):
            for way, changes in WAYS.items():
                changes = {"Bucket": bucket, "ExpectedBucketOwner": ARCHIVE_ACCOUNT, **changes}
                answer = probe.put(where.format(secrets.token_hex(8)), **changes)
                if answer.code not in DENIED:
                    allowed.add((bucket, where, way))
    assert allowed == {(aws.bucket, where, way) for where in EXPECTED_KEYS for way in EXPECTED_WAYS}


#: Operations of S3's API that are not about a bucket of ours, or not at the endpoint of S3.
NOT_OURS = {"CreateSession", "ListDirectoryBuckets", "WriteGetObjectResponse"}


def smallest(shape: Any, given: Mapping[str, Any]) -> Any:
    """The smallest value that botocore sends for a shape of S3's API."""
    if shape.type_name == "structure":
        names = [*shape.required_members, *(name for name in given if name in shape.members)]
        if shape.is_tagged_union:
            names = list(shape.members)[:1]
        return {name: given[name] if name in given else smallest(shape.members[name], {}) for name in names}
    if shape.type_name == "list":
        return [smallest(shape.member, {})]
    text = (getattr(shape, "enum", None) or ["x" * shape.metadata.get("min", 1)])[0]
    values: dict[str, Any] = {"string": text, "timestamp": 0, "blob": b"x", "boolean": True}
    return values.get(shape.type_name, 1)


#: What the policies let past, of all that S3 can be asked, and what S3 then answers ("" is a success).
NO_ACLS = ("PutObjectAcl", "AccessControlListNotSupported")  # the bucket has disabled ACLs
WHAT_IS_ALLOWED = {
    "a log": {("PutObject", "PreconditionFailed"), NO_ACLS},
    "a version of a log": {("PutObject", "PreconditionFailed")},
    "a free key": {("PutObject", ""), NO_ACLS},
    "outside of the prefix": set(),
    "another bucket": set(),
}


@pytest.mark.parametrize("where", WHAT_IS_ALLOWED)
def test_which_operations_are_allowed(aws: LocalAws, elsewhere: str, where: str) -> None:
    deployed = aws.deploy()
    probe = Probe(target(deployed), Clients(deployed))
    given = {
        "Bucket": elsewhere if where == "another bucket" else deployed.bucket,
        "Key": {"a free key": "logs/x", "outside of the prefix": "x"}.get(where, probe.canary),
        "ACL": "bucket-owner-full-control",
        "IfNoneMatch": "*",
        "CopySource": f"{deployed.bucket}/{probe.canary}",
        "ExpectedBucketOwner": ARCHIVE_ACCOUNT,
        **({"VersionId": "null"} if "version" in where else {}),
    }
    api = deployed.assume().client("s3").meta
    methods = {operation: method for method, operation in api.method_to_api_mapping.items()}
    operations = sorted(
        set(api.service_model.operation_names) - NOT_OURS, key=lambda name: (name == "PutObjectAcl", name)
    )
    assert len(operations) > 100
    past = set()
    for operation in operations:
        shape = api.service_model.operation_model(operation).input_shape
        answer = probe.ask("s3", methods[operation], **(smallest(shape, given) if shape else {}))
        if answer.code not in DENIED:
            past.add((operation, answer.code))
    assert past == WHAT_IS_ALLOWED[where]


def test_what_is_to_be_mended_exists() -> None:
    for check in CHECKS.values():
        named = set(re.findall(r"\b(?:[A-Z][a-z]+){4,}\b", check.mend)) - {"PublicAccessBlockConfiguration"}
        assert named <= {*sids(load("archive_account.yaml")), *sids(load("source_account.yaml"))}, check.name
        assert named or check.mend.startswith(("none: ", "archive_account.yaml: ")), check.name


# The engine


def answering(code: str, **more: Any) -> Check:
    return Check("x", "tried", more.pop("expected", "refused"), "mend", lambda probe: Answer(code, "said"), **more)


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        pytest.param(answering("AccessDenied"), "ok", id="refused"),
        pytest.param(answering("403"), "ok", id="refused to a HEAD"),
        pytest.param(answering(""), "over-privilege", id="permitted"),
        pytest.param(answering("", hardening=True), "missing hardening", id="permitted, but harmless for now"),
        pytest.param(answering("NoSuchKey", past=frozenset({"NoSuchKey"})), "over-privilege", id="permitted, then 404"),
        pytest.param(answering("NoSuchKey"), "undecided", id="404 that proves nothing"),
        pytest.param(answering("InvalidAccessKeyId"), "undecided", id="a 403 that is no refusal"),
        pytest.param(answering("", expected="allowed"), "ok", id="works"),
        pytest.param(answering("AccessDenied", expected="allowed"), "under-privilege", id="does not work"),
        pytest.param(answering("NoSuchBucket", expected="allowed"), "undecided", id="can't work"),
        pytest.param(
            answering("", expected="allowed", lacks=lambda *_: "it lacks x"), "missing hardening", id="lacks something"
        ),
    ],
)  # fmt: skip
def test_verdicts(check: Check, verdict: str) -> None:
    result = privileges.run_check(check, Probe(TARGET, no_clients))
    assert result.verdict == verdict
    assert Result(**result.as_dict()) == result  # through XCom


ROLE = connection.RoleSettings("arn:aws:iam::222222222222:role/R", "aws", "222222222222", "the-external-id")
TARGET = Target(ROLE, "bucket", "logs/", "log-archival@x", other_roles=[("arn", "another-external-id")])


def no_clients(service: str, who: Identity, tls: bool) -> Any:
    raise AssertionError("nothing is to be sent")


def test_what_was_not_tried_is_no_pass() -> None:
    def probe(_: Probe) -> Answer:
        raise NotTried("the role could not be assumed")

    result = privileges.run_check(Check("x", "tried", "refused", "mend", probe), Probe(TARGET, no_clients))
    assert result.verdict == "undecided"
    with pytest.raises(PrivilegeError, match="could not be assumed"):
        privileges.require_least_privilege([result])


def failing(error: Exception) -> ClientFactory:
    class Client:
        def put_object(self, **_: Any) -> None:
            raise error

    return lambda service, who, tls: Client()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ClientError({"Error": {"Code": "SlowDown"}}, "PutObject"), ArchiveRequestError),
        (ClientError({"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": 502}}, "P"), ArchiveRequestError),
        (EndpointConnectionError(endpoint_url="http://x"), ArchiveRequestError),
        (NoCredentialsError(), RefusedError),
    ],
    ids=["throttled", "a bad gateway", "no answer", "no credentials"],
)
def test_what_may_pass_is_for_the_retries(error: Exception, raised: type[ArchiveRequestError]) -> None:
    with pytest.raises(raised) as caught:
        Probe(TARGET, failing(error)).put(who="source")
    assert caught.value.permanent == (raised is RefusedError)


def test_accepted_risks() -> None:
    result = Result("put-without-tls", "tried", "refused", "permitted", "missing hardening", "archive_account.yaml")
    accepted = privileges.require_known(["put-without-tls"], CHECKS)
    privileges.require_least_privilege([result], accepted)
    assert "missing hardening (accepted)" in privileges.table([result], accepted)
    with pytest.raises(PrivilegeError, match="put-without-tls: missing hardening"):
        privileges.require_least_privilege([result])
    with pytest.raises(SettingsError, match="'put-without-tsl'"):
        privileges.require_known(["put-without-tsl"], CHECKS)


def test_nothing_secret_is_shown() -> None:
    credentials = probing.Credentials("AKIAKEY", "the-secret", "the-token")
    shown = repr(credentials) + repr(TARGET) + repr(Answer(fields={"Credentials": "the-secret"}))
    assert not [hidden for hidden in ("AKIAKEY", "the-secret", "the-token", "external-id") if hidden in shown]
