"""Puts whose signature covers the SHA-256 of their body, as it is known already: the body is not read once more."""

import base64
from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, UNSIGNED_PAYLOAD, S3SigV4Auth

_NAME = "log-archival-s3v4"


class KnownPayloadAuth(S3SigV4Auth):
    """Signature version 4 for S3; the hash of the payload is that of the header ``x-amz-checksum-sha256``.

    A server that verifies it refuses other bytes, whether or not it knows that header.
    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

    A request with a ``Content-MD5`` is protected by that, and its payload is not signed.
    """

    def payload(self, request: Any) -> str:
        """Return the hash of the payload.

        :param request: botocore's request
        """
        sha256 = request.headers.get("x-amz-checksum-sha256")
        if sha256 is None or "Content-MD5" in request.headers:
            return str(UNSIGNED_PAYLOAD)
        return base64.b64decode(sha256).hex()


AUTH_TYPE_MAPS[_NAME] = KnownPayloadAuth


def sign_known_payloads(client: Any) -> None:
    """Have a client sign its PutObject requests so, unless its settings ask for another kind of signature.

    :param client: an S3 client of boto3
    """
    client.meta.events.register_first("choose-signer.s3.PutObject", _choose_signer, unique_id=_NAME)


def _choose_signer(signature_version: Any, **_: Any) -> str | None:
    return _NAME if signature_version in ("s3v4", "v4") else None
