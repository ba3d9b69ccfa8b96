"""An Airflow connection's role: the connection checked, and clients whose session is the role's."""

import secrets
from collections.abc import Callable
from functools import cached_property
from typing import Any

import boto3
from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook, BaseSessionFactory
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from botocore.config import Config

from log_archival.airflow_versions import mask_secret
from log_archival.aws.connection import DEFAULT_CONN_ID, RoleSettings, role_settings, session_name
from log_archival.hooks.aws_connection import find_connection


class AssumedRole(AwsGenericHook[Any]):
    """The provider's hook for S3, with the connection checked and the external id where the provider looks for it.

    The hooks of this package have one, and are none: its public methods could do whatever a role allows.

    :param conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    :param session_name: the RoleSessionName; random by default
    :param new_session_policy: returns the session policy, given ``aws_partition``; None for a session that may
        do all that the role may
    :param client_config: the client's settings, where the connection's own ``config_kwargs`` have no others
    :param kwargs: of the provider's AwsGenericHook: ``region_name``, ``verify``, ``config``
    """

    def __init__(
        self,
        conn_id: str,
        *,
        bucket: str,
        session_name: str | None = None,
        new_session_policy: Callable[..., str] | None = None,
        client_config: Config | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(aws_conn_id=conn_id or DEFAULT_CONN_ID, client_type="s3", **kwargs)
        self.bucket = bucket
        self.session_name = session_name
        self.new_session_policy = new_session_policy
        self.client_config = client_config or Config()

    @property
    def role(self) -> RoleSettings:
        """The role to assume.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return self._checked[0]

    @property
    def conn_config(self) -> AwsConnectionWrapper:
        """The provider's view of the connection: region, endpoints, proxies, certificates, AssumeRole's arguments.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return self._checked[1]

    @property
    def assumed_by(self) -> str:
        """Whose credentials assume the role, for messages."""
        return f"the credentials of connection {self.aws_conn_id!r}"

    def new_client(self) -> Any:
        """Return a client whose session has assumed the role now; `get_conn` returns the same one again.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return self.get_client_type(region_name=self.region_name)

    def source_session(self) -> boto3.session.Session:
        """Return a session with the connection's own credentials, which has not assumed the role.

        :raises ConnectionSettingsError: when the connection is not right
        """
        conn = self.conn_config
        return BaseSessionFactory(conn, region_name=conn.region_name, config=conn.botocore_config).basic_session

    @cached_property
    def _checked(self) -> tuple[RoleSettings, AwsConnectionWrapper]:
        connection = find_connection(str(self.aws_conn_id))
        role = role_settings(
            str(self.aws_conn_id),
            connection.extra,
            bucket=self.bucket,
            region=self._region_name,
            login=connection.login,
            password=connection.password,
        )
        wrapper = AwsConnectionWrapper(connection, role.region, self._config, self._verify)
        mask_secret(role.external_id)
        name = self.session_name or session_name("-", "-", secrets.token_hex(8), 1)
        wrapper.assume_role_kwargs |= {"ExternalId": role.external_id, "RoleSessionName": name}
        if self.new_session_policy:
            wrapper.assume_role_kwargs["Policy"] = self.new_session_policy(aws_partition=role.aws_partition)
        wrapper.botocore_config = self.client_config.merge(wrapper.botocore_config or Config())
        return role, wrapper
