"""The hooks: from an Airflow connection with role and external id to a writer or a reader of the archive."""

from __future__ import annotations

import secrets
from functools import cached_property
from typing import Any

import boto3
from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook, BaseSessionFactory
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from botocore.config import Config

from log_archival.aws.connection import DEFAULT_ACL, DEFAULT_CONN_ID, RoleSettings, session_name, session_policy
from log_archival.aws.errors import Request, translated_errors, writer_hint
from log_archival.aws.writer import DEFAULT_MAX_CONCURRENT_REQUESTS, ArchiveWriter
from log_archival.exceptions import ConnectionSettingsError
from log_archival.hooks.session import checked_role
from log_archival.keys import DEFAULT_PREFIX
from log_archival.reader.archive import ArchiveReader

#: How many objects verification at tier `read` requests at once.
MAX_CONCURRENT_READS = 16


class _RoleHook(AwsGenericHook[Any]):
    """The provider's hook, with the connection checked and the external id where the provider looks for it.

    It is not the provider's S3Hook, whose sixty public methods can delete and overwrite.

    :param aws_conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    :param session_name: the RoleSessionName; random by default
    :param client_config: the client's settings, where the connection's own ``config_kwargs`` have no others
    :param kwargs: of the provider's AwsGenericHook
    """

    def __init__(
        self, aws_conn_id: str, *, bucket: str, session_name: str | None, client_config: Config, **kwargs: Any
    ) -> None:
        super().__init__(aws_conn_id=aws_conn_id or DEFAULT_CONN_ID, client_type="s3", **kwargs)
        self.bucket = bucket
        self.session_name = session_name
        self.client_config = client_config

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
    def _owner(self) -> str:
        return f"the credentials of connection {self.aws_conn_id!r}"

    @cached_property
    def _checked(self) -> tuple[RoleSettings, AwsConnectionWrapper]:
        connection = self.get_connection(str(self.aws_conn_id))
        if connection.conn_type != "aws":
            raise ConnectionSettingsError(
                f"connection {self.aws_conn_id!r} is of type {connection.conn_type!r}; it has to be `aws`"
            )
        wrapper = AwsConnectionWrapper(connection, self._region_name, self._config, self._verify)
        role = checked_role(wrapper, bucket=self.bucket)
        wrapper.assume_role_kwargs |= {"ExternalId": role.external_id, **self._session_arguments(role)}
        wrapper.botocore_config = self.client_config.merge(wrapper.botocore_config or Config())
        return role, wrapper

    def _session_arguments(self, _: RoleSettings) -> dict[str, str]:
        return {"RoleSessionName": self.session_name or session_name("-", "-", secrets.token_hex(8), 1)}


class CrossAccountS3Hook(_RoleHook):
    """Assumes the archive account's role, and gives the writer that puts objects into its bucket.

    :param aws_conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    :param prefix: the session is narrowed to keys that begin with this
    :param session_name: the RoleSessionName, see `log_archival.aws.connection.session_name`; random by default
    :param acl: the canned ACL to send; None sends none
    :param kms_key_arn: the archive account's KMS key, when its bucket is encrypted with one
    :param max_concurrent_requests: how many requests to send at once
    :param kwargs: of the provider's AwsGenericHook: ``region_name``, ``verify``, ``config``
    """

    def __init__(
        self,
        aws_conn_id: str = DEFAULT_CONN_ID,
        *,
        bucket: str,
        prefix: str = DEFAULT_PREFIX,
        session_name: str | None = None,
        acl: str | None = DEFAULT_ACL,
        kms_key_arn: str | None = None,
        max_concurrent_requests: int = DEFAULT_MAX_CONCURRENT_REQUESTS,
        **kwargs: Any,
    ) -> None:
        client_config = Config(
            max_pool_connections=max_concurrent_requests,
            retries={"mode": "standard", "total_max_attempts": 5},
            # The signed x-amz-checksum-sha256 header protects the body; hashing it again adds nothing.
            s3={"payload_signing_enabled": False},
        )
        super().__init__(aws_conn_id, bucket=bucket, session_name=session_name, client_config=client_config, **kwargs)
        self.prefix = prefix
        self.acl = acl
        self.kms_key_arn = kms_key_arn
        self.max_concurrent_requests = max_concurrent_requests

    def source_session(self) -> boto3.session.Session:
        """Return a session with the connection's own credentials, which has not assumed the role.

        :raises ConnectionSettingsError: when the connection is not right
        """
        conn = self.conn_config
        return BaseSessionFactory(conn, region_name=conn.region_name, config=conn.botocore_config).basic_session

    @cached_property
    def writer(self) -> ArchiveWriter:
        """The writer; the role is assumed with its first request.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return ArchiveWriter(
            super().get_conn,
            bucket=self.bucket,
            prefix=self.prefix,
            role_arn=self.role.role_arn,
            session_name=self.conn_config.assume_role_kwargs["RoleSessionName"],
            assumed_by=self._owner,
            acl=self.acl,
            max_concurrent_requests=self.max_concurrent_requests,
        )

    def get_conn(self) -> ArchiveWriter:
        """Return the writer, under the name that Airflow gives it."""
        return self.writer

    def _session_arguments(self, role: RoleSettings) -> dict[str, str]:
        policy = session_policy(
            aws_partition=role.aws_partition,
            bucket=self.bucket,
            prefix=self.prefix,
            with_acl=self.acl is not None,
            kms_key_arn=self.kms_key_arn,
        )
        return {**super()._session_arguments(role), "Policy": policy}


class ArchiveReaderHook(_RoleHook):
    """Assumes the archive account's reader role, for verification at tier `read`.

    :param aws_conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    """

    def __init__(self, aws_conn_id: str, *, bucket: str) -> None:
        # What is read is hashed by verification itself.
        config = Config(max_pool_connections=MAX_CONCURRENT_READS, response_checksum_validation="when_required")
        name = session_name("verify", "-", secrets.token_hex(8), 1)
        super().__init__(aws_conn_id, bucket=bucket, session_name=name, client_config=config)

    def get_conn(self) -> ArchiveReader:
        """Assume the role, and return the reader.

        :raises ConnectionSettingsError: when the connection is not right
        :raises RefusedError: when the role can't be assumed
        """
        with translated_errors(Request("AssumeRole", self.role.role_arn, self._owner), hint=writer_hint):
            return ArchiveReader(super().get_conn(), self.bucket, workers=MAX_CONCURRENT_READS)
