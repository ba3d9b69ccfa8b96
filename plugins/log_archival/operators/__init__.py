"""The operators, for this project's DAGs and anybody else's."""

from importlib.util import find_spec

if find_spec("airflow") is None:
    raise ImportError(
        "log_archival.operators needs Apache Airflow and its Amazon provider: pip install 'log-archival[airflow]'"
    )

from log_archival.operators.assets import archive_assets as archive_assets
from log_archival.operators.base import DEFAULT_ARGS as DEFAULT_ARGS
from log_archival.operators.collect import CollectLogsOperator as CollectLogsOperator
from log_archival.operators.compress import CompressLogsOperator as CompressLogsOperator
from log_archival.operators.least_privilege import LeastPrivilegeCheckOperator as LeastPrivilegeCheckOperator
from log_archival.operators.put import CrossAccountPutOperator as CrossAccountPutOperator
from log_archival.operators.verify import VerifyArchiveOperator as VerifyArchiveOperator
