"""From an Airflow connection to a role that can be assumed."""

from __future__ import annotations

import os

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from airflow.sdk.log import mask_secret

from log_archival.aws import connection
from log_archival.exceptions import ConnectionSettingsError

DEFAULT_CONN_ID = "log_archive"


def whose(hook: S3Hook) -> str:
    """Whose credentials assume the role, for messages."""
    return f"the credentials of connection {hook.aws_conn_id!r}"


def checked_connection(hook: S3Hook, bucket: str) -> tuple[connection.RoleSettings, AwsConnectionWrapper]:
    """Read a hook's connection: the role, and the provider's view of the connection.

    :raises ConnectionSettingsError: when it is not right
    """
    conn_id = hook.aws_conn_id or DEFAULT_CONN_ID
    airflow_connection = hook.get_connection(conn_id)
    if airflow_connection.conn_type != "aws":
        raise ConnectionSettingsError(
            f"connection {conn_id!r} is of type {airflow_connection.conn_type!r}; it has to be `aws`"
        )
    wrapper = AwsConnectionWrapper(
        airflow_connection, region_name=hook._region_name, botocore_config=hook._config, verify=hook._verify
    )
    role = connection.role_settings(
        conn_id,
        wrapper.extra_config,
        region=wrapper.region_name or os.environ.get("AWS_DEFAULT_REGION"),
        bucket=bucket,
        long_term_key=bool(wrapper.aws_access_key_id and not wrapper.aws_session_token),
    )
    # The external id is a shared secret of a kind: no log may have it.
    mask_secret(role.external_id)
    return role, wrapper
