"""MiniStack with the gaps closed that would keep the shipped policies from being enforced here.

`launcher.py` runs this file with the Python of `.venv-aws`; nothing imports it. MiniStack is a local stand-in for
AWS. What it lacks of S3, CloudWatch Logs and IAM, and what the templates in `include/cloudformation/` and the sources
rely on, is added by wrapping its functions, with a comment for each gap. Nothing is loosened but the transport:

The requests arrive over plain HTTP on the loopback interface. To keep and test the templates' TLS statements, this
server treats each request as if it came over TLS 1.3, unless the request's header `x-local-transport` names another
transport: `http`, or a TLS version such as `1.1`. In the same way `x-local-vpce` names the VPC endpoint through which
a request came. Both headers exist on this server only.
"""

import asyncio
import contextvars
import functools
import re
import sys
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

# Headers of a write that are condition keys of s3:PutObject, as "s3:<header>".
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

# Prefixes of a write's headers, and the permission that each requires in addition to s3:PutObject.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
_WRITE_PERMISSIONS = {
    "x-amz-acl": "s3:PutObjectAcl",
    "x-amz-grant-": "s3:PutObjectAcl",
    "x-amz-tagging": "s3:PutObjectTagging",
    "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
    "x-amz-object-lock-mode": "s3:PutObjectRetention",
}

# The requests that read logs.
_LOGS_READS = {"DescribeLogGroups", "DescribeLogStreams", "GetLogEvents"}


