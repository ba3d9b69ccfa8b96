"""MiniStack, with the gaps closed through which the shipped policies could not be enforced here.

`local_aws.py` runs this file with the Python of `.venv-aws`; nothing imports it. MiniStack is a local
stand-in for AWS. What it does not know of S3 and IAM, and what the templates in `cloudformation/` rely on, is
added by wrapping its functions, one comment for each gap. Nothing is loosened but the transport:

The requests arrive over plain HTTP on the loopback interface. So that the templates' TLS statements can be
kept and tested, this server *says* of each request that it came over TLS 1.3, unless the request's header
`x-local-transport` names another transport: `http`, or a TLS version such as `1.1`. In the same way
`x-local-vpce` names the VPC endpoint through which a request came. Both headers exist on this server only.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack import app as ministack
from ministack.core import iam_actions, iam_evaluator
from ministack.services import iam, s3, sts
from ministack.services.cloudformation import provisioners

_request: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("local_aws_request")

# Headers of a write that are condition keys of s3:PutObject under the name "s3:<header>".
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
_WRITE_KEYS = (
    "x-amz-acl",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "if-none-match",
    "if-match",
)

# Headers of a write that begin so, and the permission that each needs besides s3:PutObject.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
_WRITE_PERMISSIONS = {
    "x-amz-acl": "s3:PutObjectAcl",
    "x-amz-grant-": "s3:PutObjectAcl",
    "x-amz-tagging": "s3:PutObjectTagging",
    "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
    "x-amz-object-lock-mode": "s3:PutObjectRetention",
}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application: remembers what was asked for, then lets MiniStack answer."""
    if scope["type"] == "http":
        query = parse_qs(scope.get("query_string", b"").decode(), keep_blank_values=True)
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        headers = s3._merge_hoisted_amz_headers(headers, query)  # a presigned URL has them in its query
        _request.set({"method": scope["method"], "path": scope["path"], "query": query, "headers": headers})
    await ministack.app(scope, receive, send)


def _condition_keys(request: dict[str, Any], action: str) -> dict[str, Any]:
    """The condition keys, in lower case, that AWS derives from the request and MiniStack does not."""
    method, query, headers = request["method"], request["query"], request["headers"]
    transport = headers.get("x-local-transport", "1.3")
    keys: dict[str, Any] = {
        "aws:securetransport": "false" if transport == "http" else "true",
        "s3:tlsversion": None if transport == "http" else transport,
        "aws:sourcevpce": headers.get("x-local-vpce"),
        # S3 calls KMS on the caller's behalf; nobody calls KMS through S3 in any other way here.
        "kms:viaservice": f"s3.{request['region']}.amazonaws.com" if request.get("via_s3") else None,
    }
    if action in ("s3:PutObject", "s3:PutObjectAcl"):
        keys |= {f"s3:{name}": headers.get(name) or None for name in _WRITE_KEYS}
    if action == "s3:PutObject":
        # Gap: unknown to MiniStack, and with it the denial of a put without If-None-Match. True for
        # what makes an object (PutObject, CopyObject, CompleteMultipartUpload), false for the other steps of a
        # multipart upload, which cannot carry If-None-Match.
        step = "uploads" in query or (method == "PUT" and "uploadId" in query)
        keys["s3:objectcreationoperation"] = str(not step).lower()
        if "uploadId" in query:
            # Gap: S3 judges the parts and the completion of an upload by the ACL that it began with.
            upload = s3._multipart_uploads.get(query["uploadId"][0]) or {}
            keys["s3:x-amz-acl"] = upload.get("requested_acl")
    return keys


