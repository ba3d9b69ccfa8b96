"""Where a run directory is: on this machine, or in any object store that Airflow knows."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow.sdk import ObjectStoragePath


def path_of(url: str) -> Any:
    """Return the path of a file or folder, pathlib's or Airflow's; `str` of it is a URL for `path_of`.

    :param url: a local path, a ``file://`` URL, or an ``s3://`` URL of the source account; with a connection
        as ObjectStoragePath has it: ``s3://aws_default@bucket/staging``
    """
    parts = urlsplit(url)
    if parts.scheme not in ("", "file"):
        return ObjectStoragePath(url)
    # The standard library is several times faster than a file system layer on 100,000 small archives.
    return Path(unquote(parts.path) if parts.scheme else url)
