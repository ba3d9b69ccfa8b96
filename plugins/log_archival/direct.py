"""PutObject with a quarter of the work that botocore's client does for one: libcurl signs it and sends it.

A day of many small files is bound by Python's work per request, nearly all of it in building, validating, signing and
parsing. This has libcurl send the same request, and settles only what is plain: stored, or the key is taken, or the
checksum doesn't fit. For anything else it answers UNDECIDED, and the caller asks the client, which retries, follows
regions and explains errors as ever. `make bench` shows what it gains.
"""

from __future__ import annotations

import base64
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.httpsession import get_cert_path

try:
    import pycurl
except ImportError:  # built from source against another libcurl than is there: everything works without it
    pycurl = None

#: Bodies up to this size are sent with the request. Larger ones wait for S3's word, which costs a round trip, and are
#: not sent at all where the key is taken.
SEND_AT_ONCE = 4 << 20
UNDECIDED: Final = object()
_CODE = re.compile(rb"<Code>(\w+)</Code>")
#: What S3 and its like answer when the body is not what the checksum says.
DIGEST_CODES = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})
_ANSWERED = {
    "etag": "ETag",
    "x-amz-checksum-sha256": "ChecksumSHA256",
    "x-amz-version-id": "VersionId",
}
_HEADERS = {
    "ACL": "x-amz-acl",
    "ContentType": "Content-Type",
    "ContentMD5": "Content-MD5",
    "IfNoneMatch": "If-None-Match",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
}
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class DigestError(Exception):
    """S3 computed another checksum than was sent."""


class DirectPut:
    """Sends PutObject requests to one bucket; each thread has a connection of its own.

    :param client: a botocore S3 client, whose credentials, endpoint, time limits and certificates are used
    :param bucket: the bucket
    :raises ValueError: when something is set that only the client knows how to do: a proxy, a client certificate,
        another signature, no verification of the server's certificate
    :raises AttributeError: when this version of botocore keeps its settings elsewhere
    """

    def __init__(self, client: Any, bucket: str) -> None:
        if pycurl is None:
            raise ValueError("pycurl can't be imported")
        config, session = client.meta.config, client._endpoint.http_session
        self._base = _address(client, bucket)
        if config.signature_version not in ("s3v4", "v4") or config.client_cert or session._verify is False:
            raise ValueError("the client is set up in a way of its own")
        if session._proxy_config.proxy_url_for(self._base):
            raise ValueError("the client uses a proxy")
        self._certificates = get_cert_path(session._verify)
        self._credentials = client._request_signer._credentials
        self._taken: tuple[float, Any] = (0.0, None)
        self._region = client.meta.region_name
        self._timeouts = (config.connect_timeout, config.read_timeout)
        self._user_agent = config.user_agent or "log-archival"
        self._per_thread = threading.local()

    def __call__(self, key: str, body: bytes, arguments: Mapping[str, Any]) -> Any:
        """Put one object.

        :param arguments: as for the client's put_object: those of _HEADERS, and Metadata
        :returns: what the client would answer; None when the key is taken; or UNDECIDED
        :raises DigestError: when S3 says that the body doesn't fit its sums
        """
        if {".", ".."} & set(key.split("/")):
            # To libcurl a key is a path, in which dots lead elsewhere.
            return UNDECIDED
        credentials = self._current_credentials()
        checksum = arguments.get("ChecksumSHA256")
        headers = [
            *(f"{header}: {arguments[name]}" for name, header in _HEADERS.items() if name in arguments),
            *(f"x-amz-meta-{name}: {value}" for name, value in arguments.get("Metadata", {}).items()),
            # The signature holds the body's SHA-256, which was taken already.
            f"x-amz-content-sha256: {base64.b64decode(checksum).hex() if body and checksum else _EMPTY_SHA256}",
            *([f"x-amz-security-token: {credentials.token}"] if credentials.token else []),
            # Left out, libcurl would add headers of its own.
            *(["Accept:"] if "ContentType" in arguments else ["Accept:", "Content-Type:"]),
            "Expect: 100-continue" if len(body) > SEND_AT_ONCE else "Expect:",
        ]
        if not all(line.isascii() and line.isprintable() and not line.endswith(": ") for line in headers):
            # libcurl would take a line's end in a value for another header, and leave an empty one out.
            return UNDECIDED

        curl = self._curl()
        answered: list[bytes] = []
        said: list[bytes] = []
        curl.setopt(pycurl.URL, self._base + quote(key, safe="/~"))
        if self._per_thread.credentials is not credentials:
            curl.setopt(pycurl.USERNAME, credentials.access_key)
            curl.setopt(pycurl.PASSWORD, credentials.secret_key)
            self._per_thread.credentials = credentials
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.HEADERFUNCTION, answered.append)
        curl.setopt(pycurl.WRITEFUNCTION, said.append)
        try:
            curl.perform()
        except pycurl.error:
            return UNDECIDED
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        if status == 200:
            pairs = (line.decode("latin-1").partition(":") for line in answered)
            return {_ANSWERED[name.lower()]: value.strip() for name, _, value in pairs if name.lower() in _ANSWERED}
        if status == 412:
            return None
        code = _CODE.search(b"".join(said))
        if status == 400 and code and code[1].decode() in DIGEST_CODES:
            raise DigestError(code[1].decode())
        return UNDECIDED

    def _current_credentials(self) -> Any:
        """The session's credentials, which botocore renews a quarter of an hour before they expire."""
        # Asked for now and then: it looks at the clock in a way that takes a tenth of the time of a request.
        taken, credentials = self._taken
        now = time.monotonic()
        if credentials is None or now - taken > 10:
            credentials = self._credentials.get_frozen_credentials()
            self._taken = now, credentials
        return credentials

    def _curl(self) -> Any:
        """This thread's handle, which keeps its connection open."""
        try:
            return self._per_thread.curl
        except AttributeError:
            pass
        curl = self._per_thread.curl = pycurl.Curl()
        self._per_thread.credentials = None
        connect_timeout, read_timeout = self._timeouts
        for option, value in (
            (pycurl.CUSTOMREQUEST, "PUT"),
            (pycurl.AWS_SIGV4, f"aws:amz:{self._region}:s3"),
            (pycurl.USERAGENT, self._user_agent),
            (pycurl.CAINFO, self._certificates),
            # The environment's proxies were asked for above.
            (pycurl.PROXY, ""),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.CONNECTTIMEOUT_MS, int(connect_timeout * 1000)),
            # Nothing moves for so long.
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.LOW_SPEED_TIME, int(read_timeout) or 1),
            # Signals are the main thread's.
            (pycurl.NOSIGNAL, 1),
        ):
            curl.setopt(option, value)
        return curl


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
