"""AWS clients for sources, from Airflow's connections."""

from typing import Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook


def source_client(service: str, conn_id: str, region: str | None) -> Any:
    """Return a boto3 client."""
    return AwsGenericHook(aws_conn_id=conn_id, client_type=service, region_name=region).get_conn()
