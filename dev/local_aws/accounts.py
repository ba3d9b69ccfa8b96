"""Two AWS accounts on this machine: one whose logs are archived, and one that keeps them.

    with LocalAws.start() as aws:
        aws.connection()        # the Airflow connection of the log writer
        aws.archive_client("s3").list_object_versions(Bucket=aws.bucket)

MiniStack (see `server.py`) serves them on a free port of 127.0.0.1 with authentication on, and both CloudFormation
templates are deployed into them as they ship. Everything is kept in memory and in a temporary directory, and ends
with the process that started it. The caller's AWS configuration and environment aren't read.
"""

import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import WaiterError

from dev.local_aws.clients import REGION, Credentials, Session
from dev.local_aws.launcher import LocalAwsError, serve

SOURCE_ACCOUNT = "111111111111"
ARCHIVE_ACCOUNT = "222222222222"
TEMPLATES = Path(__file__).parents[2] / "include" / "cloudformation"
#: A template, or the name of a file in TEMPLATES.
Template = Mapping[str, Any] | str


class LocalAws:
    """The two accounts with one deployment of both stacks, made by :meth:`start` and :meth:`deploy`."""

    def __init__(self, endpoint_url: str, root_secret: str) -> None:
        self.endpoint_url = endpoint_url
        self._root_secret = root_secret
        self.bucket = self.role_arn = self.reader_role_arn = ""
        self.external_id, self.reader_external_id = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self.airflow = self.reader = Credentials("", "")

    @classmethod
    @contextmanager
    def start(cls, directory: Path | None = None) -> Iterator[Self]:
        """Start both accounts and deploy both stacks, with the reader role; stop the server on leaving.

        :param directory: for the server's log and temporary files; by default a temporary directory.
        :raises LocalAwsError: with the end of the server's log, when it doesn't start within a minute.
        """
        with tempfile.TemporaryDirectory(prefix="local-aws-", ignore_cleanup_errors=True) as scratch:
            root_secret = secrets.token_urlsafe(32)
            with serve(directory or Path(scratch), root_secret=root_secret, region=REGION) as endpoint_url:
                aws = cls(endpoint_url, root_secret)
                aws._deploy("", {"BucketName": "acme-log-archive", "CreateReaderRole": "true"})
                yield aws

    def deploy(
        self,
        archive_parameters: Mapping[str, str] | None = None,
        archive_template: Template | None = None,
        source_template: Template | None = None,
    ) -> Self:
        """Deploy both stacks again, with a bucket, roles and users of their own (about 0.2 s).

        :param archive_parameters: those that differ from the defaults of archive_account.yaml.
        :param archive_template: instead of archive_account.yaml.
        :param source_template: instead of source_account.yaml.
        """
        suffix = f"-{secrets.token_hex(4)}"
        aws = type(self)(self.endpoint_url, self._root_secret)
        parameters = {"BucketName": f"log-archive{suffix}", **(archive_parameters or {})}
        aws._deploy(suffix, parameters, archive_template, source_template)
        return aws

    @property
    def source_access_key(self) -> str:
        """The access key id of Airflow's user in the source account."""
        return self.airflow.access_key

    @property
    def source_secret_key(self) -> str:
        """The secret key of Airflow's user in the source account."""
        return self.airflow.secret_key

    # Identities

    def source_client(self, service: str) -> Any:
        """Return a client of the source account's root."""
        return self._root(SOURCE_ACCOUNT).client(service)

    def archive_client(self, service: str) -> Any:
        """Return a client of the archive account's root, to whom MiniStack applies no policy: to look around."""
        return self._root(ARCHIVE_ACCOUNT).client(service)

    def airflow_client(self, service: str) -> Any:
        """Return a client of Airflow's own user in the source account, without the role."""
        return Session(self.endpoint_url, self.airflow).client(service)

    def _root(self, account: str) -> Session:
        # In MiniStack, an account's number with the server's secret is the access key of that account's root.
        return Session(self.endpoint_url, Credentials(account, self._root_secret))

    def user(self, account: str, name: str, *statements: Mapping[str, Any]) -> Session:
        """Create an IAM user with these statements as its policy; return a session of that user."""
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
        """Assume the writer role as Airflow's user.

        :param external_id: None sends none, "" the agreed one.
        :param policy: a session policy.
        :param session_name: the RoleSessionName.
        :param role_arn: another role than the writer's.
        :param caller: another caller than Airflow's user.
        :param arguments: more arguments of AssumeRole.
        :raises botocore.exceptions.ClientError: when it is refused.
        """
        external_id = self.external_id if external_id == "" else external_id
        if external_id is not None:
            arguments["ExternalId"] = external_id
        if policy is not None:
            arguments["Policy"] = json.dumps(policy)
        sts = (caller or Session(self.endpoint_url, self.airflow)).client("sts")
        response = sts.assume_role(RoleArn=role_arn or self.role_arn, RoleSessionName=session_name, **arguments)
        keys = response["Credentials"]
        credentials = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
        return Session(self.endpoint_url, credentials)

    def assume_reader(self) -> Session:
        """Assume the reader role as its principal."""
        reader = Session(self.endpoint_url, self.reader)
        return self.assume(self.reader_external_id, role_arn=self.reader_role_arn, caller=reader)

    # Airflow's connections

    def connection(self) -> dict[str, Any]:
        """Return the Airflow connection with which the source account adds logs."""
        return self._connection(self.airflow, self.role_arn, self.external_id)

    def source_connection(self) -> dict[str, Any]:
        """Return the Airflow connection with which logs of the source account are read, without a role."""
        connection = self._connection(self.airflow, "", "")
        connection["extra"] = {name: value for name, value in connection["extra"].items() if value}
        return connection

    def reader_connection(self) -> dict[str, Any]:
        """Return the Airflow connection with which the archive account's people verify and restore."""
        return self._connection(self.reader, self.reader_role_arn, self.reader_external_id)

    def connection_json(self) -> str:
        """Return :meth:`connection` as the value of a variable AIRFLOW_CONN_…."""
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
                # The provider doesn't use endpoint_url to assume the role.
                "service_config": {"sts": {"endpoint_url": self.endpoint_url}},
            },
        }

    # Stacks

    def _deploy(
        self,
        suffix: str,
        parameters: Mapping[str, str],
        archive_template: Template | None = None,
        source_template: Template | None = None,
    ) -> None:
        """Create Airflow's user and both stacks.

        :param suffix: of the names of stacks, roles and users.
        :param parameters: of the archive account's stack.
        """
        airflow = f"airflow{suffix}"
        self.airflow = self.user(SOURCE_ACCOUNT, airflow).credentials
        settings = {
            "ExternalId": self.external_id,
            "SourcePrincipalArn": f"arn:aws:iam::{SOURCE_ACCOUNT}:user/{airflow}",
            "RoleName": f"LogWriterRole{suffix}",
        }
        if parameters.get("CreateReaderRole") == "true":
            settings |= self._create_reader(suffix)
        settings |= parameters
        outputs = self.stack(
            ARCHIVE_ACCOUNT, f"log-archive{suffix}", archive_template or "archive_account.yaml", settings
        )
        self.external_id = settings["ExternalId"]
        self.bucket, self.role_arn = outputs["BucketName"], outputs["RoleArn"]
        self.reader_role_arn = outputs.get("ReaderRoleArn", "")
        writer = {"RoleArn": self.role_arn, "AirflowUserName": airflow}
        self.stack(SOURCE_ACCOUNT, f"log-writer{suffix}", source_template or "source_account.yaml", writer)

    def _create_reader(self, suffix: str) -> dict[str, str]:
        """Create the user who may assume the reader role; return the stack's parameters for that role."""
        user, role = f"log-reader{suffix}", f"LogReaderRole{suffix}"
        role_arn = f"arn:aws:iam::{ARCHIVE_ACCOUNT}:role/{role}"
        assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn}
        self.reader = self.user(ARCHIVE_ACCOUNT, user, assume).credentials
        return {
            "ReaderRoleName": role,
            "ReaderPrincipalArn": f"arn:aws:iam::{ARCHIVE_ACCOUNT}:user/{user}",
            "ReaderExternalId": self.reader_external_id,
        }

    def stack(self, account: str, name: str, template: Template, parameters: Mapping[str, str]) -> dict[str, str]:
        """Create a stack in an account and return its outputs.

        :raises LocalAwsError: with the events that failed.
        """
        cloudformation = self._root(account).client("cloudformation")
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=(TEMPLATES / template).read_text() if isinstance(template, str) else json.dumps(template),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        try:
            waiter = cloudformation.get_waiter("stack_create_complete")
            waiter.wait(StackName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 3000})
        except WaiterError as error:
            events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
            failed = [
                f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
                for event in events
                if event["ResourceStatus"].endswith("_FAILED")
            ]
            raise LocalAwsError(f"stack {name} of account {account}: {error}: {'; '.join(failed)}") from error
        outputs = cloudformation.describe_stacks(StackName=name)["Stacks"][0].get("Outputs", [])
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}
