"""Errors of a run directory in S3: which are transient, what the connection needs, and what is no error."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from log_archival.exceptions import StagingError
from log_archival.pipeline.s3_folder import S3Folder


@pytest.fixture
def client() -> Any:
    session = botocore.session.Session()
    session.set_credentials("key", "secret")
    return session.create_client("s3", "eu-central-1")


@pytest.fixture
def folder(client: Any) -> S3Folder:
    return S3Folder(lambda: client, "airflow_s3", "acme-airflow", "staging/dag/run/")


def write(folder: S3Folder) -> None:
    with (folder / "files-0001.jsonl").open("wb") as file:
        file.write(b"{}")


REQUESTS: dict[str, tuple[str, str, Callable[[S3Folder], object]]] = {
    "read": ("get_object", "GetObject", lambda folder: (folder / "x").open("rb")),
    "range": ("get_object", "GetObject", lambda folder: folder.read("x", 5, 5)),
    "write": ("put_object", "PutObject", write),
    "list": ("list_objects_v2", "ListObjectsV2", lambda folder: folder.names()),
    "runs": ("list_objects_v2", "ListObjectsV2", lambda folder: folder.children()),
    "delete": ("delete_objects", "DeleteObjects", lambda folder: folder.delete(["x"])),
}
NEEDS = (
    "The connection 'airflow_s3', which `staging` names, needs s3:ListBucket on acme-airflow, and s3:GetObject,"
    " s3:PutObject and s3:DeleteObject on the folder's objects"
)
ERRORS = {
    "denied": ("AccessDenied", 403, True, NEEDS),
    "no bucket": ("NoSuchBucket", 404, True, "Is the bucket's name in `staging` right?"),
    "region": ("PermanentRedirect", 301, True, 'set "region_name" in the extra of the connection'),
    "unknown": ("MethodNotAllowed", 405, True, "Check `staging` in archive.yaml, and its connection"),
    "busy": ("SlowDown", 503, False, "a retry may succeed"),
}


@pytest.mark.parametrize(("code", "status", "permanent", "hint"), ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize(("method", "operation", "send"), REQUESTS.values(), ids=REQUESTS.keys())
def test_error_says_what_failed_where_and_what_is_needed(
    client: Any, folder: S3Folder, method: str, operation: str, send: Callable[[S3Folder], object],
    code: str, status: int, permanent: bool, hint: str,
) -> None:  # fmt: skip
    with Stubber(client) as stub:
        stub.add_client_error(method, code, "message", status)
        with pytest.raises(StagingError) as caught:
            send(folder)
    assert str(caught.value).startswith(f"{operation} s3://acme-airflow/staging/dag/run/")
    assert hint in str(caught.value)
    assert caught.value.permanent is permanent


def test_object_that_does_not_exist_is_a_missing_file(client: Any, folder: S3Folder) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("get_object", "NoSuchKey", "message", 404)
        with pytest.raises(FileNotFoundError, match="s3://acme-airflow/staging/dag/run/x"):
            (folder / "x").open("rb")


def test_range_behind_the_end_is_an_end(client: Any, folder: S3Folder) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("get_object", "InvalidRange", "message", 416)
        with pytest.raises(EOFError):
            folder.read("x", 5, 5)


def test_object_that_can_not_be_deleted_is_an_error(client: Any, folder: S3Folder) -> None:
    errors = [{"Key": "staging/dag/run/x", "Code": "AccessDenied", "Message": "Access Denied"}]
    with Stubber(client) as stub:
        stub.add_response("delete_objects", {"Errors": errors}, {"Bucket": ANY, "Delete": ANY})
        with pytest.raises(StagingError) as caught:
            folder.delete(["x"])
    assert "DeleteObjects s3://acme-airflow/staging/dag/run/x failed: AccessDenied" in str(caught.value)
    assert NEEDS in str(caught.value)


@pytest.mark.parametrize(("count", "requests"), [(0, []), (1000, [1000]), (1001, [1000, 1])], ids=str)
def test_no_more_objects_are_deleted_at_once_than_s3_takes(
    client: Any, folder: S3Folder, count: int, requests: list[int]
) -> None:
    sent: list[int] = []
    client.meta.events.register(
        "provide-client-params.s3.DeleteObjects", lambda params, **_: sent.append(len(params["Delete"]["Objects"]))
    )
    with Stubber(client) as stub:
        for _ in requests:
            stub.add_response("delete_objects", {})
        folder.delete(str(number) for number in range(count))
    assert sent == requests


@pytest.mark.parametrize("page", [{}, {"IsTruncated": True}], ids=["nothing", "no token of the next page"])
@pytest.mark.parametrize("list_names", [S3Folder.names, S3Folder.children])
def test_listing_that_was_cut_off_is_an_error(
    client: Any, folder: S3Folder, list_names: Callable[[S3Folder], object], page: dict[str, Any]
) -> None:
    with Stubber(client) as stub:
        stub.add_response("list_objects_v2", page)
        with pytest.raises(StagingError, match=r"ListObjectsV2 s3://acme-airflow/.* has no") as caught:
            list_names(folder)
    assert not caught.value.permanent


class BreaksOff(io.BytesIO):
    """A response whose connection breaks at its end."""

    def read(self, amt: int | None = -1) -> bytes:
        if data := super().read(amt):
            return data
        raise ReadTimeoutError(endpoint_url="x")


@pytest.mark.parametrize("etag", [{}, {"ETag": '"e"'}], ids=["no ETag", "ETag"])
def test_download_that_breaks_off_goes_on_with_the_same_object_or_begins_again(
    client: Any, folder: S3Folder, etag: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("log_archival.pipeline.s3_folder._again_when_broken.sleep", lambda _: None)
    first = {"Bucket": "acme-airflow", "Key": "staging/dag/run/x", "Range": "bytes=5-8"}
    second = first | ({"Range": "bytes=7-8", "IfMatch": '"e"'} if etag else {})
    with Stubber(client) as stub:
        stub.add_response("get_object", {"Body": StreamingBody(BreaksOff(b"45"), 4), **etag}, first)
        rest = b"67" if etag else b"4567"
        stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(rest), len(rest)), **etag}, second)
        assert folder.read("x", 5, 4) == b"4567"
