"""From Airflow's connections to a writer or a reader of the archive."""

from log_archival.hooks.archive import ArchiveReaderHook, CrossAccountS3Hook

__all__ = ["ArchiveReaderHook", "CrossAccountS3Hook"]
