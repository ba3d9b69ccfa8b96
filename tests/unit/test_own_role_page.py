"""docs/own-role-and-bucket.md: its policies, commands and templates against what AWS's own schemas say."""

from __future__ import annotations

import json
import re
import shlex
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore import xform_name
from cfnlint.helpers import load_resource
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from log_archival.least_privilege.checks import CHECKS
from tests.support.templates import ARCHIVE, SOURCE, load_template, statement_lists

PAGE = Path(__file__).parents[2] / "docs" / "own-role-and-bucket.md"
SOURCES = "log_sources.yaml"
#: Actions of a resource type's handlers that are for a property which the template must not have then.
FOR_PROPERTIES = {
    "AWS::S3::Bucket": {
        "AbacStatus": ["s3:PutBucketAbac"],
        "AccelerateConfiguration": ["s3:PutAccelerateConfiguration"],
        "AccessControl": ["s3:PutBucketAcl"],
        "AnalyticsConfigurations": ["s3:PutAnalyticsConfiguration"],
        "CorsConfiguration": ["s3:PutBucketCORS"],
        "IntelligentTieringConfigurations": ["s3:PutIntelligentTieringConfiguration"],
        "InventoryConfigurations": ["s3:PutInventoryConfiguration"],
        "LoggingConfiguration": ["s3:PutBucketLogging"],
        "MetadataTableConfiguration": ["s3:*BucketMetadata*", "s3tables:*"],
        "MetricsConfigurations": ["s3:PutMetricsConfiguration"],
        "NotificationConfiguration": ["s3:PutBucketNotification"],
        "ReplicationConfiguration": ["s3:PutReplicationConfiguration", "iam:PassRole"],
        "WebsiteConfiguration": ["s3:PutBucketWebsite", "s3:DeleteBucketWebsite"],
    },
    "AWS::IAM::Role": {
        "ManagedPolicyArns": ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
        "PermissionsBoundary": ["iam:PutRolePermissionsBoundary", "iam:DeleteRolePermissionsBoundary"],
    },
    "AWS::IAM::ManagedPolicy": {"Groups": ["iam:AttachGroupPolicy", "iam:DetachGroupPolicy"]},
}
#: Objects are nothing that a bucket's properties are about.
OF_OBJECTS = {"s3:deleteobject", "s3:putobjectacl"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)


POLICIES = [json.loads(block) for block in blocks("json")]
DEPLOYER, ARCHIVE_DEPLOYMENT, SOURCE_DEPLOYMENT = POLICIES[2:]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def actions(policy: dict[str, Any]) -> set[str]:
    return {action.lower() for statement in policy["Statement"] for action in listed(statement["Action"])}


@pytest.fixture(scope="module")
def existing() -> set[str]:
    """All actions of IAM, in lower case: IAM ignores the case."""
    from cfnlint.data import AdditionalSpecs

    services = load_resource(AdditionalSpecs, "Policies.json")
    return {f"{service}:{action}".lower() for service, found in services.items() for action in found.get("Actions", [])}


def matches(action: str, patterns: set[str]) -> bool:
    return any(fnmatchcase(action, pattern.lower()) for pattern in patterns)


def used_properties(name: str) -> dict[str, set[str]]:
    """Return the properties that a template gives to its resources, by type."""
    found: dict[str, set[str]] = {}
    for resource in load_template(name)["Resources"].values():
        found.setdefault(resource["Type"], set()).update(resource["Properties"])
    return found


def needed(name: str, existing: set[str]) -> set[str]:
    """Return what CloudFormation's handlers need to create, read, update and delete a template's resources."""
    found: set[str] = set()
    for kind, properties in used_properties(name).items():
        handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-central-1", kind).schema["handlers"]
        of_kind = {
            action.lower() for handler in ("create", "read", "update", "delete")
            for action in handlers[handler]["permissions"]
        }  # fmt: skip
        others = {
            action
            for one, of_property in FOR_PROPERTIES.get(kind, {}).items()
            if one not in properties
            for action in of_property
        }
        found |= {action for action in of_kind if not matches(action, others)}
    # Some names in the schemas are no actions.
    return found & existing - OF_OBJECTS


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
def test_policies_name_actions_that_exist(policy: dict[str, Any], existing: set[str]) -> None:
    assert policy["Version"] == "2012-10-17"
    for pattern in actions(policy):
        assert any(fnmatchcase(action, pattern) for action in existing), pattern
    for statement in policy["Statement"]:
        assert statement.keys() <= {"Effect", "Action", "Resource", "Principal", "Condition"}
        assert ("Resource" in statement) != ("Principal" in statement)


