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

from log_archival.aws.connection import RoleSettings, role_settings, session_name
from log_archival.aws.errors import Request, translated_errors, writer_hint


class CrossAccountSessionFactory(BaseSessionFactory):
    """Checks a connection that has an ``external_id``, sends it, and explains a refusal.

    A connection without a top-level ``external_id`` is left exactly as the provider has it.
    """

    @cached_property
    def conn(self) -> AwsConnectionWrapper:
        """The connection, with the external id where the provider looks for it.

        :raises ConnectionSettingsError: with everything that is wrong
        """
        conn = super().conn
        if "external_id" in conn.extra_config:
            role = checked_role(conn)
            # The trust policy accepts no other session names than ours.
            name = session_name("test_connection", str(conn.conn_id), "", 1)
            conn.assume_role_kwargs = {
                "RoleSessionName": name,
                **conn.assume_role_kwargs,
                "ExternalId": role.external_id,
            }
        return conn

    def _assume_role(self, sts_client: Any) -> dict[str, Any]:
        if "external_id" not in self.conn.extra_config:
            return super()._assume_role(sts_client)
        request = Request("AssumeRole", str(self.role_arn), f"the credentials of connection {self.conn.conn_id!r}")
        with translated_errors(request, hint=writer_hint):
            return super()._assume_role(sts_client)


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
