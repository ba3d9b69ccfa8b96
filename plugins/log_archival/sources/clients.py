"""The clients of sources outside of Airflow; operators pass factories that use Airflow's connections."""

from typing import Any

from botocore.config import Config

#: Of a source's client: as many connections as any source has reads under way, and a few attempts.
CLIENT_CONFIG = Config(max_pool_connections=32, retries={"mode": "standard", "total_max_attempts": 5})


def plain_client(service: str, connection: str, region: str | None) -> Any:
    """Return a boto3 client with the credentials that boto3 finds by itself, as the AWS CLI does.

    :param service: for example ``s3``
    :param connection: is not used: this is for where there is no Airflow
    :param region: None for the one of the environment or profile
    """
    import boto3  # takes a fifth of a second, and is not needed to parse a DAG

    session: Any = boto3.session.Session()  # not boto3's default one, which threads must not share
    return session.client(service, region_name=region, config=CLIENT_CONFIG)
