"""
### Prove that the archive account's role can add logs, and do nothing else

The task sends one request for each check, for real: what must work, and what must be refused. Its log has a line for
each result as it comes, and ends with the table of all of them. Nothing that is tried can harm an archive, even where
it is wrongly permitted.

**When it fails**, the end of the log says for each failed check what was tried, what happened, and which statement of
which template to correct ([statements](https://github.com/acme/log-archival/blob/main/docs/privileges.md)). If a risk
is known and accepted, add the check's name to `accepted_risks` in `archive.yaml`.

**To run it now**, trigger it. With `other_bucket`, a bucket of the archive account that holds something else, it
also checks that the role can't reach that one.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag

from log_archival.hooks.settings import dag_settings
from log_archival.least_privilege.checks import CHECKS, require_known_checks
from log_archival.notifications import failure_callbacks
from log_archival.operators import DEFAULT_ARGS, LeastPrivilegeCheckOperator

SETTINGS = dag_settings(__file__)
require_known_checks(SETTINGS.accepted_risks, "accepted_risks")


@dag(
    # Without a start date, the first run is that of the next Monday, and not one at once for the last.
    schedule=CronTriggerTimetable("0 6 * * 1", timezone=SETTINGS.schedule.timezone),
    catchup=False,
    on_failure_callback=failure_callbacks(SETTINGS),
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=["logs", "archive", "security"],
    doc_md=__doc__,
    params={
        "checks": Param(
            [],
            type="array",
            items={"type": "string", "enum": list(CHECKS)},
            examples=list(CHECKS),
            title="Checks",
            description="Only these; all of them when empty",
        ),
        "other_bucket": Param(
            None,
            type=["null", "string"],
            title="Another bucket",
            description="An existing bucket that the role must not reach, best one of the archive account",
        ),
    },
)
def check_least_privilege() -> None:
    """Check least privilege; see the module."""
    LeastPrivilegeCheckOperator(
        task_id="check",
        bucket=SETTINGS.archive.bucket,
        aws_conn_id=SETTINGS.archive.connection,
        prefix=SETTINGS.archive.prefix,
        acl=SETTINGS.archive.acl,
        kms_key_arn=SETTINGS.archive.kms_key_arn,
        other_bucket="{{ params.other_bucket or '' }}",
        read_conn_id=SETTINGS.verify.read_connection,
        checks="{{ params.checks | join(',') }}",
        accepted_risks=SETTINGS.accepted_risks,
        # It takes seconds. Where nothing responds, each of the requests would be repeated for minutes.
        execution_timeout=timedelta(minutes=30),
    )


check_least_privilege()
