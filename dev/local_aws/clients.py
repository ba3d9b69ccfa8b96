"""boto3 clients of the local AWS accounts, which ignore the caller's AWS configuration."""

import functools
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConstantProvider

REGION = "eu-central-1"


@dataclass(frozen=True)
class Credentials:
    """An access key, with a token if it is a session's. Only the key's id is shown."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Session:
    """Creates clients that act as one identity of the local accounts."""

    endpoint_url: str
    credentials: Credentials

    def client(self, service: str, *, vpce: str | None = None, transport: str | None = None) -> Any:
        """Return a boto3 client. The two claims are a feature of the local server.

        :param vpce: id of the VPC endpoint that the requests claim to come through.
        :param transport: `http`, or the TLS version that the requests claim to come over instead of 1.3.
        """
        client = isolated_session().client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.credentials.access_key,
            aws_secret_access_key=self.credentials.secret_key,
            aws_session_token=self.credentials.token,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60, proxies={}),
        )
        claims = {"x-local-vpce": vpce, "x-local-transport": transport}
        headers = {name: value for name, value in claims.items() if value is not None}
        client.meta.events.register("before-send", lambda request, **_: request.headers.update(headers))
        client.meta.events.register("before-sign.s3-control", self._drop_account)
        return client

    def _drop_account(self, request: Any, **_: Any) -> None:
        """Send a request of S3 Control to the endpoint itself: 127.0.0.1 has no subdomain for each account."""
        request.url = self.endpoint_url + urlsplit(request.url)._replace(scheme="", netloc="").geturl()


@functools.cache
def isolated_session() -> Any:
    """Return a boto3 session with botocore's defaults, without the caller's files, profiles and variables."""
    core = botocore.session.Session()
    settings = core.get_component("config_store")
    for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        value = os.devnull if name in ("config_file", "credentials_file") else default
        settings.set_config_provider(name, ConstantProvider(value))
    return boto3.Session(botocore_session=core)
