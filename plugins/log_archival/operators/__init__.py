"""The operators, for this project's DAGs and anybody else's."""

from log_archival.operators.base import DEFAULT_ARGS
from log_archival.operators.collect import CollectLogsOperator
from log_archival.operators.compress import CompressLogsOperator
from log_archival.operators.least_privilege import LeastPrivilegeCheckOperator
from log_archival.operators.put import CrossAccountPutOperator
from log_archival.operators.verify import VerifyArchiveOperator

__all__ = [
    "DEFAULT_ARGS",
    "CollectLogsOperator",
    "CompressLogsOperator",
    "CrossAccountPutOperator",
    "LeastPrivilegeCheckOperator",
    "VerifyArchiveOperator",
]
