"""The checks of least privilege, against the templates as they ship and with each of their statements weakened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dev.local_aws import LocalAws
from log_archival.exceptions import PrivilegeError
from log_archival.least_privilege.attempts import Requester
from log_archival.least_privilege.checks import applicable_checks
from log_archival.least_privilege.judgement import Result, require_ok, run_check
from tests.support.privilege_mutations import MUTATIONS
from tests.support.privilege_targets import LocalClients, local_target
from tests.support.templates import OWNERS_ACL, fill


def run_checks(aws: LocalAws, **changes: Any) -> dict[str, Result]:
    """Try all checks that are applicable to a deployment."""
    target = local_target(aws, **changes)
    requester = Requester(target, LocalClients(aws))
    return {check.name: run_check(check, requester) for check in applicable_checks(target)[0]}


def failed(results: Mapping[str, Result]) -> dict[str, Result]:
    return {name: result for name, result in results.items() if result.verdict != "ok"}


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
def test_shipped_templates_pass(
    aws: LocalAws, other_bucket: str, open_role: str, placeholders: dict[str, str], parameters: dict[str, str]
) -> None:
    parameters = fill(parameters, placeholders)
    results = run_checks(
        aws.deploy(parameters),
        prefix=parameters.get("Prefix", "logs/"),
        acl=None if parameters.get("RequireAcl") == "false" else OWNERS_ACL,
        kms_key_arn=parameters.get("KmsKeyArn"),
        other_bucket=other_bucket,
        other_roles=[(open_role, None)],
    )
    assert failed(results) == {}
    require_ok(list(results.values()), [])


@pytest.mark.parametrize("name", MUTATIONS)
def test_weakened_template_fails(
    aws: LocalAws,
    other_bucket: str,
    open_role: str,
    placeholders: dict[str, str],
    show: Callable[[str], None],
    name: str,
) -> None:
    mutation = MUTATIONS[name]
    archive, source = mutation.templates()
    parameters = fill(mutation.parameters, placeholders)
    deployed = aws.deploy(parameters, archive_template=archive, source_template=source)
    other_roles: list[tuple[str, str | None]] = [(open_role, None)]
    if deployed.reader_role_arn:
        other_roles.append((deployed.reader_role_arn, deployed.reader_external_id))
    results = run_checks(
        deployed, other_bucket=other_bucket, other_roles=other_roles, kms_key_arn=parameters.get("KmsKeyArn")
    )
    undecided = {check for check, result in results.items() if result.verdict == "undecided"}
    failing = failed(results).keys() - undecided

    show(f"{name}: " + (", ".join(sorted(failing)) or f"{mutation.undetected} ({mutation.tested_by})"))
    # Where nothing works, what builds on it can't be decided, and what else must work fails as well.
    nothing_works = bool(failing & {"assume-role", "put-a-log"})
    assert failing - ({"bucket-keeps-versions", "bucket-encrypts"} if nothing_works else set()) == mutation.failing
    assert nothing_works or not undecided
    if failing:
        with pytest.raises(PrivilegeError, match="remediation: "):
            require_ok(list(results.values()), [])


def contents(aws: LocalAws, bucket: str) -> dict[str, Any]:
    """A bucket's objects and configuration, as its owner sees them, without the canaries."""
    s3 = aws.archive_client("s3")
    listed = s3.list_object_versions(Bucket=bucket)
    parts = ("policy", "versioning", "lifecycle_configuration", "acl", "encryption", "ownership_controls")
    configuration = {name: getattr(s3, f"get_bucket_{name}")(Bucket=bucket) for name in parts}
    for response in configuration.values():
        del response["ResponseMetadata"]
    objects = [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]
    return {**configuration, "objects": [o for o in objects if "least-privilege-" not in o["Key"]]}


def test_checks_harm_no_archive_where_the_role_may_do_anything(aws: LocalAws) -> None:
    archive, source = MUTATIONS["the role may do anything in its bucket"].templates()
    policy = archive["Resources"]["ArchivePolicy"]["Properties"]["PolicyDocument"]
    policy["Statement"] = policy["Statement"][:1]  # no deny is left
    deployed = aws.deploy(archive_template=archive, source_template=source)
    s3 = deployed.assume().client("s3")
    for key in ("logs/2026/11/22/app.log.zst", "logs", "x"):
        s3.put_object(Bucket=deployed.bucket, Key=key, Body=b"a log\n")
    before = contents(aws, deployed.bucket)
    results = run_checks(deployed, endpoint_url=deployed.endpoint_url)  # as the operator sees this server
    assert failed(results).keys() > {"delete-a-log", "put-the-lifecycle"}
    assert contents(aws, deployed.bucket) == before
    remaining = aws.archive_client("s3").list_objects_v2(Bucket=deployed.bucket)["Contents"]
    assert all(item["Size"] < 100 for item in remaining)


def test_checks_leave_five_small_objects_in_a_healthy_archive(aws: LocalAws) -> None:
    deployed = aws.deploy()
    run_checks(deployed)
    listed = aws.archive_client("s3").list_object_versions(Bucket=deployed.bucket)
    assert len(listed["Versions"]) == 5
    assert all(item["Key"].startswith("logs/_canary/least-privilege-") for item in listed["Versions"])
    assert "DeleteMarkers" not in listed
