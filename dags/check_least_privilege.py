"""
### Prove that the archive account's role can add logs, and do nothing else

Each row of the grid is one request, sent for real: what must work, and what must be refused. `report` has the table
of all of them in its log. Nothing that is tried can harm an archive, even where it is wrongly permitted.

**When it fails**, the log of the red row, and of `report`, says what was tried, what happened, and which statement of
which template to correct. If a risk is known and accepted, add the row's name to `accepted_risks` in
`include/archive.yaml`.

**To run it now**, trigger it. With `other_bucket`, a bucket of the archive account that holds something else, it
also checks that the role can't reach that one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag

from log_archival.config import load_settings, settings_file
from log_archival.least_privilege.checks import CHECKS, require_known_checks
from log_archival.operators import DEFAULT_ARGS
from log_archival.operators.least_privilege import (
    ChooseChecksOperator,
    LeastPrivilegeCheckOperator,
    LeastPrivilegeReportOperator,
)

SETTINGS = load_settings(settings_file(Path(__file__).parent.parent / "include" / "archive.yaml"))
ACCEPTED_RISKS = require_known_checks(SETTINGS.accepted_risks, "accepted_risks")
ARCHIVE: dict[str, Any] = {
    "bucket": SETTINGS.archive.bucket,
    "aws_conn_id": SETTINGS.archive.connection,
    "prefix": SETTINGS.archive.prefix,
    "acl": SETTINGS.archive.acl,
    "kms_key_arn": SETTINGS.archive.kms_key_arn,
    "read_conn_id": SETTINGS.verify.read_connection,
    "other_bucket": "{{ params.other_bucket or '' }}",
}


@dag(
    # Without a start date, the first run is that of the next Monday, and not one at once for the last.
    schedule=CronTriggerTimetable("0 6 * * 1", timezone=SETTINGS.schedule.timezone),
    catchup=False,
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
    choose = ChooseChecksOperator(task_id="choose", checks="{{ params.checks | join(',') }}", **ARCHIVE)
    check = LeastPrivilegeCheckOperator.partial(
        task_id="check", map_index_template="{{ task.check }}", accepted_risks=ACCEPTED_RISKS, **ARCHIVE
    ).expand(check=choose.output)
    report = LeastPrivilegeReportOperator(
        task_id="report", accepted_risks=ACCEPTED_RISKS, trigger_rule="all_done", retries=0
    )
    check >> report


check_least_privilege()