def wraps(owner: Any, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Replace a function of MiniStack by the decorated one, whose first argument is the original.

    :param owner: a module or a dict.
    """

    def replace(wrapper: Callable[..., Any]) -> Callable[..., Any]:
        functions = owner if isinstance(owner, dict) else vars(owner)
        functions[name] = functools.partial(wrapper, functions[name])
        return wrapper

    return replace


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Remember the request, then let MiniStack respond (an ASGI application)."""
    if scope["type"] == "http":
        query = parse_qs(scope.get("query_string", b"").decode(), keep_blank_values=True)
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        headers = s3._merge_hoisted_amz_headers(headers, query)  # a presigned URL has them in its query
        _request.set({"method": scope["method"], "path": scope["path"], "query": query, "headers": headers})
    await ministack.app(scope, receive, send)


def _condition_keys(request: dict[str, Any], action: str) -> dict[str, Any]:
    """Return the condition keys, in lower case, that AWS derives from the request and MiniStack doesn't."""
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
        # Gap: MiniStack lacks this key. True for what creates an object (PutObject, CopyObject, forms,
        # CompleteMultipartUpload), false for the other steps of a multipart upload. AWS says that these accept no
        # If-None-Match, but not what it makes of one that is sent: here it counts, which is the worse case.
        step = "uploads" in query or (method == "PUT" and "uploadId" in query)
        keys["s3:objectcreationoperation"] = str(not step).lower()
        if "uploadId" in query:
            # Gap: S3 judges the parts and the completion of an upload by the ACL of its start.
            upload = s3._multipart_uploads.get(query["uploadId"][0]) or {}
            keys["s3:x-amz-acl"] = upload.get("requested_acl")
    return keys


@wraps(iam_evaluator, "_resolve_condition_key")
def resolve_condition_key(original: Callable[[str, Any], Any], key: str, context: Any) -> Any:
    """Resolve the condition keys that MiniStack lacks or resolves differently."""
    name = key.lower()
    # Gap: in AWS the principal of a role's session is the role; MiniStack reports the session.
    if name == "aws:principalarn" and context.principal_type == "AssumedRole":
        role = iam_evaluator._role_name_from_assumed_arn(context.principal_arn)
        record = iam._roles.get_scoped(context.principal_account, None, role)
        return record["Arn"] if record else context.principal_arn
    request = _request.get(None)
    keys = _condition_keys(request | {"region": context.region}, context.action) if request else {}
    return keys[name] if name in keys else original(key, context)


def _read_form(headers: dict[str, str], body: bytes) -> str:
    """Return the key of a browser's upload, and remember the form's fields as the request's headers.

    Gap: MiniStack judges a form by the headers of its request, and by the bucket. In AWS a form's fields take the place
    of headers. None of them is If-None-Match.
    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
    """
    parts = s3._parse_multipart_form(headers["content-type"], body)
    fields = {name.lower(): value.decode("latin-1") for name, _, _, value in parts if name != "file"}
    claims = {name: value for name, value in headers.items() if name.startswith("x-local-")}
    _request.set(_request.get() | {"headers": {**fields, "x-amz-acl": fields.get("acl", ""), **claims}})
    return str(fields.get("key", ""))


@wraps(iam_actions, "extract_resource_arn")
def extract_resource_arn(
    original: Callable[..., str], service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any
) -> str:
    """Return the resource of a request as AWS judges it.

    Gap: MiniStack judges a key without its empty segments, `/logs/x` as `logs/x` and `logs/` as `logs`.

    Gap: it judges requests for a log group's streams by an ARN that ends in the group's name, and those for groups by
    `*`. In AWS the ARN goes on with the stream, which is empty where the request names none.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
    """
    bucket, _, key = path.removeprefix("/").partition("/")
    if service == "s3" and method == "POST" and headers.get("content-type", "").startswith("multipart/form-data"):
        key = _read_form(headers, body)
    if service == "s3" and key:
        return f"arn:aws:s3:::{bucket}/{key}"
    if service == "logs" and headers.get("x-amz-target", "").rpartition(".")[2] in _LOGS_READS:
        region, account = rest[-2:]
        group, stream = (iam_actions._safe_json_field(body, name) for name in ("logGroupName", "logStreamName"))
        return f"arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:{stream}"
    return original(service, method, path, headers, body, *rest)


@wraps(iam_actions, "s3_additional_checks")
def s3_additional_checks(
    original: Callable[..., Any],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query: dict[str, Any],
) -> Any:
    """Gap: an ACL, tags, a retention or encryption by KMS require permissions of their own."""
    found = original(method, path, headers, body, query)
    bucket, _, key = path.removeprefix("/").partition("/")
    action, encryption = iam_actions._s3_action(method, path, query), None
    if action == "PutObject":
        for prefix, permission in _WRITE_PERMISSIONS.items():
            if any(name.startswith(prefix) for name in headers):
                found.append((permission, f"arn:aws:s3:::{bucket}/{key}"))
        encryption, _ = s3._resolve_sse_write_headers(headers, bucket)
    elif action == "GetObject" and method == "GET":
        encryption = s3._stored_sse_headers((s3._buckets.get(bucket) or {"objects": {}})["objects"].get(key) or {})
    kms_key = (encryption or {}).get("x-amz-server-side-encryption-aws-kms-key-id")
    if kms_key:
        _request.set(_request.get() | {"via_s3": True})
        found.append(("kms:GenerateDataKey" if action == "PutObject" else "kms:Decrypt", kms_key))
    return found


@wraps(s3, "_put_object")
def put_object(original: Callable[..., Any], bucket: str, key: str, body: bytes, headers: dict[str, str]) -> Any:
    """Gap: S3 returns the checksums that it computed for a put; the archive's receipts are made of these."""
    status, response_headers, text = original(bucket, key, body, headers)
    if status == 200:
        checksums = s3._buckets[bucket]["objects"][key].get("checksums") or {}
        # Without a checksum in the request, S3 computes a CRC-64/NVME.
        checksums = checksums or {"CRC64NVME": s3._compute_s3_checksum("CRC64NVME", body)}
        response_headers |= {f"x-amz-checksum-{name.lower()}": value for name, value in checksums.items()}
        response_headers["x-amz-checksum-type"] = "FULL_OBJECT"
    return status, response_headers, text


@wraps(s3, "_copy_object")
def copy_object(original: Callable[..., Any], bucket: str, key: str, headers: dict[str, str]) -> Any:
    """Gap: a copy ignores If-None-Match and If-Match, and so would replace an object."""
    objects = (s3._buckets.get(bucket) or {"objects": {}})["objects"]
    return s3._check_put_preconditions(headers, objects.get(key)) or original(bucket, key, headers)


@wraps(s3, "_create_multipart_upload")
def create_multipart_upload(original: Callable[..., Any], bucket: str, key: str, headers: dict[str, str]) -> Any:
    """Keep the ACL that an upload starts with, for the condition keys of its parts."""
    status, response_headers, text = original(bucket, key, headers)
    if status == 200:
        upload_id = re.search(rb"<UploadId>([^<]+)</UploadId>", text)
        assert upload_id is not None
        s3._multipart_uploads[upload_id[1].decode()]["requested_acl"] = headers.get("x-amz-acl")
    return status, response_headers, text


@wraps(s3, "_dispatch")
def dispatch(
    original: Callable[..., Any], method: str, bucket: str, key: str, headers: dict[str, str], *rest: Any
) -> Any:
    """Gap: ExpectedBucketOwner is ignored, so a put into a stranger's bucket would be accepted."""
    expected = headers.get("x-amz-expected-bucket-owner")
    if expected and bucket and s3._bucket_owner_account(bucket) not in (None, expected):
        return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}/{key}")
    return original(method, bucket, key, headers, *rest)


