"""The operator of `check_least_privilege`."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import boto3
from airflow.sdk import BaseOperator, Context
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials

from log_archival.aws.connection import DEFAULT_ACL, DEFAULT_CONN_ID, session_name
from log_archival.hooks.assumed_role import AssumedRole
from log_archival.keys import DEFAULT_PREFIX, canary_key
from log_archival.least_privilege.attempts import Caller, Requester, Target
from log_archival.least_privilege.checks import applicable_checks, require_known_checks
from log_archival.least_privilege.judgement import report, require_ok, run_check
from log_archival.operators.base import reported_outcome


class LeastPrivilegeCheckOperator(BaseOperator):
    """Try what the archive account's role must and must not be able to do, and fail when a check does.

    Nothing that is tried can harm an archive, even where it is wrongly permitted; about a dozen objects of 100 bytes
    remain under ``<prefix>_canary/``. A failed check fails the task without retries. Where nothing worse than transient
    errors (throttling, time-outs) happened, the task's retries try again.

    :param bucket: the archive bucket (templated)
    :param aws_conn_id: a connection of type `aws` with ``role_arn`` and ``external_id`` in its extra (templated)
    :param prefix: what the archive account's policies allow, with its slash
    :param acl: the canned ACL that archives are uploaded with; None when they are uploaded without
    :param kms_key_arn: the archive account's KMS key, if its bucket has one
    :param other_bucket: an existing bucket, best one of the archive account, that the role must not reach (templated)
    :param read_conn_id: a connection whose role must not be assumed with the writer's credentials: the reader's
    :param checks: the names of the checks to try, separated by commas (templated); all of them when empty
    :param accepted_risks: names of checks that may fail; they are logged all the same
    :returns: what `log_archival.least_privilege.judgement.report` returns
    :raises SettingsError: for a check or accepted risk that no check is called
    """

    template_fields: Sequence[str] = ("bucket", "aws_conn_id", "other_bucket", "checks")
    ui_color = "#f6ecd2"

    def __init__(
        self,
        *,
        bucket: str,
        aws_conn_id: str = DEFAULT_CONN_ID,
        prefix: str = DEFAULT_PREFIX,
        acl: str | None = DEFAULT_ACL,
        kms_key_arn: str | None = None,
        other_bucket: str | None = None,
        read_conn_id: str | None = None,
        checks: str = "",
        accepted_risks: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.aws_conn_id = aws_conn_id
        self.prefix = prefix
        self.acl = acl
        self.kms_key_arn = kms_key_arn
        self.other_bucket = other_bucket
        self.read_conn_id = read_conn_id
        self.checks = checks
        self.accepted_risks = accepted_risks

    def execute(self, context: Context) -> dict[str, Any]:
        """Try the checks.

        :param context: the task's
        """
        with reported_outcome(context) as outcome:
            require_known_checks(self.accepted_risks, "accepted_risks")
            requester = self.requester(context)
            checks, not_tried = applicable_checks(requester.target, self.checks.replace(",", " ").split())
            results = [run_check(check, requester) for check in checks]
            outcome |= report(results, self.accepted_risks, not_tried)
            require_ok(results, self.accepted_risks)
            return outcome

    def requester(self, context: Context) -> Requester:
        """Return what sends the requests, with the archive that is checked as the connection has it; send nothing.

        :param context: the task's
        :raises ConnectionSettingsError: when the connection is wrong
        """
        ti, assumed = context["ti"], AssumedRole(self.aws_conn_id, bucket=self.bucket)
        task = f"{ti.run_id}/{ti.task_id}/{ti.map_index}"
        other_roles: list[tuple[str, str | None]] = []
        if self.read_conn_id:
            reader = AssumedRole(self.read_conn_id, bucket=self.bucket).role
            other_roles = [(reader.role_arn, reader.external_id), (reader.role_arn, assumed.role.external_id)]
        target = Target(
            role=assumed.role,
            bucket=self.bucket,
            prefix=self.prefix,
            session_name=session_name(ti.dag_id, "check", task, ti.try_number),
            # Per task instance: a retry finds the canary, and two tasks don't race for one.
            canary=canary_key(self.prefix, hashlib.sha256(f"{ti.dag_id}/{task}".encode()).hexdigest()[:16]),
            acl=self.acl,
            kms_key_arn=self.kms_key_arn,
            endpoint_url=assumed.conn_config.get_service_endpoint_url("s3") or "",
            other_bucket=self.other_bucket,
            other_roles=other_roles,
        )
        return Requester(target, partial(make_client, assumed))


def make_client(assumed: AssumedRole, service: str, caller: Caller, tls: bool) -> Any:
    """Return a boto3 client as the connection says: region, endpoints, proxies, certificates.

    :param assumed: of the connection; its own session, which assumes the role, is not used
    :param service: the AWS service
    :param caller: whose credentials sign the requests
    :param tls: whether requests are sent over TLS
    """
    conn, session = assumed.conn_config, assumed.source_session()
    endpoint = conn.get_service_endpoint_url(service, sts_connection_assume=service == "sts")
    config = conn.botocore_config or Config()
    if caller == "nobody":
        config = config.merge(Config(signature_version=UNSIGNED))
    elif isinstance(caller, Credentials):
        session = boto3.session.Session(caller.access_key, caller.secret_key, caller.token, session.region_name)
    if endpoint and not tls:
        endpoint = endpoint.replace("https:", "http:", 1)
    client: Any = session.client  # boto3-stubs knows no service that is a variable
    return client(service, endpoint_url=endpoint, config=config, use_ssl=tls, verify=conn.verify)
