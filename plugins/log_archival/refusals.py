"""What an answer of S3 or STS means: passing or permanent, the likely cause, and where to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from log_archival.errors import ArchiveRequestError, RefusedError

_ARCHIVE, _SOURCE = (
    "include/cloudformation/archive_account.yaml",
    "include/cloudformation/source_account.yaml",
)

#: Codes that a later try can't change.
_PERMANENT = {
    "AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "InvalidToken", "NoSuchBucket",
    "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
    "MalformedPolicyDocument", "PackedPolicyTooLarge", "RegionDisabledException", "ValidationError",
    "InvalidArgument", "InvalidRequest", "EntityTooLarge", "KeyTooLongError", "NotImplemented",
    "MethodNotAllowed", "InvalidBucketName",
    "KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException", "UnrecognizedClientException",
}  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """What was tried: names only, nothing secret.

    :param operation: for example ``PutObject``
    :param who: as whom: the role's ARN and session name, or the connection's own credentials
    :param where: the bucket and key, or the role's ARN
    :param has_acl: whether the request carried the ACL header
    """

    operation: str
    who: str
    where: str
    has_acl: bool = True
    prefix: str = ""


def refusal(attempt: Attempt, response: Mapping[str, Any]) -> ArchiveRequestError:
    """Turn an error response of botocore's (``ClientError.response``) into an error of ours, with a hint."""
    error = response.get("Error", {})
    code, said = str(error.get("Code", "")), str(error.get("Message", "")).strip()
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    message = f"{attempt.operation} {attempt.where} as {attempt.who} was answered {status} {code}: {said}"
    if code in _PERMANENT or code in ("403", "404"):
        return RefusedError(message, code=code, hint=_hint(attempt, code, said))
    return ArchiveRequestError(message, hint="This may pass; the task's retries try again.")


def _hint(attempt: Attempt, code: str, said: str) -> str:
    if attempt.operation == "AssumeRole":
        return _assume_role_hint(code)
    if code in ("AccessDenied", "403", "AllAccessDisabled"):
        return _put_hint(attempt, said)
    return {
        "NoSuchBucket": "Is the bucket's name right, and is the archive account's stack deployed in this region?",
        "404": "Is the bucket's name right, and is the archive account's stack deployed in this region?",
        "PermanentRedirect": 'The bucket is in another region: set "region_name" in the connection\'s extra.',
        "AuthorizationHeaderMalformed": 'The bucket is in another region: set the connection\'s "region_name".',
        "ExpiredToken": "The credentials that the connection starts from have expired; renew them.",
        "ExpiredTokenException": "The credentials that the connection starts from have expired; renew them.",
    }.get(code, "Check the connection's credentials, its region and the bucket.")


def _assume_role_hint(code: str) -> str:
    if code in (
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
    ):
        return "The connection's own access key (login and password) is wrong or inactive."
    if code in ("ExpiredToken", "ExpiredTokenException"):
        return "The credentials that the connection starts from have expired; renew them."
    if code == "RegionDisabledException":
        return 'STS is not active in this region for the archive account; set another "region_name".'
    return (
        "Likely, in this order:\n"
        f" 1. the external id is not the one the role's trust policy asks for: parameter ExternalId of {_ARCHIVE}\n"
        f" 2. the trust policy names another principal: parameter SourcePrincipalArn of {_ARCHIVE}\n"
        f" 3. Airflow's own identity may not assume the role: parameter RoleArn of {_SOURCE}\n"
        f" 4. the role does not exist: RoleName and output RoleArn of {_ARCHIVE}"
    )


def _put_hint(attempt: Attempt, said: str) -> str:
    lines = [f"Likely, in this order (all in {_ARCHIVE}):"]
    if not attempt.has_acl:
        lines.append(
            " - the bucket policy asks for the ACL bucket-owner-full-control: set `acl` in archive.yaml,"
            " or deploy with RequireAcl=false"
        )
    if "session policy" in said:
        lines.append(f" - the session is narrowed to {attempt.prefix}, and the key lies outside of it")
    lines += [
        " - the role's policy does not allow s3:PutObject on this prefix: parameters Prefix, BucketName",
        " - the ACL needs s3:PutObjectAcl: deploy with RequireAcl=true, or clear `acl` in archive.yaml",
        " - the bucket policy denies it: the prefix, the ACL, TLS, If-None-Match, the VPC endpoint",
        " - the bucket belongs to another account than the role (ExpectedBucketOwner), or its default encryption"
        " needs kms:GenerateDataKey: parameter KmsKeyArn",
    ]
    return "\n".join(lines)
