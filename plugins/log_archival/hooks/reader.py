"""The hook of tier `read`: a second connection, whose role may read."""

from __future__ import annotations

import secrets
from functools import cached_property
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from botocore.config import Config
from botocore.exceptions import ClientError

from log_archival.aws import connection
from log_archival.hooks.assumed_role import checked_connection, whose
from log_archival.aws.errors import Attempt, refusal

#: How many objects are looked at at once.
READERS = 16


class ArchiveReaderHook(S3Hook):
    """For tier `read`: assumes the archive account's reader role, from a connection of the same form.

    :param aws_conn_id: a connection of type `aws` whose extra has ``role_arn`` and ``external_id``
    :param bucket: the archive bucket
    """

    hook_name = "Cross-account log archive, reading"

    def __init__(self, aws_conn_id: str, *, bucket: str, **kwargs: Any) -> None:
        super().__init__(aws_conn_id=aws_conn_id, **kwargs)
        self.bucket = bucket

    @cached_property
    def conn_config(self) -> AwsConnectionWrapper:
        """The provider's view of the connection, with what it ignores put where it looks."""
        role, wrapper = checked_connection(self, self.bucket)
        wrapper.assume_role_kwargs = {
            "RoleSessionName": connection.session_name("verify", "-", secrets.token_hex(8), 1),
            **role.assume_role_kwargs,
            "ExternalId": role.external_id,
        }
        # Verification hashes what it reads by itself.
        defaults = Config(max_pool_connections=READERS, response_checksum_validation="when_required")
        wrapper.botocore_config = defaults.merge(wrapper.botocore_config) if wrapper.botocore_config else defaults
        return wrapper

    def client(self) -> Any:
        """An S3 client that may read.

        :raises RefusedError: when the role can't be assumed
        """
        try:
            return self.get_conn()
        except ClientError as error:
            role = str(self.conn_config.role_arn)
            raise refusal(Attempt("AssumeRole", whose(self), role), error.response) from error
