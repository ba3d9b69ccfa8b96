"""The operators, for this project's DAGs and anybody else's."""

from log_archival.operators.base import DEFAULT_ARGS, failing_at_once, run_partition
from log_archival.operators.least_privilege import LeastPrivilegeCheckOperator
from log_archival.operators.put import CrossAccountPutOperator
from log_archival.operators.verify import VerifyArchiveOperator

__all__ = [
    "DEFAULT_ARGS",
    "CrossAccountPutOperator",
    "LeastPrivilegeCheckOperator",
    "VerifyArchiveOperator",
    "failing_at_once",
    "run_partition",
]
