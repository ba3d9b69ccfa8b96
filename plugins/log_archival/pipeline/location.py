"""Where a run directory is: on this machine, or in S3."""

import re
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from log_archival.aws.per_process import PerProcess
from log_archival.exceptions import SettingsError
from log_archival.pipeline.folder import Folder
from log_archival.pipeline.local_folder import LocalFolder
from log_archival.pipeline.s3_folder import CLIENT_CONFIG, S3Folder
from log_archival.sources.aws_source import boto3_client
from log_archival.sources.base import ClientFactory


def folder_of(url: str, new_client: ClientFactory = boto3_client) -> Folder:
    """Return a folder; its `str` is such a URL.

    :param url: a local path, a ``file://`` URL, or ``s3://CONNECTION@BUCKET/FOLDER``; without a connection, it is
        `aws_default`
    :param new_client: makes the client of S3 from the connection
    :raises SettingsError: for another URL
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return LocalFolder(Path(unquote(parts.path) if parts.scheme else url))
    match = re.fullmatch(r"s3://(?:([^/]*)@)?([^/@]+)(?:/(.*))?", url, re.DOTALL)
    if not match:
        raise SettingsError(f"{url!r} is neither a path nor of the form s3://CONNECTION@BUCKET/FOLDER")
    connection, bucket, folder = match.groups(default="")
    client = PerProcess(partial(new_client, "s3", connection or "aws_default", None, CLIENT_CONFIG))
    client()  # what is wrong with the connection is said before anything is done
    return S3Folder(client, connection, bucket, f"{folder.strip('/')}/".lstrip("/"))
