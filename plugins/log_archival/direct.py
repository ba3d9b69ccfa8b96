"""PutObject of a small body with less than half of the work that botocore's client does for one.

A day of many small files is bound by Python's work per request, nearly all of it in building, validating and parsing.
This sends the same signed request over the client's own connections, and settles only what is plain: stored, or the
key is taken, or the checksum doesn't fit. For anything else it answers UNDECIDED, and the caller asks the client, which
retries, follows regions and explains errors as ever. `make bench` shows what it gains.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import BotoCoreError

#: Bodies up to this size are sent with the request. Larger ones wait for S3's word, which costs a round trip, and are
#: not sent at all where the key is taken.
SEND_AT_ONCE = 4 << 20
UNDECIDED: Final = object()
_CODE = re.compile(rb"<Code>(\w+)</Code>")
#: What S3 and its like answer when the body is not what the checksum says.
DIGEST_CODES = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})
_ANSWERED = {
    "ETag": "ETag",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "VersionId": "x-amz-version-id",
}
_HEADERS = {
    "ACL": "x-amz-acl",
    "ContentType": "Content-Type",
    "ContentMD5": "Content-MD5",
    "IfNoneMatch": "If-None-Match",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
}


class DigestError(Exception):
    """S3 computed another checksum than was sent."""


class DirectPut:
    """Sends PutObject requests to one bucket.

    :param client: a botocore S3 client; its credentials, endpoint, connections and configuration are used
    :param bucket: the bucket
    :raises AttributeError: when this version of botocore keeps them elsewhere; use the client then
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._base = _address(client, bucket)
        self._http = client._endpoint.http_session
        self._credentials = client._request_signer._credentials
        self._config = client.meta.config
        self._region = client.meta.region_name
        self._user_agent = {"User-Agent": self._config.user_agent} if self._config.user_agent else {}

    def __call__(self, key: str, body: bytes, arguments: Mapping[str, Any]) -> Any:
        """Put one object.

        :param arguments: as for the client's put_object: those of _HEADERS, and Metadata
        :returns: what the client would answer; None when the key is taken; or UNDECIDED
        :raises DigestError: when S3 says that the body doesn't fit its sums
        """
        headers = {header: arguments[name] for name, header in _HEADERS.items() if name in arguments}
        headers |= {f"x-amz-meta-{name}": value for name, value in arguments.get("Metadata", {}).items()}
        if len(body) > SEND_AT_ONCE:
            headers["Expect"] = "100-continue"
        request = AWSRequest("PUT", self._base + quote(key, safe="/~"), headers | self._user_agent, body)
        request.context["client_config"] = self._config
        try:
            S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
            answer = self._http.send(request.prepare())
        except BotoCoreError:
            return UNDECIDED
        if answer.status_code == 200:
            return {name: answer.headers[header] for name, header in _ANSWERED.items() if header in answer.headers}
        if answer.status_code == 412:
            return None
        code = _CODE.search(answer.content)
        if answer.status_code == 400 and code and code[1].decode() in DIGEST_CODES:
            raise DigestError(code[1].decode())
        return UNDECIDED


class _Nothing:
    """The body of an answer that never came."""

    def stream(self) -> Iterator[bytes]:
        return iter(())


def _address(client: Any, bucket: str) -> str:
    """The URL that a bucket's keys are appended to.

    Host or path, the region's domain, dual stack and more are botocore's to say: it is let to build a request for a
    key that nobody else asks for, which is caught before it is sent.
    """
    key, caught = secrets.token_hex(16), []

    def catch(request: Any, **_: Any) -> AWSResponse | None:
        if not request.url.endswith(key):
            return None
        caught.append(request.url.removesuffix(key))
        return AWSResponse(request.url, 200, HTTPHeaders(), _Nothing())

    client.meta.events.register("before-send.s3.PutObject", catch)
    try:
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    finally:
        client.meta.events.unregister("before-send.s3.PutObject", catch)
    return str(caught[0])


def sha256_argument(digest: str) -> str:
    """A SHA-256 in hex as S3's headers have it."""
    return base64.b64encode(bytes.fromhex(digest)).decode()
