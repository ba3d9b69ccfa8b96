"""Two AWS accounts on this machine: one whose logs are archived, and one that keeps them.

As a context manager, for the demo and the tests::

    with LocalAws.start() as aws:
        aws.connection()        # the Airflow connection of the log writer
        aws.archive_client("s3").list_object_versions(Bucket=aws.bucket)

As a command, `python include/local_aws.py`: starts both accounts, prints the Airflow connection to use and
runs until Ctrl-C.

The accounts are served by MiniStack (from `.venv-aws`, see `local_aws_server.py`) on a free port of the
loopback interface, with authentication on, and both CloudFormation templates are deployed into them as they
ship. Everything is kept in memory and in a temporary directory; when the process that started the server
ends, so does the server. Neither the caller's AWS configuration nor its environment is read.
"""

from __future__ import annotations

import json
import secrets
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.local_aws.clients import REGION, Credentials, Session
from dev.local_aws.process import READY_SECONDS, LocalAwsError, serve

__all__ = [
    "ARCHIVE_ACCOUNT",
    "REGION",
    "SOURCE_ACCOUNT",
    "TEMPLATES",
    "Credentials",
    "LocalAws",
    "LocalAwsError",
    "Session",
]

SOURCE_ACCOUNT = "111111111111"
ARCHIVE_ACCOUNT = "222222222222"
TEMPLATES = Path(__file__).parents[2] / "include" / "cloudformation"


