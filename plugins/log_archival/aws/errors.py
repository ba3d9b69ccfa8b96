"""What an answer of S3 or STS means: passing or permanent, the likely cause, and where to mend it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from log_archival.exceptions import ArchiveRequestError, RefusedError

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


# How AWS says which policy refused, where it says it at all:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_ACTION = re.compile(r"perform: ([a-z0-9]+:[A-Za-z]+)")
_CALLER = re.compile(r"User: arn:(aws[a-z-]*):(?:sts::(\d{12}):assumed-role/([^/\s]+)/\S+|iam::(\d{12}):(\S+))")
_BEYOND = {
    "service control policy": "a service control policy of the organization",
    "resource control policy": "a resource control policy of the organization",
    "permissions boundary": "a permissions boundary of the role or user that asked",
    "VPC endpoint policy": "the policy of the VPC endpoint that the request went through",
}
_EXPIRED = "The credentials that the connection starts from have expired; renew them."
_BUCKET = "Is the bucket's name right, and is the archive account's stack deployed in this region?"
_REGION = 'The bucket is in another region: set "region_name" in the connection\'s extra.'
_KEY = "The connection's own access key (login and password) is wrong or inactive."
_HINTS = {
    "NoSuchBucket": _BUCKET, "404": _BUCKET,
    "PermanentRedirect": _REGION, "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "ExpiredToken": _EXPIRED, "ExpiredTokenException": _EXPIRED,
    "InvalidClientTokenId": _KEY, "UnrecognizedClientException": _KEY, "InvalidAccessKeyId": _KEY,
    "SignatureDoesNotMatch": _KEY,
    "RegionDisabledException": 'STS is not active in this region; set another "region_name".',
    "KMS.DisabledException": f"The archive's KMS key is disabled: parameter KmsKeyArn of {_ARCHIVE}.",
    "KMS.NotFoundException": f"The archive's KMS key is gone: parameter KmsKeyArn of {_ARCHIVE}.",
    "KMS.KMSInvalidStateException": f"The archive's KMS key can't be used: parameter KmsKeyArn of {_ARCHIVE}.",
}  # fmt: skip


def _hint(attempt: Attempt, code: str, said: str) -> str:
    if code == "ValidationError" and "DurationSeconds" in said:
        return (
            'Leave "DurationSeconds" out of "assume_role_kwargs" in the connection\'s extra: a session lasts as long as'
            f" MaxSessionDuration of {_ARCHIVE} says, an hour at most when roles are chained; it is renewed by itself."
        )
    if code not in ("AccessDenied", "403", "AllAccessDisabled"):
        return _HINTS.get(code, "Check the connection's credentials, its region and the bucket.")
    for policy, in_words in _BEYOND.items():
        if policy in said:
            return f"Refused by {in_words}, which is in neither of the templates: ask who administers it."
    found = _ACTION.search(said)
    action = found[1] if found else ""
    likely = _assume_role(said, action) if attempt.operation == "AssumeRole" else _put(attempt, said, action)
    if len(likely) == 1:
        return f"Likely: {likely[0]}"
    return "\n".join(["Likely, in this order:", *(f" {number}. {line}" for number, line in enumerate(likely, 1))])


def _assume_role(said: str, action: str) -> list[str]:
    if action in ("sts:TagSession", "sts:SetSourceIdentity"):
        name = "Tags" if action == "sts:TagSession" else "SourceIdentity"
        return [f'the role\'s trust policy does not allow {action}: leave "{name}" out of "assume_role_kwargs"']
    caller = _caller(said)
    own = (
        f"{caller or 'Airflow itself'} may not assume this role: statement BecomeTheLogWriterOfTheArchiveAccount of"
        f" {_SOURCE}, parameters RoleArn (this role) and AirflowRoleName or AirflowUserName (who asks)"
    )
    trust = f"statement OnlyAirflowOfTheSourceAccountMayBecomeTheWriter of {_ARCHIVE}"
    if "identity-based policy" in said:
        return [own]
    return [
        f'"external_id" is not the one that the role\'s trust policy asks for: {trust}, parameter ExternalId',
        f"the trust policy names somebody else than {caller or 'whom Airflow runs as'}: {trust}, parameter"
        " SourcePrincipalArn; a role or user that was deleted and made anew has to be deployed anew",
        own,
        f'the role does not exist: "role_arn" has to be the output RoleArn of {_ARCHIVE}',
        f"the session name (`session_name` of the hook) does not begin with log-archival: {trust}",
        f"the source account is not in the organization asked for: {trust}, parameter OrganizationId",
    ]


def _caller(said: str) -> str | None:
    """Who asked, as SourcePrincipalArn has to name it: a role's ARN rather than that of its session."""
    found = _CALLER.search(said)
    if not found:
        return None
    partition, of_session, role, account, name = found.groups()
    return f"arn:{partition}:iam::{of_session}:role/{role}" if role else f"arn:{partition}:iam::{account}:{name}"


