"""Errors of S3 and STS: which are transient and which permanent, the likely cause, and what to correct.

This is the only classification; the writer, the reader, the sources and the privilege checks all use it.
"""

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError
from botocore.parsers import ResponseParserError

from log_archival.exceptions import ArchiveRequestError, RefusedError

_ARCHIVE = "include/cloudformation/archive_account.yaml"
_SOURCE = "include/cloudformation/source_account.yaml"

#: What a request gets that the policies deny; HeadObject has no body, so only the status.
ACCESS_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "403"})
#: What S3 returns, with the status 501, for a header's value that it doesn't implement.
NOT_IMPLEMENTED = frozenset({"NotImplemented", "501"})
#: What S3, or a server like it, returns when the body is not what the checksum says.
CHECKSUM_MISMATCH = frozenset(
    {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
)
#: Two puts of one key at once. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
RACE = frozenset({"ConditionalRequestConflict", "OperationAborted"})
#: What is returned for a bucket of another region than the client's.
WRONG_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_REDIRECT = frozenset({"TemporaryRedirect", "301", "302", "303", "307", "308"})
# Codes of clients' errors (4xx) that a retry can help all the same.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_TRANSIENT = {
    *CHECKSUM_MISMATCH, "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled",
    "RequestThrottledException", "RequestLimitExceeded", "BandwidthLimitExceeded", "PriorRequestNotComplete",
    "RequestTimeout", "RequestTimeoutException", "RequestTimeTooSkewed", "IncompleteBody", "IDPCommunicationError",
}  # fmt: skip
#: Services that are no S3 quote the canonical request after the first line: the session's token is one of its headers.
_MESSAGE_HAS_REQUEST = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})
_RETRY = "This error is transient: a retry may succeed."
_NOT_WHOLE = "It may have been cut off, or be the page of a proxy: a retry may succeed."
_TRANSIENT_HINTS = {
    "RequestTimeTooSkewed": "Is this machine's clock right? It and the service's differ by more than 15 minutes.",
}
_TRANSIENT_STATUSES = {408, 409, 425, 429}


def is_transient(code: str, status: int) -> bool:
    """Return whether a retry of a failed request can help.

    The code decides where it is known, else the HTTP status: 408, 409, 425, 429 and 5xx but 501 are transient, other
    4xx (401, 403 and 404 among them) and redirects are permanent. S3 returns 501 for a header or operation that it
    doesn't implement, and does so again.

    :param code: the error code of S3, STS or KMS
    :param status: the HTTP status; 0 when there is none
    """
    if code in ACCESS_DENIED | NOT_IMPLEMENTED or status == 501:
        return False
    return code in _TRANSIENT or status in _TRANSIENT_STATUSES or not 300 <= status < 500


def code_and_status(response: Mapping[str, Any]) -> tuple[str, int]:
    """Return the error code and the HTTP status of botocore's error response; without a code, the status is the code.

    :param response: ``ClientError.response``
    """
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    return str(_error_of(response).get("Code") or status or ""), status


def _error_of(response: Mapping[str, Any]) -> Mapping[str, Any]:
    # An STS that is not AWS's may answer in the form of S3's errors, which botocore doesn't look into.
    return response.get("Error") or response


def message_of(response: Mapping[str, Any]) -> str:
    """Return the message of botocore's error response, without what it may quote of the request.

    :param response: ``ClientError.response``
    """
    message = str(_error_of(response).get("Message") or "").strip()
    code, _ = code_and_status(response)
    return message.partition("\n")[0].strip() if code in _MESSAGE_HAS_REQUEST else message


@dataclass(frozen=True)
class Request:
    """What was requested, for messages: names only, nothing secret.

    :param operation: for example ``PutObject``
    :param where: the bucket and key, or the role's ARN
    :param who: the role's ARN and session name, or the connection's own credentials; empty when there is only one
    :param has_acl: whether the request carried the ACL header
    :param prefix: what the session is narrowed to
    """

    operation: str
    where: str
    who: str = ""
    has_acl: bool = True
    prefix: str = ""

    def __str__(self) -> str:
        """Return operation, object and caller."""
        return f"{self.operation} {self.where}" + (f" as {self.who}" if self.who else "")


