"""The operators of `check_least_privilege`: choose the checks, try them, report the results."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import boto3
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import Credentials

from log_archival.aws.connection import DEFAULT_ACL, DEFAULT_CONN_ID, session_name
from log_archival.exceptions import SettingsError
from log_archival.hooks.assumed_role import AssumedRole
from log_archival.keys import DEFAULT_PREFIX
from log_archival.least_privilege.checks import CHECKS, applicable_checks, require_known_checks
from log_archival.least_privilege.judgement import Result, Verdict, report, run_check
from log_archival.least_privilege.requests import Caller, Requester, Target
from log_archival.operators.base import fail_permanent_errors_at_once

#: The XCom that holds the result of one check, also when its task then fails.
RESULT_KEY = "result"
#: The XCom that holds why checks were not tried, by name.
NOT_TRIED_KEY = "not_tried"


class TargetOperator(BaseOperator):
    """An operator with the arguments that say which archive is checked.

    :param bucket: the archive bucket (templated)
    :param aws_conn_id: a connection of type `aws` with ``role_arn`` and ``external_id`` in its extra (templated)
    :param prefix: what the archive account's policies allow, with its slash
    :param acl: the canned ACL that archives are uploaded with; None when they are uploaded without
    :param kms_key_arn: the archive account's KMS key, if its bucket has one
    :param other_bucket: an existing bucket, best one of the archive account, that the role must not reach (templated)
    :param read_conn_id: a connection whose role must not be assumed with the writer's credentials: the reader's
    """

    template_fields: Sequence[str] = ("bucket", "aws_conn_id", "other_bucket")
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

    def requester(self, context: Context) -> Requester:
        """Return what sends the requests, with the archive that is checked as the connection has it; send nothing.

        :param context: the task's
        :raises ConnectionSettingsError: when the connection is wrong
        """
        ti, assumed = context["ti"], AssumedRole(self.aws_conn_id, bucket=self.bucket)
        other_roles: list[tuple[str, str | None]] = []
        if self.read_conn_id:
            reader = AssumedRole(self.read_conn_id, bucket=self.bucket).role
            other_roles = [(reader.role_arn, reader.external_id), (reader.role_arn, assumed.role.external_id)]
        target = Target(
            role=assumed.role,
            bucket=self.bucket,
            prefix=self.prefix,
            session_name=session_name(ti.dag_id, "check", f"{ti.run_id}/{ti.task_id}/{ti.map_index}", ti.try_number),
            acl=self.acl,
            kms_key_arn=self.kms_key_arn,
            # Per task instance: a retry finds the canary, and mapped checks don't race for one.
            token=hashlib.sha256(f"{ti.dag_id}/{ti.run_id}/{ti.map_index}".encode()).hexdigest()[:16],
            endpoint_url=assumed.conn_config.get_service_endpoint_url("s3"),
            other_bucket=self.other_bucket,
            other_roles=other_roles,
        )
        return Requester(target, partial(make_client, assumed))


class ChooseChecksOperator(TargetOperator):
    """Return the names of the checks to try; a task of `LeastPrivilegeCheckOperator` can be mapped over them.

    Why the others are not tried goes into the XCom ``not_tried``. Nothing is sent.

    :param checks: the names of the checks to try, separated by commas (templated); all of them when empty
    :param kwargs: the archive that is checked, see `TargetOperator`
    :raises SettingsError: for a name that no check has
    """

    template_fields: Sequence[str] = (*TargetOperator.template_fields, "checks")

    def __init__(self, *, checks: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.checks = checks

    def execute(self, context: Context) -> list[str]:
        """Return the names of the checks.

        :param context: the task's
        """
        with fail_permanent_errors_at_once():
            names = [name.strip() for name in self.checks.split(",") if name.strip()]
            checks, not_tried = applicable_checks(self.requester(context).target, names)
        context["ti"].xcom_push(key=NOT_TRIED_KEY, value=not_tried)
        return [check.name for check in checks]


class LeastPrivilegeCheckOperator(TargetOperator):
    """Try what the archive account's role must and must not be able to do, and fail when a check does.

    Nothing that is tried can harm an archive, even where it is wrongly permitted; about a dozen objects of 70 bytes
    remain under ``<prefix>_canary/``. Transient errors (throttling, time-outs) are for the task's retries; a failed
    check fails the task without retries.

    :param check: the one check to try (templated), for a task that is mapped over them; by default all of them
    :param accepted_risks: names of checks that may fail; they are logged all the same
    :param kwargs: the archive that is checked, see `TargetOperator`
    :returns: for one check its result; for all of them
        ``{"checks": {name: verdict}, "accepted": [names], "not_tried": {name: reason}}``
    :raises SettingsError: for the name of a check or accepted risk that no check has
    """

    template_fields: Sequence[str] = (*TargetOperator.template_fields, "check")

    def __init__(self, *, check: str | None = None, accepted_risks: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.accepted_risks = accepted_risks

    def execute(self, context: Context) -> dict[str, Any]:
        """Try one check or all of them.

        :param context: the task's
        """
        with fail_permanent_errors_at_once():
            accepted = require_known_checks(self.accepted_risks, "accepted_risks")
            if self.check is not None:
                require_known_checks([self.check], "check")
            requester = self.requester(context)
            if self.check is None:
                checks, not_tried = applicable_checks(requester.target)
                return report([run_check(check, requester) for check in checks], accepted, not_tried)
            check = CHECKS[self.check]
            if reason := check.skip_if(requester.target):
                raise AirflowSkipException(f"{self.check} can't be tried here: {reason}")
            result = run_check(check, requester)
            context["ti"].xcom_push(key=RESULT_KEY, value=result.as_dict())
            report([result], accepted, {})
            return result.as_dict()


class LeastPrivilegeReportOperator(BaseOperator):
    """Log the results of mapped checks as one table, and fail when a check failed that is not an accepted risk.

    A check whose task left no result failed in another way (its log says how): it is undecided, which fails.

    :param choose_task_id: the task of `ChooseChecksOperator`
    :param check_task_id: the task of `LeastPrivilegeCheckOperator` that is mapped over its checks
    :param accepted_risks: names of checks that may fail
    :returns: ``{"checks": {name: verdict}, "accepted": [names], "not_tried": {name: reason}}``
    """

    ui_color = TargetOperator.ui_color

    def __init__(
        self,
        *,
        choose_task_id: str = "choose",
        check_task_id: str = "check",
        accepted_risks: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.choose_task_id = choose_task_id
        self.check_task_id = check_task_id
        self.accepted_risks = accepted_risks

    def execute(self, context: Context) -> dict[str, Any]:
        """Report the results.

        :param context: the task's
        """
        ti = context["ti"]
        with fail_permanent_errors_at_once():
            accepted = require_known_checks(self.accepted_risks, "accepted_risks")
            chosen: list[str] = ti.xcom_pull(task_ids=self.choose_task_id) or []
            if not chosen:
                raise SettingsError("no check was tried", hint=f"The log of the task {self.choose_task_id!r} says why.")
            items = ti.xcom_pull(task_ids=self.check_task_id, key=RESULT_KEY, map_indexes=list(range(len(chosen))))
            missing = {"happened": "it left no result; the log of its task says why", "verdict": Verdict.UNDECIDED}
            found = dict.fromkeys(chosen, missing) | {item["check"]: item for item in items if item}
            results = [Result(CHECKS[name], one["happened"], Verdict(one["verdict"])) for name, one in found.items()]
            return report(results, accepted, ti.xcom_pull(task_ids=self.choose_task_id, key=NOT_TRIED_KEY))


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
