"""From Airflow's connections to a writer or a reader of the archive."""

from importlib.util import find_spec

if find_spec("airflow") is None:
    raise ImportError(
        "log_archival.hooks needs Apache Airflow and its Amazon provider: pip install 'log-archival[airflow]'"
    )

from log_archival.hooks.archive import ArchiveReaderHook, CrossAccountS3Hook

__all__ = ["ArchiveReaderHook", "CrossAccountS3Hook"]