class LocalAws:
    """The two accounts with one deployment of both stacks. Made by `LocalAws.start` and `deploy`."""

    def __init__(self, endpoint_url: str, root_secret: str, external_id: str) -> None:
        self.endpoint_url = endpoint_url
        self.external_id = external_id
        self._root_secret = root_secret
        self.bucket = ""
        self.role_arn = ""
        self.reader_role_arn = ""
        self.reader_external_id = secrets.token_urlsafe(24)
        self.airflow = Credentials("", "")
        self.reader = Credentials("", "")

    def __repr__(self) -> str:
        return f"LocalAws({self.endpoint_url!r}, bucket={self.bucket!r}, role_arn={self.role_arn!r})"

    @classmethod
    @contextmanager
    def start(
        cls,
        external_id: str | None = None,
        bucket: str = "acme-log-archive",
        archive_parameters: Mapping[str, str] | None = None,
        directory: Path | str | None = None,
    ) -> Iterator[LocalAws]:
        """Start both accounts and deploy both stacks; stop the server on leaving.

        external_id: of the writer, made up when None. bucket: the archive's name. archive_parameters: those
        of archive_account.yaml that differ from its defaults; the reader role is on unless switched off here.
        directory: where the server's log and temporary files go, a temporary directory when None.

        Raises LocalAwsError with the end of the server's log when it does not start within a minute.
        """
        with tempfile.TemporaryDirectory(prefix="local-aws-", ignore_cleanup_errors=True) as scratch:
            root_secret = secrets.token_urlsafe(32)
            with serve(Path(directory or scratch), root_secret, REGION) as endpoint_url:
                aws = cls(endpoint_url, root_secret, external_id or secrets.token_urlsafe(24))
                parameters = {"CreateReaderRole": "true", **(archive_parameters or {})}
                aws._deploy(bucket, "", parameters, None, None)
                yield aws

    def deploy(
        self,
        archive_parameters: Mapping[str, str] | None = None,
        archive_template: str | Mapping[str, Any] | None = None,
        source_template: str | Mapping[str, Any] | None = None,
    ) -> LocalAws:
        """Deploy both stacks once more, as stacks with a bucket, roles and users of their own (about 0.2 s).

        archive_parameters: those that differ from archive_account.yaml's defaults. archive_template,
        source_template: other templates than the shipped ones, as text or as a dict.
        """
        suffix = f"-{secrets.token_hex(4)}"
        aws = LocalAws(self.endpoint_url, self._root_secret, secrets.token_urlsafe(24))
        aws._deploy(f"log-archive{suffix}", suffix, archive_parameters or {}, archive_template, source_template)
        return aws

    @property
    def source_access_key(self) -> str:
        """The access key id of Airflow's user in the source account."""
        return self.airflow.access_key

    @property
    def source_secret_key(self) -> str:
        """The secret key of Airflow's user in the source account."""
        return self.airflow.secret_key

    # Whose requests

    def source_client(self, service: str) -> Any:
        """A client of the source account's root."""
        return self._root(SOURCE_ACCOUNT).client(service)

    def archive_client(self, service: str) -> Any:
        """A client of the archive account's root, whom MiniStack lets past every policy: to look around."""
        return self._root(ARCHIVE_ACCOUNT).client(service)

    def airflow_client(self, service: str) -> Any:
        """A client of Airflow's own user in the source account, without the role."""
        return Session(self.endpoint_url, self.airflow).client(service)

    def user(self, account: str, name: str, *statements: Mapping[str, Any]) -> Session:
        """Create an IAM user of that account who may do what the statements say, and act as that user."""
        iam = self._root(account).client("iam")
        iam.create_user(UserName=name)
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Session(self.endpoint_url, Credentials(key["AccessKeyId"], key["SecretAccessKey"]))

    def assume(
        self,
        external_id: str | None = "",
        policy: Mapping[str, Any] | None = None,
        session_name: str = "log-archival@test",
        role_arn: str | None = None,
        caller: Session | None = None,
        **arguments: Any,
    ) -> Session:
        """Assume the writer role as Airflow's user does.

        external_id: None sends none, "" the agreed one. policy: a session policy. role_arn, caller: another
        role, another caller. arguments: more of AssumeRole's. Raises botocore's ClientError when refused.
        """
        external_id = self.external_id if external_id == "" else external_id
        if external_id is not None:
            arguments["ExternalId"] = external_id
        if policy is not None:
            arguments["Policy"] = json.dumps(policy)
        sts = (caller or Session(self.endpoint_url, self.airflow)).client("sts")
        answer = sts.assume_role(RoleArn=role_arn or self.role_arn, RoleSessionName=session_name, **arguments)
        found = answer["Credentials"]
        return Session(
            self.endpoint_url,
            Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]),
        )

    def assume_reader(self) -> Session:
        """Assume the reader role as its principal does."""
        return self.assume(
            self.reader_external_id,
            role_arn=self.reader_role_arn,
            caller=Session(self.endpoint_url, self.reader),
        )

    # For Airflow

    def connection(self) -> dict[str, Any]:
        """The Airflow connection through which the source account adds logs."""
        return self._connection(self.airflow, self.role_arn, self.external_id)

    def reader_connection(self) -> dict[str, Any]:
        """The Airflow connection through which the archive account's people verify and restore."""
        return self._connection(self.reader, self.reader_role_arn, self.reader_external_id)

    def connection_json(self) -> str:
        """`connection()` as the value of an environment variable AIRFLOW_CONN_..."""
        return json.dumps(self.connection())

    def _connection(self, credentials: Credentials, role_arn: str, external_id: str) -> dict[str, Any]:
        return {
            "conn_type": "aws",
            "login": credentials.access_key,
            "password": credentials.secret_key,
            "extra": {
                "role_arn": role_arn,
                "external_id": external_id,
                "region_name": REGION,
                "endpoint_url": self.endpoint_url,
                # The provider does not use endpoint_url to assume the role.
                "service_config": {"sts": {"endpoint_url": self.endpoint_url}},
            },
        }

    # The stacks

    def _root(self, account: str) -> Session:
        # In MiniStack, an account's number with the server's secret is the access key of that account's root.
        return Session(self.endpoint_url, Credentials(account, self._root_secret))

    def _deploy(
        self,
        bucket: str,
        suffix: str,
        parameters: Mapping[str, str],
        archive_template: str | Mapping[str, Any] | None,
        source_template: str | Mapping[str, Any] | None,
    ) -> None:
        airflow, reader = f"airflow{suffix}", f"log-reader{suffix}"
        self.airflow = self.user(SOURCE_ACCOUNT, airflow).credentials
        settings = {
            "BucketName": bucket,
            "ExternalId": self.external_id,
            "SourcePrincipalArn": f"arn:aws:iam::{SOURCE_ACCOUNT}:user/{airflow}",
            "RoleName": f"LogWriterRole{suffix}",
            **parameters,
        }
        if settings.get("CreateReaderRole") == "true":
            assume = {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Resource": f"arn:aws:iam::{ARCHIVE_ACCOUNT}:role/LogReaderRole{suffix}",
            }
            self.reader = self.user(ARCHIVE_ACCOUNT, reader, assume).credentials
            settings = {
                "ReaderRoleName": f"LogReaderRole{suffix}",
                "ReaderPrincipalArn": f"arn:aws:iam::{ARCHIVE_ACCOUNT}:user/{reader}",
                "ReaderExternalId": self.reader_external_id,
                **settings,
            }
        outputs = self.stack(
            ARCHIVE_ACCOUNT, f"log-archive{suffix}", archive_template or "archive_account.yaml", settings
        )
        self.external_id = settings["ExternalId"]
        self.bucket, self.role_arn = outputs["BucketName"], outputs["RoleArn"]
        self.reader_role_arn = outputs.get("ReaderRoleArn", "")
        self.stack(
            SOURCE_ACCOUNT,
            f"log-writer{suffix}",
            source_template or "source_account.yaml",
            {"RoleArn": self.role_arn, "AirflowUserName": airflow},
        )

    def stack(
        self, account: str, name: str, template: str | Mapping[str, Any], parameters: Mapping[str, str]
    ) -> dict[str, str]:
        """Create a stack in an account and return its outputs.

        template: a file name in `cloudformation/`, a template's text or a template as a dict. Raises
        LocalAwsError with the events that failed.
        """
        if isinstance(template, str) and template.endswith(".yaml"):
            body = (TEMPLATES / template).read_text()
        else:
            body = template if isinstance(template, str) else json.dumps(template)
        cloudformation = self._root(account).client("cloudformation")
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=body,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
            if stack["StackStatus"] == "CREATE_COMPLETE":
                return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
            if not stack["StackStatus"].endswith("_IN_PROGRESS") or time.monotonic() > deadline:
                events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
                failed = [
                    f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
                    for event in events
                    if event["ResourceStatus"].endswith("_FAILED")
                ]
                status = f"stack {name} of account {account} ended as {stack['StackStatus']}: "
                raise LocalAwsError(status + "; ".join(failed))
            time.sleep(0.01)


def main() -> None:
    """Serve both accounts until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with LocalAws.start() as aws:
        print(f"Two AWS accounts at {aws.endpoint_url}: source {SOURCE_ACCOUNT}, archive {ARCHIVE_ACCOUNT}.")
        print(f"The archive is s3://{aws.bucket}/logs/. The Airflow connections:\n")
        print(f"export AIRFLOW_CONN_LOG_ARCHIVE={shlex.quote(aws.connection_json())}")
        print(f"export AIRFLOW_CONN_LOG_ARCHIVE_READER={shlex.quote(json.dumps(aws.reader_connection()))}")
        print("\nCtrl-C stops them; nothing is kept.", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
