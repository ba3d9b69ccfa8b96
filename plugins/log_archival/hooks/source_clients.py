"""From an Airflow connection to a client for a source of logs."""

from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from botocore.config import Config

from log_archival.airflow_versions import mask_secret
from log_archival.aws.connection import check_connection
from log_archival.aws.errors import Request, hint_of_code, hint_of_refused_role, translated_errors
from log_archival.hooks.aws_connection import find_connection


def source_client(service: str, conn_id: str, region: str | None, config: Config) -> Any:
    """Return a boto3 client; this is a `ClientFactory` of `log_archival.sources.base`.

    :param service: the AWS service, for example ``s3`` or ``logs``
    :param conn_id: a connection of type `aws`, which may have a ``role_arn``, and an ``external_id`` for it. When
        `aws_default` is not defined, boto3 finds credentials by itself
    :param region: the region; None for the connection's own, or the one that boto3 finds
    :param config: the client's settings, where the connection's own ``config_kwargs`` have no others
    :raises ConnectionSettingsError: when the connection is not right
    :raises RefusedError: when its role can't be assumed
    :raises ArchiveRequestError: when that may help to try again
    """
    connection = find_connection(conn_id)
    settings = check_connection(
        conn_id,
        connection.extra,
        region=region,
        login=connection.login,
        password=connection.password,
        services=(service,),
    )
    hook = AwsGenericHook[Any](aws_conn_id=conn_id, client_type=service, region_name=settings.region)
    conn = hook.conn_config
    if settings.external_id:
        mask_secret(settings.external_id)
        conn.assume_role_kwargs |= {"ExternalId": settings.external_id}
    conn.botocore_config = config.merge(conn.botocore_config or Config())
    who = f"the credentials of connection {conn_id!r}"
    request = Request("AssumeRole", conn.role_arn, who) if conn.role_arn else Request("A client of", service, who)
    with translated_errors(request, hint=_hint, setup=who):
        return hook.get_conn()


def _hint(request: Request, code: str, message: str) -> str:
    return (
        hint_of_refused_role(request, code)
        or hint_of_code(code)
        or f"Check that {request.who} may assume the role, and that the role's trust policy names them, and the"
        " connection the external id that it asks for."
    )