#: Returns the likely cause of a permanent error: of the request, its error code, and the server's message.
Hint = Callable[[Request, str, str], str | None]


@contextmanager
def translated_errors(*requests: Request, hint: Hint, setup: str = "credentials, profile and region") -> Iterator[None]:
    """Raise botocore's errors as this package's, transient or permanent.

    :param requests: the request that is sent, then those that sending it may entail (AssumeRole)
    :param hint: for permanent errors
    :param setup: what to check when a request can't be sent at all
    :raises RefusedError: for permanent errors
    :raises ArchiveRequestError: for transient ones
    """
    try:
        yield
    except ClientError as error:
        request = next((one for one in requests if one.operation == error.operation_name), requests[0])
        code, status = code_and_status(error.response)
        message = message_of(error.response)
        text = f"{request} failed: {status or ''} {code}: {message}"
        if is_transient(code, status):
            raise ArchiveRequestError(text, hint=_TRANSIENT_HINTS.get(code, _RETRY)) from error
        # The cause would be logged with the whole message.
        cause = None if code in _MESSAGE_HAS_REQUEST else error
        raise RefusedError(text, code=code, hint=hint(request, code, message)) from cause
    except (HTTPClientError, ConnectionError) as error:
        raise ArchiveRequestError(f"{requests[0]} failed: {error}", hint="Is the network up?") from error
    except BotoCoreError as error:
        # No credentials, an unknown profile, a parameter that botocore rejects: a retry can't help.
        code = type(error).__name__
        raise RefusedError(f"{requests[0]} could not be sent: {error}", code=code, hint=f"Check {setup}.") from error
    except Exception as error:
        operation, status = _operation_and_status(error)
        # botocore's parsers trust a server: of what they don't expect, they raise anything, a KeyError for one.
        if not operation and not isinstance(error, ResponseParserError):
            raise
        # The message has the response's body: that of AssumeRole has the session's secret key and token.
        request = next((one for one in requests if one.operation == operation), requests[0])
        text = f"{request} failed: {status or ''} the response can't be read"
        if status >= 300 and not is_transient("", status):
            raise RefusedError(text, code=str(status), hint=hint(request, str(status), "")) from None
        raise ArchiveRequestError(text, hint=_NOT_WHOLE) from None


def require_whole(request: Request, response: Mapping[str, Any], *names: str) -> None:
    """Require what every answer to a request has: botocore takes one that was cut off for one that has nothing.

    :param request: that was sent
    :param response: botocore's
    :param names: of what it must have
    :raises ArchiveRequestError: when it has not
    """
    if missing := [name for name in names if name not in response]:
        raise ArchiveRequestError(
            f"{request} failed: the response has no {', '.join(missing)}",
            hint=_NOT_WHOLE,
        )


def require_whole_page(request: Request, page: Mapping[str, Any]) -> None:
    """Require what every page of ListObjectsV2 has: without it, the pages that follow would be missed.

    :param request: that was sent
    :param page: botocore's
    :raises ArchiveRequestError: when it has not
    """
    require_whole(request, page, "IsTruncated", *(["NextContinuationToken"] if page.get("IsTruncated") else []))


