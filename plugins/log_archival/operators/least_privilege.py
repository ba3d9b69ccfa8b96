"""LeastPrivilegeCheckOperator."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import boto3
from airflow.providers.amazon.aws.hooks.base_aws import BaseSessionFactory
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException
from botocore import UNSIGNED
from botocore.config import Config

from log_archival.aws import connection
from log_archival.least_privilege import judgement as privileges
from log_archival.least_privilege import requests as probing
from log_archival.hooks.assumed_role import DEFAULT_CONN_ID
from log_archival.exceptions import SettingsError
from log_archival.hooks.archive import DEFAULT_ACL, CrossAccountS3Hook
from log_archival.operators.base import failing_at_once
from log_archival.least_privilege.checks import CHECKS, applicable

log = logging.getLogger(__name__)

#: The XCom under which a check leaves its result, also when its task then fails.
RESULT = "result"


class LeastPrivilegeCheckOperator(BaseOperator):
    """Tries what the archive account's role must and must not be able to do, and fails when it is otherwise.

    Nothing that it tries can harm an archive, even where it is wrongly permitted; it leaves about a dozen objects of
    70 bytes under ``<prefix>_canary/``. An answer that may be another one on a later try (throttling, time-outs) is
    left to the task's retries; a finding fails the task at once.

    :param bucket: the archive bucket (templated)
    :param aws_conn_id: a connection of type `aws` with ``role_arn`` and ``external_id`` in its extra (templated)
    :param check: the one check to try (templated), for a task that is mapped over them; by default all of them
    :param prefix: what the archive account's policies allow
    :param acl: the canned ACL that archives are put with; None when they are put without
    :param kms_key_arn: the archive account's KMS key, if its bucket has one
    :param other_bucket: an existing bucket, of the archive account at best, that the role must not reach (templated)
    :param read_conn_id: a connection whose role must not be assumed with the writer's credentials: the reader's
    :param accepted_risks: names of checks that may fail; they are logged all the same
    :returns: for one check its result; for all of them ``{"checks": {name: verdict}, "accepted": […]}``
    :raises SettingsError: for an accepted risk or a check that there is not
    """

    template_fields: Sequence[str] = ("bucket", "aws_conn_id", "check", "other_bucket")
    ui_color = "#f6ecd2"

    def __init__(
        self,
        *,
        bucket: str,
        aws_conn_id: str = DEFAULT_CONN_ID,
        check: str | None = None,
        prefix: str = "logs/",
        acl: str | None = DEFAULT_ACL,
        kms_key_arn: str | None = None,
        other_bucket: str | None = None,
        read_conn_id: str | None = None,
        accepted_risks: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.aws_conn_id = aws_conn_id
        self.check = check
        self.prefix = prefix
        self.acl = acl
        self.kms_key_arn = kms_key_arn
        self.other_bucket = other_bucket
        self.read_conn_id = read_conn_id
        self.accepted_risks = accepted_risks

    def execute(self, context: Context) -> dict[str, Any]:
        """Try; see the class."""
        with failing_at_once():
            accepted = privileges.require_known(self.accepted_risks, CHECKS)
            target = self.target(context)
            probe = probing.Probe(target, Clients(self._hook(target.session_name)))
            if self.check is None:
                checks, not_here = applicable(target)
                return report([privileges.run_check(check, probe) for check in checks], accepted, not_here)
            if self.check not in CHECKS:
                raise SettingsError(f"no check is called {self.check!r}", hint="The checks: " + ", ".join(CHECKS))
            if reason := CHECKS[self.check].not_here(target):
                raise AirflowSkipException(f"{self.check} can't be tried here: {reason}")
            found = privileges.run_check(CHECKS[self.check], probe)
            context["ti"].xcom_push(key=RESULT, value=found.as_dict())
            log.info("\n%s", privileges.table([found], accepted))
            privileges.require_least_privilege([found], accepted)
            return found.as_dict()

    def target(self, context: Context) -> probing.Target:
        """What is checked, as the connection has it; nothing is sent.

        :raises ConnectionSettingsError: when the connection is not right
        """
        ti = context["ti"]
        name = connection.session_name(ti.dag_id, "check", f"{ti.run_id}/{ti.task_id}/{ti.map_index}", ti.try_number)
        hook = self._hook(name)
        other_roles: list[tuple[str, str | None]] = []
        if self.read_conn_id:
            reader = CrossAccountS3Hook(self.read_conn_id, bucket=self.bucket).role
            other_roles = [(reader.role_arn, reader.external_id), (reader.role_arn, hook.role.external_id)]
        return probing.Target(
            role=hook.role,
            bucket=self.bucket,
            prefix=self.prefix,
            session_name=name,
            acl=self.acl,
            kms_key_arn=self.kms_key_arn,
            # Of the task instance: a try after the first finds the canary, and mapped checks don't race for one.
            token=hashlib.sha256(f"{ti.dag_id}/{ti.run_id}/{ti.map_index}".encode()).hexdigest()[:16],
            endpoint_url=hook.conn_config.get_service_endpoint_url("s3"),
            other_bucket=self.other_bucket or None,
            other_roles=other_roles,
        )

    def _hook(self, session_name: str) -> CrossAccountS3Hook:
        return CrossAccountS3Hook(
            self.aws_conn_id,
            bucket=self.bucket,
            prefix=self.prefix,
            session_name=session_name,
            acl=self.acl,
            kms_key_arn=self.kms_key_arn,
        )


class Clients:
    """Makes the checks' boto3 clients as the hook's connection says: region, endpoints, proxies, certificates.

    :param hook: of the connection; its own session, which assumes the role, is not used
    """

    def __init__(self, hook: CrossAccountS3Hook) -> None:
        self._hook = hook

    @cached_property
    def _source(self) -> boto3.session.Session:
        conn = self._hook.conn_config
        return BaseSessionFactory(conn, region_name=conn.region_name, config=conn.botocore_config).basic_session

    def __call__(self, service: str, who: probing.Identity, tls: bool) -> Any:
        conn = self._hook.conn_config
        endpoint = conn.get_service_endpoint_url(service, sts_connection_assume=service == "sts")
        config = conn.botocore_config or Config()
        session: Any = self._source
        if who == "nobody":
            config = config.merge(Config(signature_version=UNSIGNED))
        elif isinstance(who, probing.Credentials):
            session = boto3.session.Session(who.access_key, who.secret_key, who.token, self._source.region_name)
        if endpoint and not tls:
            endpoint = endpoint.replace("https:", "http:", 1)
        return session.client(service, endpoint_url=endpoint, config=config, use_ssl=tls, verify=conn.verify)


def choose_checks(target: probing.Target, wanted: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """The names of the checks to map over; and of the others, with the reason why they are not tried.

    :param wanted: only these; all of them when empty
    :raises SettingsError: for a name that no check has
    """
    if unknown := sorted(set(wanted) - CHECKS.keys()):
        raise SettingsError(f"no check is called {unknown[0]!r}", hint="The checks: " + ", ".join(CHECKS))
    checks, not_tried = applicable(target)
    chosen = [check.name for check in checks if not wanted or check.name in wanted]
    not_tried |= {check.name: "not asked for" for check in checks if check.name not in chosen}
    return chosen, not_tried


def collect_results(chosen: Iterable[str], left: Iterable[Mapping[str, Any] | None]) -> list[privileges.Result]:
    """The results that mapped checks left in XCom.

    A check that left none failed in another way (its log says how): it is undecided, which is no pass.
    """
    by_name = {str(item["check"]): privileges.Result(**item) for item in left if item}
    results = []
    for name in chosen:
        check, happened = CHECKS[name], "it left no result; the log of its row says why"
        missing = privileges.Result(name, check.tried, check.expected, happened, "undecided", check.mend)
        results.append(by_name.get(name, missing))
    return results


def report(
    results: Sequence[privileges.Result], accepted_risks: Iterable[str], not_tried: Mapping[str, str]
) -> dict[str, Any]:
    """Log the table of all results, and fail when one is not as it must be and not accepted.

    :returns: ``{"checks": {name: verdict}, "accepted": [names], "not_tried": {name: reason}}``
    :raises PrivilegeError: naming what is to be mended
    """
    accepted = frozenset(accepted_risks)
    lines = [privileges.table(results, accepted)]
    lines += [f"not tried: {name} ({reason})" for name, reason in not_tried.items()]
    log.info("least privilege:\n%s", "\n".join(lines))
    privileges.require_least_privilege(results, accepted)
    return {
        "checks": {result.check: result.verdict for result in results},
        "accepted": sorted(result.check for result in results if result.verdict != "ok"),
        "not_tried": dict(not_tried),
    }