def test_deployment_of_the_archive_account_may_do_what_its_resources_need(existing: set[str]) -> None:
    wanted, given = needed(ARCHIVE, existing), actions(ARCHIVE_DEPLOYMENT)
    assert {action for action in wanted if not matches(action, given)} == set()
    assert {pattern for pattern in given if not any(fnmatchcase(action, pattern) for action in wanted)} == set()


@pytest.mark.parametrize("name", [SOURCE, SOURCES])
def test_deployment_of_the_source_account_may_do_what_its_resources_need(name: str, existing: set[str]) -> None:
    as_user = {"iam:attachuserpolicy", "iam:detachuserpolicy"}
    assert needed(name, existing) - as_user == actions(SOURCE_DEPLOYMENT)


def test_deployment_policies_name_the_templates_resources() -> None:
    bucket, roles = (statement["Resource"] for statement in ARCHIVE_DEPLOYMENT["Statement"])
    parameters = load_template(ARCHIVE)["Parameters"]
    assert bucket == "arn:aws:s3:::acme-log-archive"
    assert [arn.rpartition("/")[2] for arn in roles] == [
        parameters[name]["Default"] for name in ("RoleName", "ReaderRoleName")
    ]


def test_deployer_may_pass_only_the_service_role() -> None:
    [passing] = [one for one in DEPLOYER["Statement"] if one["Action"] == "iam:PassRole"]
    assert passing["Resource"] != "*"
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}}


def test_imported_bucket_is_the_templates_own() -> None:
    [block] = [yaml.safe_load(block) for block in blocks("yaml") if block.startswith("Resources:")]
    [(name, resource)] = block["Resources"].items()
    assert load_template(ARCHIVE)["Resources"][name]["Type"] == resource["Type"] == "AWS::S3::Bucket"
    assert resource["DeletionPolicy"] == "Retain"
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-central-1", "AWS::S3::Bucket").schema
    assert (
        schema["primaryIdentifier"]
        == ["/properties/BucketName"]
        == [f"/properties/{one}" for one in resource["Properties"]]
    )


def test_object_lock_does_not_replace_the_bucket() -> None:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-central-1", "AWS::S3::Bucket").schema
    of_the_template = {f"/properties/{name}" for name in used_properties(ARCHIVE)["AWS::S3::Bucket"]}
    assert of_the_template & set(schema["createOnlyProperties"]) == {"/properties/BucketName"}


def test_retention_of_zero_days_lets_administrators_bypass_governance() -> None:
    items = [item for items in statement_lists(load_template(ARCHIVE)) for item in items]
    [conditional] = [
        item["Fn::If"]
        for item in items
        if "Fn::If" in item and item["Fn::If"][1]["Action"] == "s3:BypassGovernanceRetention"
    ]
    assert conditional[0] == "Retain"
    assert conditional[2] == {"Ref": "AWS::NoValue"}


COMMANDS = [
    shlex.split(command.replace("\\\n", " "))
    for block in blocks("sh")
    for command in re.split(r"^(?=aws )", block, flags=re.M)
    if command
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[1:3]))
def test_commands_have_options_that_exist(words: list[str]) -> None:
    program, service, command, *rest = words
    assert program == "aws"
    given = {word for word in rest if word.startswith("--")}
    if (service, command) == ("cloudformation", "deploy"):  # the CLI's own
        assert given == {"--stack-name", "--capabilities", "--template-file", "--parameter-overrides"}
        file = rest[rest.index("--template-file") + 1]
        overrides = dict(word.split("=", 1) for word in rest[rest.index("--parameter-overrides") + 1 :])
        parameters = load_template(Path(file).name)["Parameters"]
        for name, value in overrides.items():
            assert re.fullmatch(parameters[name]["AllowedPattern"], value)
        return
    session = botocore.session.Session()
    if command == "wait":
        waiters = session.get_waiter_model(service)
        found = {xform_name(name, "-"): waiters.get_waiter(name).operation for name in waiters.waiter_names}
        operation = found[rest[0]]
    else:
        names = session.get_service_model(service).operation_names
        operation = next(name for name in names if xform_name(name, "-") == command)
    members = session.get_service_model(service).operation_model(operation).input_shape
    assert members is not None
    assert given <= {f"--{xform_name(name, '-')}" for name in members.members} | {"--query"}
    if "--resources-to-import" in given:
        [resource] = json.loads(rest[rest.index("--resources-to-import") + 1])
        assert resource.keys() == members.members["ResourcesToImport"].member.members.keys()  # type: ignore[attr-defined]


def test_accepted_risks_are_checks() -> None:
    [block] = [yaml.safe_load(block) for block in blocks("yaml") if block.startswith("accepted_risks")]
    assert set(block["accepted_risks"]) <= CHECKS.keys()
    assert all(f"| `{name}` |" in PAGE.read_text() for name in block["accepted_risks"])
