"""The hooks: from an Airflow connection with role and external id to a writer or a reader of the archive."""

from functools import cached_property, partial
from typing import Any

from botocore.config import Config

from log_archival.airflow_versions import BaseHook
from log_archival.aws.connection import DEFAULT_ACL, DEFAULT_CONN_ID, require_acl, require_kms_key_arn, session_policy
from log_archival.aws.errors import Request, translated_errors, writer_hint
from log_archival.aws.payload_signing import sign_known_payloads
from log_archival.aws.per_process import PerProcess
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
    :param kwargs: of the provider's AwsGenericHook: ``region_name``, ``verify``, ``config``
    :raises SettingsError: for another ACL, or what is no KMS key's ARN
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
        self.bucket = bucket
        self.prefix = prefix
        self.acl = require_acl(acl)
        self.max_concurrent_requests = max_concurrent_requests
        self._role = AssumedRole(
            aws_conn_id,
            bucket=bucket,
            session_name=session_name,
            new_session_policy=partial(
                session_policy,
                bucket=bucket,
                prefix=prefix,
                with_acl=acl is not None,
                kms_key_arn=require_kms_key_arn(kms_key_arn),
            ),
            client_config=Config(
                max_pool_connections=max_concurrent_requests,
                retries={"mode": "standard", "total_max_attempts": 5},
                # `sign_known_payloads` signs the SHA-256 that is known; where it doesn't, nothing is hashed again.
                s3={"payload_signing_enabled": False},
            ),
            **kwargs,
        )

    @property
    def role_arn(self) -> str:
        """The role in the archive account.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return self._role.role.role_arn

    @cached_property
    def writer(self) -> ArchiveWriter:
        """The writer; the role is assumed with its first request.

        :raises ConnectionSettingsError: when the connection is not right
        """
        return ArchiveWriter(
            PerProcess(self._new_client),
            bucket=self.bucket,
            prefix=self.prefix,
            role_arn=self.role_arn,
            session_name=self._role.conn_config.assume_role_kwargs["RoleSessionName"],
            assumed_by=self._role.assumed_by,
            acl=self.acl,
            max_concurrent_requests=self.max_concurrent_requests,
        )

    def _new_client(self) -> Any:
        client = self._role.new_client()
        sign_known_payloads(client)
        return client

    def get_conn(self) -> ArchiveWriter:
        """Return the writer, under the name that Airflow gives it."""
        return self.writer


class ArchiveReaderHook(BaseHook):
    """Assumes the archive account's reader role, for verification at tier `read`.

    :param aws_conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    """

    def __init__(self, aws_conn_id: str, *, bucket: str) -> None:
        super().__init__()
        self.bucket = bucket
        # What is read is hashed by verification itself.
        config = Config(max_pool_connections=MAX_CONCURRENT_READS, response_checksum_validation="when_required")
        self._role = AssumedRole(aws_conn_id, bucket=bucket, client_config=config)

    def get_conn(self) -> ArchiveReader:
        """Assume the role, and return the reader.

        :raises ConnectionSettingsError: when the connection is not right
        :raises RefusedError: when the role can't be assumed
        """
        request = Request("AssumeRole", self._role.role.role_arn, self._role.assumed_by)
        with translated_errors(request, hint=writer_hint, setup=request.who):
            return ArchiveReader(self._role.get_conn(), self.bucket, workers=MAX_CONCURRENT_READS)