@wraps(sts, "handle_request")
async def assume_role(
    original: Callable[..., Any],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query: dict[str, Any],
) -> Any:
    """Gap: DurationSeconds may exceed the role's MaxSessionDuration, and the hour of a chained role."""
    parameters = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
    if parameters.get("Action") == "AssumeRole" and parameters.get("DurationSeconds", "").isdigit():
        account, _, name = parameters.get("RoleArn", "").removeprefix("arn:aws:iam::").partition(":role/")
        role = iam._roles.get_scoped(account, None, name.rsplit("/", 1)[-1]) or {}
        chained = sts.extract_access_key_id(headers, query) in sts._sessions
        limit_seconds = 3600 if chained else role.get("MaxSessionDuration", 3600)
        if int(parameters["DurationSeconds"]) > limit_seconds:
            rule = "the 1 hour limit of role chaining" if chained else "the role's MaxSessionDuration"
            message = f"The requested DurationSeconds exceeds {rule}."
            return sts._error(400, "ValidationError", message, ns="sts")
    return await original(method, path, headers, body, query)


def _xml(name: str, value: Any) -> ElementTree.Element:
    """Convert a bucket's configuration from CloudFormation's form to the body of an S3 request."""
    element = ElementTree.Element(name)
    if isinstance(value, dict):
        for child, inner in value.items():
            for item in inner if isinstance(inner, list) else [inner]:
                element.append(_xml(child, item))
    else:
        element.text = str(value).lower() if isinstance(value, bool) else str(value)
    return element


def _bucket_settings(properties: dict[str, Any]) -> Iterator[tuple[Callable[[str, bytes], Any], Any]]:
    """Return the S3 operations, each with its body, for the properties that MiniStack's CloudFormation ignores."""
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


@wraps(provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"], "create")
@wraps(provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"], "update")
def provision_bucket(original: Callable[..., Any], *arguments: Any) -> Any:
    """Gap: CloudFormation doesn't deploy a bucket's encryption, ownership, lifecycle and Object Lock."""
    name, attributes = original(*arguments)
    properties = arguments[-2]  # before the name of the stack
    for put, body in _bucket_settings(properties):
        body.set("xmlns", s3.S3_NS)
        status, _, text = put(name, ElementTree.tostring(body))
        if status >= 300:
            raise ValueError(f"{name}: {put.__name__} returned {status}: {text!r}")
    return name, attributes


def main() -> None:
    """Serve on the socket with the file descriptor argv[1]."""
    config = Config()
    config.bind = [f"fd://{sys.argv[1]}"]
    config.loglevel = "WARNING"
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
