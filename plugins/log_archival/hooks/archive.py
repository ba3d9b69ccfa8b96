"""The hooks: from an Airflow connection with role and external id to a writer or a reader of the archive."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import boto3
from airflow.providers.amazon.aws.hooks.base_aws import BaseSessionFactory
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from airflow.sdk import BaseHook
from botocore.config import Config

from log_archival.aws.connection import DEFAULT_ACL, DEFAULT_CONN_ID, RoleSettings, session_name, session_policy
from log_archival.aws.errors import Request, translated_errors, writer_hint
from log_archival.aws.writer import DEFAULT_MAX_CONCURRENT_REQUESTS, ArchiveWriter
from log_archival.hooks.assumed_role import AssumedRole
from log_archival.keys import DEFAULT_PREFIX
from log_archival.reader.archive import ArchiveReader

#: How many objects verification at tier `read` requests at once.
MAX_CONCURRENT_READS = 16


class CrossAccountS3Hook(BaseHook):
    """Assumes the archive account's role, and gives the writer that puts objects into its bucket.

    :param aws_conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    :param prefix: the session is narrowed to keys that begin with this
    :param session_name: the RoleSessionName, see `log_archival.aws.connection.session_name`; random by default
    :param acl: the canned ACL to send; None sends none
    :param kms_key_arn: the archive account's KMS key, when its bucket is encrypted with one
    :param max_concurrent_requests: how many requests to send at once
    :param kwargs: of the provider's AwsBaseHook: ``region_name``, ``verify``, ``config``
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
        super().__init__()
        self.aws_conn_id = aws_conn_id
        self.bucket = bucket
        self.prefix = prefix
        self.session_name = session_name
        self.acl = acl
        self.kms_key_arn = kms_key_arn
        self.max_concurrent_requests = max_concurrent_requests
        self._kwargs = kwargs

    @property
    def role(self) -> RoleSettings:
        """The role to assume.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return self._assumed_role.role

    @property
    def conn_config(self) -> AwsConnectionWrapper:
        """The provider's view of the connection: region, endpoints, proxies, certificates.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return self._assumed_role.conn_config

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
            self._assumed_role.get_conn,
            bucket=self.bucket,
            account=self.role.account,
            prefix=self.prefix,
            role_arn=self.role.role_arn,
            session_name=self._assumed_role.session_name,
            assumed_by=self._assumed_role.owner,
            acl=self.acl,
            max_concurrent_requests=self.max_concurrent_requests,
        )

    def get_conn(self) -> ArchiveWriter:
        """Return the writer, under the name that Airflow gives it."""
        return self.writer

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the role can be assumed, for Airflow's *Test connection*."""
        try:
            self.writer.assume_role()
        except Exception as error:
            return False, str(error)
        return True, f"assumed {self.role.role_arn}"

    @cached_property
    def _assumed_role(self) -> AssumedRole:
        return AssumedRole(
            self.aws_conn_id,
            bucket=self.bucket,
            client_config=Config(
                max_pool_connections=self.max_concurrent_requests,
                retries={"mode": "standard", "total_max_attempts": 5},
                # The signed x-amz-checksum-sha256 header protects the body; hashing it again adds nothing.
                s3={"payload_signing_enabled": False},
            ),
            session_arguments=self._session_arguments,
            **self._kwargs,
        )

    def _session_arguments(self, role: RoleSettings) -> Mapping[str, Any]:
        return {
            "RoleSessionName": self.session_name or session_name("-", "-", secrets.token_hex(8), 1),
            "Policy": session_policy(
                aws_partition=role.aws_partition,
                bucket=self.bucket,
                prefix=self.prefix,
                with_acl=self.acl is not None,
                kms_key_arn=self.kms_key_arn,
            ),
        }


class ArchiveReaderHook(BaseHook):
    """Assumes the archive account's reader role, for verification at tier `read`.

    :param aws_conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    """

    def __init__(self, aws_conn_id: str, *, bucket: str) -> None:
        super().__init__()
        self.aws_conn_id = aws_conn_id
        self.bucket = bucket

    def get_conn(self) -> ArchiveReader:
        """Assume the role, and return the reader.

        :raises ConnectionSettingsError: when the connection is not right
        :raises RefusedError: when the role can't be assumed
        """
        assumed = AssumedRole(
            self.aws_conn_id,
            bucket=self.bucket,
            # What is read is hashed by verification itself.
            client_config=Config(
                max_pool_connections=MAX_CONCURRENT_READS, response_checksum_validation="when_required"
            ),
            session_arguments=lambda _: {"RoleSessionName": session_name("verify", "-", secrets.token_hex(8), 1)},
        )
        request = Request("AssumeRole", assumed.role.role_arn, assumed.owner)
        with translated_errors(request, hint=writer_hint, setup=assumed.owner):
            return ArchiveReader(assumed.get_conn(), self.bucket)
