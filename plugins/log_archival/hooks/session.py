"""A session factory with which Airflow's *Test connection* works for connections that have an ``external_id``.

The provider's own hook tests a connection of type `aws`, and it reads no top-level ``external_id``: the role is assumed
without one, and refused. The provider lets a deployment name another session factory::

    [aws]
    session_factory = log_archival.hooks.session.CrossAccountSessionFactory

https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/connections/aws.html#session-factory
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import BaseSessionFactory
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from airflow.sdk.log import mask_secret
from botocore.exceptions import ClientError

from log_archival.aws import connection
from log_archival.aws.errors import Attempt, refusal


class CrossAccountSessionFactory(BaseSessionFactory):
    """Checks a connection that has an ``external_id``, sends it, and says what a refusal means.

    A connection without a top-level ``external_id`` is left exactly as the provider has it.
    """

    @cached_property
    def conn(self) -> AwsConnectionWrapper:
        """The connection, with the external id where the provider looks for it.

        :raises ConnectionSettingsError: with all that is wrong
        """
        conn = super().conn
        if not self._is_ours(conn):
            return conn
        role = connection.role_settings(
            str(conn.conn_id),
            conn.extra_config,
            region=conn.region_name or os.environ.get("AWS_DEFAULT_REGION"),
            long_term_key=bool(conn.aws_access_key_id and not conn.aws_session_token),
        )
        mask_secret(role.external_id)
        conn.assume_role_kwargs = {
            # The trust policy takes no other session names than ours.
            "RoleSessionName": connection.session_name("test_connection", str(conn.conn_id), "", 1),
            **role.assume_role_kwargs,
            **conn.assume_role_kwargs,
            "ExternalId": role.external_id,
        }
        return conn

    @staticmethod
    def _is_ours(conn: AwsConnectionWrapper) -> bool:
        return bool(conn) and "external_id" in conn.extra_config

    def _assume_role(self, sts_client: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = super()._assume_role(sts_client)
        except ClientError as error:
            if not self._is_ours(self.conn):
                raise
            who = f"the credentials of connection {self.conn.conn_id!r}"
            raise refusal(Attempt("AssumeRole", who, str(self.role_arn)), error.response) from error
        return answer