def _put(attempt: Attempt, said: str, action: str) -> list[str]:
    if action == "s3:PutObjectAcl":
        return [
            f"the role may not name an ACL: statement NameTheBucketOwnersAclInThePut of {_ARCHIVE}. Deploy it with"
            " RequireAcl=true, or, where RequireAcl=false is meant, set `acl: null` in archive.yaml"
        ]
    if action.startswith("kms:"):
        return [
            f"the role may not use the bucket's KMS key: statement EncryptLogsWithTheArchiveKey of {_ARCHIVE},"
            " parameter KmsKeyArn, and the key's own policy",
            "the session may not: set `kms_key_arn` in archive.yaml to that same key",
        ]
    outside = [
        f"the key is not under the one prefix: statements AddLogsUnderThePrefix and NobodyMayWriteOutsideThePrefix of"
        f" {_ARCHIVE}, parameter Prefix; `prefix` of archive.yaml has to be the same",
    ]
    if "no identity-based policy" in said or "no session policy" in said:
        return [
            *outside,
            f"the role is of another bucket: parameter BucketName of {_ARCHIVE}; `bucket` of archive.yaml has to be the"
            " same",
            f"the session is narrowed to {attempt.prefix or 'its prefix'}, and the key lies outside of it",
        ]
    acl = [
        f"the put carries no ACL: statement NobodyMayWriteWithoutTheOwnersAcl of {_ARCHIVE}. Set `acl:"
        " bucket-owner-full-control` in archive.yaml, or deploy with RequireAcl=false"
    ]
    denied = [
        *([] if attempt.has_acl else acl),
        f"the put did not come through the VPC endpoint: statement LogsComeThroughTheVpcEndpoint of {_ARCHIVE},"
        " parameter VpcEndpointId",
        *outside,
        f"the put did not come over TLS 1.2: statements NothingTravelsUnencrypted and NothingTravelsUnderAnOldTls of"
        f' {_ARCHIVE}; "endpoint_url" of the connection has to be https, and a proxy must not end TLS',
        f"If-None-Match or another header was lost on the way, in a proxy: statements NobodyMayReplaceALog,"
        f" LogsArriveInOnePut, LogsKeepTheAgreedStorageClasses, LogsAreEncryptedAsTheBucketSays,"
        f" LogsAreEncryptedWithTheArchiveKey and NobodyMayBringAKeyOfTheirOwn of {_ARCHIVE}",
        f"the bucket policy was changed after it was deployed: compare it with {_ARCHIVE}",
    ]
    if "explicit deny" in said:
        return denied
    # S3 did not say whose policy it was.
    owner = f"the bucket belongs to another account than the role: `bucket` of archive.yaml, BucketName of {_ARCHIVE}"
    acl_permission = (
        f"the role may not name the ACL: NameTheBucketOwnersAclInThePut of {_ARCHIVE}, parameter RequireAcl"
    )
    kms = f"the role may not use the bucket's KMS key: EncryptLogsWithTheArchiveKey of {_ARCHIVE}, parameter KmsKeyArn"
    return [owner, *denied[:-2], *([acl_permission] if attempt.has_acl else []), kms, *denied[-2:]]
