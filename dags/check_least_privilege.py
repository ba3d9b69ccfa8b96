"""
### Prove that the archive account's role can add logs, and do nothing else

Each row of the grid is one request, sent for real: what must work, and what must be refused. `report` has the table
of all of them in its log. Nothing that is tried can harm an archive, even where it is wrongly permitted.

**When it fails**, the log of the red row, and of `report`, says what was tried, what happened, and which statement of
which template is to be mended. A risk that is known and accepted goes, by the row's name, into `accepted_risks` of
`include/archive.yaml`.

**To run it now**, trigger it. With `other_bucket`, a bucket of the archive account that holds something else, it
also checks that the role can't reach that one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from log_archival.exceptions import SettingsError
from log_archival.operators import DEFAULT_ARGS, LeastPrivilegeCheckOperator, failing_at_once, least_privilege
from log_archival.least_privilege.checks import CHECKS
from log_archival.least_privilege.judgement import require_known
from log_archival.config import load_settings, settings_file

SETTINGS = load_settings(settings_file(Path(__file__).parent.parent / "include" / "archive.yaml"))
ACCEPTED = sorted(require_known(SETTINGS.accepted_risks, CHECKS))
ARCHIVE: dict[str, Any] = {
    "bucket": SETTINGS.archive.bucket,
    "aws_conn_id": SETTINGS.archive.connection,
    "prefix": SETTINGS.archive.prefix,
    "acl": SETTINGS.archive.acl,
    "kms_key_arn": SETTINGS.archive.kms_key_arn,
    "read_conn_id": SETTINGS.verify.read_connection,
}
NOT_TRIED = "not_tried"


def _settings(context: Any) -> dict[str, Any]:
    return {**ARCHIVE, "other_bucket": context["params"]["other_bucket"]}


@task(multiple_outputs=False)
def choose() -> list[str]:
    """List the checks that can be tried here, and say why the others can't."""
    context = get_current_context()
    with failing_at_once():
        operator = LeastPrivilegeCheckOperator(task_id="target", **_settings(context))
        chosen, not_tried = least_privilege.choose_checks(operator.target(context), context["params"]["checks"])
    context["ti"].xcom_push(key=NOT_TRIED, value=not_tried)
    return chosen


@task(trigger_rule="all_done", retries=0)
def report() -> dict[str, Any]:
    """Print the table of all checks; fail when one is not as it must be and not accepted."""
    ti = get_current_context()["ti"]
    chosen: list[str] = ti.xcom_pull(task_ids="choose") or []
    left = ti.xcom_pull(task_ids="check", key=least_privilege.RESULT, map_indexes=list(range(len(chosen))))
    with failing_at_once():
        if not chosen:
            raise SettingsError("nothing was checked", hint="The log of `choose` says why.")
        results = least_privilege.collect_results(chosen, left)
        return least_privilege.report(results, ACCEPTED, ti.xcom_pull(task_ids="choose", key=NOT_TRIED))


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
    check = LeastPrivilegeCheckOperator.partial(
        task_id="check",
        map_index_template="{{ task.check }}",
        other_bucket="{{ params.other_bucket or '' }}",
        accepted_risks=ACCEPTED,
        **ARCHIVE,
    ).expand(check=choose())
    check >> report()


check_least_privilege()
