"""The requests of the checks: a permanent error is a response, a transient one is raised; nothing secret is shown."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.hooks import HierarchicalEmitter

from log_archival.exceptions import ArchiveRequestError, RefusedError
from log_archival.least_privilege.attempts import Caller, Requester, Response
from tests.support.privilege_targets import TARGET


def failing(error: Exception) -> Callable[[str, Caller, bool], Any]:
    class Client:
        def put_object(self, **_: Any) -> None:
            raise error

    return lambda service, caller, tls: Client()


def client_error(code: str, status: int) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (client_error("SlowDown", 503), ArchiveRequestError),
        (client_error("Unknown", 502), ArchiveRequestError),
        (client_error("OperationAborted", 409), ArchiveRequestError),
        (EndpointConnectionError(endpoint_url="http://x"), ArchiveRequestError),
        (NoCredentialsError(), RefusedError),
    ],
    ids=["throttled", "bad gateway", "conflict", "no connection", "no credentials"],
)
def test_request_that_decides_nothing_raises(error: Exception, raised: type[ArchiveRequestError]) -> None:
    with pytest.raises(raised, match="PutObject s3://bucket/logs/x ") as caught:
        Requester(TARGET, failing(error)).put("source", Key="logs/x")
    assert caught.value.permanent == (raised is RefusedError)


@pytest.mark.parametrize(
    ("code", "status"),
    [("AccessDenied", 403), ("NoSuchKey", 404), ("PreconditionFailed", 412), ("NotImplemented", 501)],
)
def test_permanent_error_is_a_response(code: str, status: int) -> None:
    response = Requester(TARGET, failing(client_error(code, status))).put(caller="source")
    assert (response.code, response.message) == (code, "why")


def test_none_leaves_an_argument_out() -> None:
    sent: dict[str, Any] = {}

    class Client:
        def put_object(self, **arguments: Any) -> dict[str, Any]:
            sent.update(arguments)
            return {"ETag": "x"}

    response = Requester(TARGET, lambda service, caller, tls: Client()).put(caller="nobody", ACL=None, Tagging="a=b")
    assert response == Response(fields={"ETag": "x"})
    assert sent.keys() == {
        "Bucket", "Key", "Body", "ContentType", "IfNoneMatch", "ChecksumSHA256", "ExpectedBucketOwner", "Tagging"
    }  # fmt: skip


def test_functions_are_called_with_the_requester() -> None:
    sent: dict[str, Any] = {}

    class Client:
        def get_object(self, **arguments: Any) -> dict[str, Any]:
            sent.update(arguments)
            return {}

    requester = Requester(TARGET, lambda service, caller, tls: Client())
    requester.send("s3", "get_object", "source", Key=lambda one: one.target.canary, VersionId=lambda one: None)
    assert sent == {"Key": TARGET.canary}


class MultipartClient:
    """A client of botocore's kind, which starts multipart uploads where the header opens them."""

    def __init__(self) -> None:
        self.meta = SimpleNamespace(events=HierarchicalEmitter())
        self.sent: list[dict[str, str]] = []

    def create_multipart_upload(self, **_: Any) -> dict[str, Any]:
        params: dict[str, Any] = {"headers": {}}
        self.meta.events.emit("before-call.s3.CreateMultipartUpload", params=params)
        self.sent.append(params["headers"])
        if "If-None-Match" in params["headers"]:
            return {"UploadId": "x"}
        raise client_error("AccessDenied", 403)


def test_multipart_upload_is_tried_without_and_with_the_header() -> None:
    client = MultipartClient()
    requester = Requester(TARGET, lambda *_: client)
    requester.writer = Credentials("AKIAX", "secret")
    for _ in range(2):  # the header is of one request only
        assert requester.start_multipart_upload() == Response(fields={"UploadId": "x"})
    assert client.sent == [{}, {"If-None-Match": "*"}] * 2


def test_secrets_are_not_shown() -> None:
    credentials = Credentials("AKIAKEY", "the-secret", "the-token")
    shown = repr(credentials) + repr(TARGET) + repr(Response(fields={"Credentials": "the-secret"}))
    assert not [secret for secret in ("AKIAKEY", "the-secret", "the-token", "external-id") if secret in shown]