def _operation_and_status(error: Exception) -> tuple[str, int]:
    """Return of which operation a response is that can't be read, and its HTTP status, which the error doesn't tell.

    Who refuses in HTML, in JSON or without a body is a proxy, or a service that is no STS. Of an error that botocore's
    parser did not raise, both are empty.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = frame.f_locals
        if "operation_model" in found and "http_response" in found:
            return str(found["operation_model"].name), int(found["http_response"].status_code)
    return "", 0


# How AWS says which policy refused, where it says it at all:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_OTHER_POLICY = re.compile("service control policy|resource control policy|permissions boundary|VPC endpoint policy")
_HINTS = (
    ({"NoSuchBucket", "404"}, "Is the bucket's name right, and the archive account's stack deployed in this region?"),
    (
        WRONG_REGION,
        'The bucket is in another region: set "region_name" in the connection\'s extra, or give --region.',
    ),
    (
        _REDIRECT,
        'The endpoint redirects to another host, which is not followed: correct "endpoint_url" or "region_name" in the'
        " connection's extra; or is a proxy in between that asks to log in?",
    ),
    ({"RegionDisabledException"}, 'STS is not active in this region; set another "region_name".'),
    (
        {"ExpiredToken", "ExpiredTokenException"},
        "The credentials that the connection or profile starts from have expired; renew them.",
    ),
    (
        {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch"},
        "The access key or its secret (a connection's own login and password) is wrong, inactive, or of another service"
        " than the endpoint; or this machine's clock is wrong.",
    ),
    (
        {"KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"},
        f"The archive's KMS key is disabled, gone, or can't be used: parameter KmsKeyArn of {_ARCHIVE}.",
    ),
    (
        {"InvalidObjectState"},
        "The object is in an archival storage class: restore it first (`aws s3api restore-object`).",
    ),
)
_DURATION = (
    'Leave "DurationSeconds" out of "assume_role_kwargs" in the connection\'s extra: a session lasts as long as'
    f" MaxSessionDuration of {_ARCHIVE} says, an hour at most when roles are chained; it is renewed by itself."
)


_NO_STS = (
    'AWS\'s STS says why it refuses, and this service does not: is the endpoint an STS ("service_config"."sts".'
    '"endpoint_url" in the connection\'s extra)? If so, does it have the role ("role_arn"), may the credentials assume'
    ' it, and does it ask for another "external_id"?'
)


def hint_of_code(code: str) -> str | None:
    """Return the likely cause of a permanent error, whoever sent the request; None when the code alone doesn't tell.

    :param code: the error code
    """
    return next((hint for codes, hint in _HINTS if code in codes), None)


def hint_of_other_policy(message: str) -> str | None:
    """Return whom to ask when AWS says that a policy refused which is not a role's, bucket's or key's.

    :param message: the message of the server
    """
    if not (policy := _OTHER_POLICY.search(message)):
        return None
    return (
        f"Refused by a {policy[0]}, which is in neither of the templates: ask who administers the organization, the"
        " role or user that asked, or the VPC endpoint that the request went through."
    )


def hint_of_refused_role(request: Request, code: str) -> str | None:
    """Return the likely cause when AssumeRole was refused by what is no STS of AWS, or by a proxy: without a code.

    :param request: what was requested
    :param code: the error code, or the status
    """
    return _NO_STS if request.operation == "AssumeRole" and code.isdigit() and code not in _REDIRECT else None


def writer_hint(request: Request, code: str, message: str) -> str:
    """Return the likely cause of a permanent error of AssumeRole or PutObject.

    :param request: what was requested
    :param code: the error code
    :param message: the message of the server
    """
    if code == "ValidationError" and "DurationSeconds" in message:
        return _DURATION
    if no_sts := hint_of_refused_role(request, code):
        return no_sts
    if code not in ACCESS_DENIED:
        return hint_of_code(code) or "Check the connection's credentials, its region and the bucket."
    if other := hint_of_other_policy(message):
        return other
    if request.operation == "AssumeRole":
        causes = _causes_of_refused_assume_role(message)
    else:
        causes = _causes_of_refused_put(request, message)
    if len(causes) == 1:
        return f"Likely: {causes[0]}"
    return "\n".join(["Likely, in this order:", *(f" {number}. {line}" for number, line in enumerate(causes, 1))])


_PATH_IS_UNKNOWN = (
    ". The path of a role is not known from its session's ARN: a role /airflow/worker appears as role/worker, and"
    " SourcePrincipalArn has to have its path"
)


def _causes_of_refused_assume_role(message: str) -> list[str]:
    for action, name in (("sts:TagSession", "Tags"), ("sts:SetSourceIdentity", "SourceIdentity")):
        if f"perform: {action}" in message:
            return [f'the role\'s trust policy does not allow {action}: leave "{name}" out of "assume_role_kwargs"']
    found = re.search(r"User: (arn:\S+)", message)
    # SourcePrincipalArn and AirflowRoleName name a role, not its session.
    caller = re.sub(r":sts:(:\d+:)assumed-role/([^/]+)/.*", r":iam:\1role/\2", found[1]) if found else ""
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
    path = _PATH_IS_UNKNOWN if ":role/" in caller else ""
    own = (
        f"{caller or 'Airflow itself'} may not assume this role: statement BecomeTheLogWriterOfTheArchiveAccount of"
        f" {_SOURCE}, parameters RoleArn (this role) and AirflowRoleName or AirflowUserName (who asks)"
    )
    if "identity-based policy" in message:
        return [own + path]
    trust = f"statement OnlyAirflowOfTheSourceAccountMayBecomeTheWriter of {_ARCHIVE}"
    return [
        f'"external_id" is not the one that the role\'s trust policy asks for: {trust}, parameter ExternalId',
        f"the trust policy names somebody else than {caller or 'whom Airflow runs as'}: {trust}, parameter"
        f" SourcePrincipalArn; a role or user that was deleted and recreated has to be deployed again{path}",
        own,
        f'the role does not exist: "role_arn" has to be the output RoleArn of {_ARCHIVE}',
        f"the session name (`session_name` of the hook) does not begin with log-archival: {trust}",
        f"the source account is not in the organization asked for: {trust}, parameter OrganizationId",
    ]


def _causes_of_refused_put(request: Request, message: str) -> list[str]:
    acl = (
        "the role may not name an ACL: statements NameTheBucketOwnersAclInThePut and TheWriterMayNameNoOtherAcl of"
        f" {_ARCHIVE}. Deploy it with RequireAcl=true, or, where RequireAcl=false is meant, set `acl: null` in"
        " archive.yaml"
    )
    if "perform: s3:PutObjectAcl" in message:
        return [acl]
    key = (
        "the role may not use the bucket's KMS key: statements EncryptLogsWithTheArchiveKey, TheWriterMayUseNoOtherKey"
        f" and TheWriterMayNotUseTheKeyDirectly of {_ARCHIVE}, parameter KmsKeyArn, and the key's own policy"
    )
    if "perform: kms:" in message:
        return [key, "the session may not: set `kms_key_arn` in archive.yaml to that same key"]
    outside = (
        "the key is not under the one prefix: statements AddLogsUnderThePrefix, TheWriterMayPutNowhereElse and"
        f" NobodyMayWriteOutsideThePrefix of {_ARCHIVE}, parameter Prefix; `prefix` of archive.yaml has to be the same"
    )
    bucket = f"parameter BucketName of {_ARCHIVE}; `bucket` of archive.yaml has to be the same"
    if "explicit deny in an identity-based policy" in message:
        return [outside, f"the role is of another bucket: {bucket}"]
    if "no identity-based policy" in message or "no session policy" in message:
        narrowed = f"the session is narrowed to {request.prefix}, and the key is outside of it"
        return [outside, f"the role is of another bucket: {bucket}", narrowed]
    no_acl = (
        f"the put carries no ACL: statement NobodyMayWriteWithoutTheOwnersAcl of {_ARCHIVE}. Set `acl:"
        " bucket-owner-full-control` in archive.yaml, or deploy with RequireAcl=false"
    )
    denied = [
        *([] if request.has_acl else [no_acl]),
        f"the put did not come through the VPC endpoint: statement LogsComeThroughTheVpcEndpoint of {_ARCHIVE},"
        " parameter VpcEndpointId",
        outside,
        "the put did not come over TLS 1.2: statements NothingTravelsUnencrypted and NothingTravelsUnderAnOldTls of"
        f' {_ARCHIVE}; "endpoint_url" of the connection has to be https, and a proxy must not end TLS',
    ]
    if "explicit deny" not in message:  # S3 did not say whose policy it was
        owner = f"the bucket belongs to another account than the role: {bucket}"
        denied = [owner, *denied, *([acl] if request.has_acl else []), key]
    return [
        *denied,
        "If-None-Match or another header was lost on the way, in a proxy: statements NobodyMayReplaceALog,"
        " LogsArriveInOnePut, LogsKeepTheAgreedStorageClasses, LogsAreEncryptedAsTheBucketSays,"
        f" LogsAreEncryptedWithTheArchiveKey and NobodyMayBringAKeyOfTheirOwn of {_ARCHIVE}",
        f"the bucket policy was changed after it was deployed: compare it with {_ARCHIVE}",
    ]
