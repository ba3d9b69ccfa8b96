"""Targets of the checks of least privilege, and clients of the local accounts for their requests."""

from __future__ import annotations

import secrets
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials as SessionCredentials

from dev.local_aws import REGION, Credentials, LocalAws, Session
from log_archival.aws.connection import RoleSettings, role_settings
from log_archival.keys import canary_key
from log_archival.least_privilege.attempts import Caller, Target

#: S3's endpoint of AWS: it makes the checks for AWS applicable; nothing is sent there.
AWS_ENDPOINT_URL = "https://s3.eu-central-1.amazonaws.com"
#: A target that is nowhere.
TARGET = Target(
    RoleSettings("arn:aws:iam::222222222222:role/R", "aws", "222222222222", "the-external-id"),
    "bucket",
    "logs/",
    "log-archival@x",
    canary_key("logs/", "0" * 16),
    other_roles=[("arn:aws:iam::222222222222:role/Reader", "another-external-id")],
)


class LocalClients:
    """Makes clients of the local accounts; without TLS is what they claim with a header.

    :param aws: the accounts
    """

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws

    def __call__(self, service: str, caller: Caller, tls: bool) -> Any:
        """Return a client.

        :param service: the AWS service
        :param caller: who sends the requests
        :param tls: whether they claim to come over TLS
        """
        if caller == "nobody":
            config = Config(signature_version=UNSIGNED)
            return boto3.client(service, region_name=REGION, endpoint_url=self._aws.endpoint_url, config=config)  # type: ignore[call-overload]
        credentials = self._aws.airflow
        if isinstance(caller, SessionCredentials):
            credentials = Credentials(caller.access_key, caller.secret_key, caller.token)
        return Session(self._aws.endpoint_url, credentials).client(service, transport=None if tls else "http")


def local_target(aws: LocalAws, **changes: Any) -> Target:
    """Return the deployed archive as the target.

    :param aws: the deployment
    :param changes: other fields of the target
    """
    role = role_settings("log_archive", aws.connection()["extra"], bucket=aws.bucket, region=REGION)
    fields = {"prefix": "logs/", "session_name": "log-archival@check", "endpoint_url": AWS_ENDPOINT_URL, **changes}
    return Target(role, aws.bucket, canary=canary_key(fields["prefix"], secrets.token_hex(8)), **fields)
