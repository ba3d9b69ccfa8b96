"""What sources in AWS share: an Airflow connection, a region, and one client."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from botocore.config import Config

from log_archival.aws.per_process import PerProcess
from log_archival.sources.base import BundleSize, ClientFactory, Source


def boto3_client(service: str, _connection: str, region: str | None, config: Config) -> Any:
    """Return a client whose credentials boto3 finds by itself: outside of Airflow there are no connections.

    :param service: the AWS service
    :param region: of the service; None for the one that boto3 finds
    :param config: the client's settings
    """
    import boto3  # takes some tenths of a second, for which reading archive.yaml does not wait

    session: Any = boto3.session.Session()
    return session.client(service, region_name=region, config=config)


@dataclass(frozen=True, kw_only=True)
class AwsSource(Source):
    """The base of sources that are read with a client of boto3's.

    :param connection: the id of an Airflow connection of the source account
    :param region: of the logs; None for the connection's own
    :param bundle: small log files are put together, in objects that have at most so many bytes before compression
    :param new_client: makes the client; not a key of archive.yaml, which can't hold a function
    """

    #: The AWS service.
    service: ClassVar[str]
    #: The client's settings, where the connection has no others.
    client_config: ClassVar[Config]

    connection: str = "aws_default"
    region: str | None = None
    bundle: BundleSize = None
    new_client: ClientFactory = field(default=boto3_client, repr=False, compare=False)

    def with_clients(self, new_client: ClientFactory) -> Self:
        """Return this source with another way to make its client.

        :param new_client: makes a boto3 client
        """
        return replace(self, new_client=new_client)

    @property
    def client(self) -> Any:
        """The client, which all threads of a process share."""
        return self._client()

    @cached_property
    def _client(self) -> PerProcess[Any]:
        return PerProcess(self.make_client)

    def make_client(self) -> Any:
        """Return a new client."""
        return self.new_client(self.service, self.connection, self.region, self.client_config)
