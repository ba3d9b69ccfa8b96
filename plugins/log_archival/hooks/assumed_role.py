"""An Airflow connection's role: its settings checked, and clients that act as it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from airflow.sdk.log import mask_secret
from botocore.config import Config

from log_archival.aws.connection import DEFAULT_CONN_ID, RoleSettings, role_settings
from log_archival.exceptions import ConnectionSettingsError


class AssumedRole(AwsGenericHook[Any]):
    """The provider's hook for S3, with the connection checked and the external id where the provider looks for it.

    The hooks of this package have one, rather than being one: its sixty public methods can delete and overwrite.

    :param conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    :param client_config: the client's settings, where the connection's own ``config_kwargs`` have no others
    :param session_arguments: returns arguments of AssumeRole (RoleSessionName, Policy), given the role
    """

    def __init__(
        self,
        conn_id: str,
        *,
        bucket: str,
        client_config: Config,
        session_arguments: Callable[[RoleSettings], Mapping[str, Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(aws_conn_id=conn_id or DEFAULT_CONN_ID, client_type="s3", **kwargs)
        self.bucket = bucket
        self.client_config = client_config
        self.session_arguments = session_arguments

    @property
    def role(self) -> RoleSettings:
        """The role to assume.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return self._checked[0]

    @property
    def conn_config(self) -> AwsConnectionWrapper:
        """The provider's view of the connection."""
        return self._checked[1]

    @property
    def owner(self) -> str:
        """Whose credentials assume the role, for messages."""
        return f"the credentials of connection {self.aws_conn_id!r}"

    @property
    def session_name(self) -> str:
        """The RoleSessionName."""
        return str(self.conn_config.assume_role_kwargs["RoleSessionName"])

    @cached_property
    def _checked(self) -> tuple[RoleSettings, AwsConnectionWrapper]:
        airflow_connection = self.get_connection(str(self.aws_conn_id))
        if airflow_connection.conn_type != "aws":
            raise ConnectionSettingsError(
                f"connection {self.aws_conn_id!r} is of type {airflow_connection.conn_type!r}; it has to be `aws`"
            )
        wrapper = AwsConnectionWrapper(
            airflow_connection, region_name=self._region_name, botocore_config=self._config, verify=self._verify
        )
        role = checked_role(wrapper, bucket=self.bucket)
        wrapper.assume_role_kwargs = {
            **self.session_arguments(role),
            **role.assume_role_kwargs,
            "ExternalId": role.external_id,
        }
        # What the connection's own config_kwargs say goes first.
        own = wrapper.botocore_config
        wrapper.botocore_config = self.client_config.merge(own) if own else self.client_config
        return role, wrapper


def checked_role(wrapper: AwsConnectionWrapper, bucket: str | None = None) -> RoleSettings:
    """Return the role of a connection, and have Airflow mask its external id in every log.

    :param wrapper: the provider's view of the connection
    :param bucket: the archive bucket, if it is known
    :raises ConnectionSettingsError: when the connection is not right
    """
    role = role_settings(
        str(wrapper.conn_id),
        wrapper.extra_config,
        region=wrapper.region_name or os.environ.get("AWS_DEFAULT_REGION"),
        bucket=bucket,
        long_term_key=bool(wrapper.aws_access_key_id and not wrapper.aws_session_token),
    )
    mask_secret(role.external_id)
    return role