def _resolve_condition_key(original: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    def resolve(key: str, context: Any) -> Any:
        name = key.lower()
        # Gap: in AWS the principal of a role's session is the role; MiniStack reports the session.
        if name == "aws:principalarn" and context.principal_type == "AssumedRole":
            role = iam_evaluator._role_name_from_assumed_arn(context.principal_arn)
            record = iam._roles.get_scoped(context.principal_account, None, role)
            return record["Arn"] if record else context.principal_arn
        request = _request.get(None)
        if request is not None:
            keys = _condition_keys(request | {"region": context.region}, context.action)
            if name in keys:
                return keys[name]
        return original(key, context)

    return resolve


def _extract_resource_arn(original: Callable[..., str]) -> Callable[..., str]:
    """Gap: MiniStack judges a key without its empty segments, `/logs/x` as `logs/x` and `logs/` as `logs`."""

    def extract(service: str, method: str, path: str, *rest: Any) -> str:
        bucket, _, key = path.removeprefix("/").partition("/")
        if service == "s3" and key:
            return f"arn:aws:s3:::{bucket}/{key}"
        return original(service, method, path, *rest)

    return extract


def _additional_checks(original: Callable[..., Any]) -> Callable[..., Any]:
    """Gap: an ACL, tags, a retention or encryption by KMS need permissions of their own."""

    def checks(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
        found = original(method, path, headers, body, query)
        bucket, _, key = path.removeprefix("/").partition("/")
        action, encryption = iam_actions._s3_action(method, path, query), None
        if action == "PutObject":
            for header, permission in _WRITE_PERMISSIONS.items():
                if any(name.startswith(header) for name in headers):
                    found.append((permission, f"arn:aws:s3:::{bucket}/{key}"))
            encryption, _ = s3._resolve_sse_write_headers(headers, bucket)
        elif action == "GetObject" and method == "GET":
            encryption = s3._stored_sse_headers((s3._buckets.get(bucket) or {"objects": {}})["objects"].get(key) or {})
        kms_key = (encryption or {}).get("x-amz-server-side-encryption-aws-kms-key-id")
        if kms_key:
            _request.set(_request.get() | {"via_s3": True})
            found.append(("kms:GenerateDataKey" if action == "PutObject" else "kms:Decrypt", kms_key))
        return found

    return checks


def _put_object(original: Callable[..., Any]) -> Callable[..., Any]:
    """Gap: S3 answers a put with the checksums it computed; the archive's receipts are made of these."""

    def put(bucket: str, key: str, body: bytes, headers: dict[str, str]) -> Any:
        status, answer, text = original(bucket, key, body, headers)
        if status == 200:
            sums = s3._buckets[bucket]["objects"][key].get("checksums") or {}
            # Without a checksum in the request, S3 computes a CRC-64/NVME.
            sums = sums or {"CRC64NVME": s3._compute_s3_checksum("CRC64NVME", body)}
            answer |= {f"x-amz-checksum-{name.lower()}": value for name, value in sums.items()}
            answer["x-amz-checksum-type"] = "FULL_OBJECT"
        return status, answer, text

    return put


def _create_multipart_upload(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps the ACL that an upload began with, for the condition keys of its parts."""

    def create(bucket: str, key: str, headers: dict[str, str]) -> Any:
        status, answer, text = original(bucket, key, headers)
        if status == 200:
            upload_id = re.search(rb"<UploadId>([^<]+)</UploadId>", text)
            assert upload_id is not None
            s3._multipart_uploads[upload_id[1].decode()]["requested_acl"] = headers.get("x-amz-acl")
        return status, answer, text

    return create


def _dispatch(original: Callable[..., Any]) -> Callable[..., Any]:
    """Gap: ExpectedBucketOwner is ignored, so a put into a stranger's bucket would go through."""

    def dispatch(method: str, bucket: str, key: str, headers: dict[str, str], *rest: Any) -> Any:
        expected = headers.get("x-amz-expected-bucket-owner")
        if expected and bucket and s3._bucket_owner_account(bucket) not in (None, expected):
            return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}/{key}")
        return original(method, bucket, key, headers, *rest)

    return dispatch


def _assume_role(original: Callable[..., Any]) -> Callable[..., Any]:
    """Gap: DurationSeconds may exceed the role's MaxSessionDuration, and the hour of a chained role."""

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
        asked = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
        if asked.get("Action") == "AssumeRole" and asked.get("DurationSeconds", "").isdigit():
            account, _, name = asked.get("RoleArn", "").removeprefix("arn:aws:iam::").partition(":role/")
            role = iam._roles.get_scoped(account, None, name.rsplit("/", 1)[-1]) or {}
            chained = sts.extract_access_key_id(headers, query) in sts._sessions
            limit = 3600 if chained else role.get("MaxSessionDuration", 3600)
            if int(asked["DurationSeconds"]) > limit:
                rule = "the 1 hour limit of role chaining" if chained else "the role's MaxSessionDuration"
                message = f"The requested DurationSeconds exceeds {rule}."
                return sts._error(400, "ValidationError", message, ns="sts")
        return await original(method, path, headers, body, query)

    return handle


def _xml(name: str, value: Any) -> ElementTree.Element:
    """A bucket's configuration, as CloudFormation writes it, as the body that the S3 API takes."""
    element = ElementTree.Element(name)
    if isinstance(value, dict):
        for child, inner in value.items():
            for item in inner if isinstance(inner, list) else [inner]:
                element.append(_xml(child, item))
    else:
        element.text = str(value).lower() if isinstance(value, bool) else str(value)
    return element


def _bucket_bodies(properties: dict[str, Any]) -> Iterator[tuple[Callable[[str, bytes], Any], Any]]:
    """The S3 operations, each with its body, for the properties that MiniStack's CloudFormation leaves out."""
    if encryption := properties.get("BucketEncryption"):
        defaults = [rule["ServerSideEncryptionByDefault"] for rule in encryption["ServerSideEncryptionConfiguration"]]
        rules = [{"ApplyServerSideEncryptionByDefault": default} for default in defaults]
        yield s3._put_bucket_encryption, _xml("ServerSideEncryptionConfiguration", {"Rule": rules})
    if ownership := properties.get("OwnershipControls"):
        yield s3._put_bucket_ownership_controls, _xml("OwnershipControls", {"Rule": ownership["Rules"]})
    if lifecycle := properties.get("LifecycleConfiguration"):
        rules = [{"ID": rule.pop("Id"), "Filter": {"Prefix": ""}, **rule} for rule in map(dict, lifecycle["Rules"])]
        yield s3._put_bucket_lifecycle, _xml("LifecycleConfiguration", {"Rule": rules})
    if lock := properties.get("ObjectLockConfiguration"):
        yield s3._put_object_lock_configuration, _xml("ObjectLockConfiguration", lock)


def _bucket_settings(original: Callable[..., Any], properties_at: int) -> Callable[..., Any]:
    """Gap: a bucket's encryption, ownership, lifecycle and Object Lock are not deployed by CloudFormation."""

    def provision(*arguments: Any) -> Any:
        name, attributes = original(*arguments)
        for put, body in _bucket_bodies(arguments[properties_at]):
            body.set("xmlns", s3.S3_NS)
            status, _, text = put(name, ElementTree.tostring(body))
            if status >= 300:
                raise ValueError(f"{name}: {put.__name__} answered {status}: {text!r}")
        return name, attributes

    return provision


def close_the_gaps() -> None:
    """Put the wrappers in place."""
    iam_evaluator._resolve_condition_key = _resolve_condition_key(iam_evaluator._resolve_condition_key)
    iam_actions.extract_resource_arn = _extract_resource_arn(iam_actions.extract_resource_arn)
    iam_actions.s3_additional_checks = _additional_checks(iam_actions.s3_additional_checks)
    s3._put_object = _put_object(s3._put_object)
    s3._create_multipart_upload = _create_multipart_upload(s3._create_multipart_upload)
    s3._dispatch = _dispatch(s3._dispatch)
    sts.handle_request = _assume_role(sts.handle_request)
    bucket = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    bucket["create"] = _bucket_settings(bucket["create"], properties_at=1)
    bucket["update"] = _bucket_settings(bucket["update"], properties_at=2)


def _die_with(parent: int) -> None:
    """End this process once its parent is gone, however that ended (SIGKILL included)."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Serve on the socket with the file descriptor argv[1], as long as the parent process argv[2] lives."""
    descriptor, parent = (int(argument) for argument in sys.argv[1:3])
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    close_the_gaps()
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.loglevel = "WARNING"
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
