"""The checks of least privilege, as a table: what is tried, and which statement to correct when the check fails.

Nothing here can harm an archive, whatever the role may do; `requests` has the rules.
"""

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from operator import attrgetter, methodcaller
from typing import Any
from urllib.parse import urlsplit

from log_archival.aws.errors import ACCESS_DENIED, NOT_IMPLEMENTED
from log_archival.exceptions import SettingsError
from log_archival.least_privilege.attempts import Target
from log_archival.least_privilege.judgement import Check

_TRUST = "archive_account.yaml: trust policy, OnlyAirflowOfTheSourceAccountMayBecomeTheWriter"
_ROLE = "archive_account.yaml: role policy AddLogs"
_BUCKET = "archive_account.yaml: bucket policy"
_DENIES = "archive_account.yaml: role policy DoNothingElse"
_ANYWHERE = f"{_DENIES}, TheWriterMayDoNothingElseAnywhere; the policies attached to the role"
_ELSE = f"{_BUCKET}, TheWriterMayDoNothingElse; {_ANYWHERE}"
_NOWHERE_ELSE = f"{_DENIES}, TheWriterMayPutNowhereElse; {_ROLE}, Resource of AddLogsUnderThePrefix"
_OUTSIDE = f"{_BUCKET}, NobodyMayWriteOutsideThePrefix; {_NOWHERE_ELSE}"
_SOURCE = "source_account.yaml: BecomeTheLogWriterOfTheArchiveAccount (parameter RoleArn)"

# What a check sends: a call of a method of `Requester`. An argument that depends on the archive is a function of it.
_assume_role = partial(methodcaller, "assume_role")
_put = partial(methodcaller, "put")
_s3 = partial(methodcaller, "send", "s3", Bucket=attrgetter("target.bucket"))
_canary = attrgetter("canary")
_unused_key = methodcaller("unused_key")
_key_at = partial(methodcaller, "key_at")

# The error codes of requests that the policies permit, about something that does not exist or can't be.
_ACLS_DISABLED = frozenset({"AccessControlListNotSupported"})  # of a bucket that disables ACLs, as ours does
_NOT_FOUND = frozenset({"NoSuchKey", "404", "NoSuchVersion", "NoSuchUpload", "MethodNotAllowed"})
_INVALID = frozenset({"MalformedXML", "MalformedPolicy", "InvalidArgument", "InvalidRequest"})
_NO_CONFIGURATION = frozenset({"NoSuchBucketPolicy", "NoSuchLifecycleConfiguration"})


def _unless(needed: Callable[[Target], object], reason: str) -> Callable[[Target], str | None]:
    return lambda target: None if needed(target) else reason


def _is_aws(target: Target) -> bool:
    host = urlsplit(target.endpoint_url or "https://amazonaws.com").hostname or ""
    return f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn"))


_UNLESS_ACL = _unless(lambda target: target.acl, "archive.yaml says that no ACL is sent (RequireAcl=false)")
_UNLESS_NO_ACL = _unless(lambda target: not target.acl, "archive.yaml says that an ACL is sent (RequireAcl=true)")
_UNLESS_KMS_KEY = _unless(lambda target: target.kms_key_arn, "archive.yaml has no kms_key_arn")
_UNLESS_TLS = _unless(lambda target: "http:" not in target.endpoint_url, "the connection's endpoint_url is not https")
_UNLESS_AWS = _unless(
    _is_aws, "outside of AWS, a server may accept any text as a bucket policy, and this check must change nothing"
)
_UNLESS_OTHER_BUCKET = _unless(lambda target: target.other_bucket, "no other_bucket is given")
_UNLESS_OTHER_ROLE = _unless(lambda target: target.other_roles, "no other role is known (there is no read_connection)")
_INVALID_LIFECYCLE = {"Rules": [{"ID": "none", "Status": "None", "Filter": {"Prefix": "none/"}}]}


def _no_version(target: Target, fields: Mapping[str, Any]) -> str | None:
    return None if fields.get("VersionId", "null") != "null" else "the bucket keeps no versions"


def _wrong_encryption(target: Target, fields: Mapping[str, Any]) -> str | None:
    algorithm, key = fields.get("ServerSideEncryption"), fields.get("SSEKMSKeyId")
    if algorithm is None:
        return "S3 returned no encryption"
    if target.kms_key_arn not in (None, key):
        return f"it was encrypted with {algorithm} and the key {key}, not with the archive's key"
    return None


#: All checks, by name.
CHECKS = {check.name: check for check in [
    # What must work.
    Check("assume-role", "AssumeRole as the connection says", _assume_role(), f"{_TRUST}; {_SOURCE}",
          expected="allowed"),
    Check("put-a-log", "upload a canary under the prefix the way archives are uploaded, into the role's own account",
          _put(), f"{_ROLE}; {_BUCKET}; parameters Prefix, BucketName, RequireAcl, KmsKeyArn", expected="allowed"),
    Check("bucket-keeps-versions", "upload a canary; S3 must return its version", _put(),
          "archive_account.yaml: VersioningConfiguration of Archive", expected="allowed", shortcoming=_no_version),
    Check("bucket-encrypts", "upload a canary; S3 must return how it is encrypted", _put(),
          "archive_account.yaml: BucketEncryption of Archive (parameter KmsKeyArn)",
          expected="allowed", shortcoming=_wrong_encryption),
    # Who may write.
    Check("assume-without-external-id", "AssumeRole with no external id", _assume_role(ExternalId=None),
          f"{_TRUST}, Condition sts:ExternalId"),
    Check("assume-with-wrong-external-id", "AssumeRole with an external id that nobody agreed on",
          _assume_role(ExternalId=secrets.token_urlsafe(24)), f"{_TRUST}, Condition sts:ExternalId"),
    Check("assume-under-another-name", "AssumeRole with a session name that does not begin with log-archival",
          _assume_role(RoleSessionName="least-privilege"), f"{_TRUST}, Condition sts:RoleSessionName", hardening=True),
    Check("source-assumes-another-role", "AssumeRole of another role with Airflow's own credentials",
          methodcaller("assume_other_roles", "source"), f"{_SOURCE}, Resource; the trust policy of the other role",
          skip_if=_UNLESS_OTHER_ROLE),
    Check("writer-assumes-another-role", "AssumeRole of another role, and of the role itself, from the role's session",
          methodcaller("assume_other_roles"),
          f"{_ANYWHERE} (sts:AssumeRole); the trust policy of the other role"),
    Check("put-without-the-role", "upload a canary with Airflow's own credentials, without the role", _put("source"),
          f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs; and what Airflow's own role or user may do in S3"),
    Check("put-as-nobody", "upload a canary with no credentials at all", _put("nobody"),
          f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs; PublicAccessBlockConfiguration of Archive"),
    Check("put-beyond-a-narrow-session", "upload a canary under the prefix, outside of what a session policy allows",
          methodcaller("put_beyond_narrow_session"),
          f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs (a role, not its sessions)"),
    # Where it may write.
    Check("put-at-the-root", "upload outside of the prefix: at the bucket's root", _put(Key=_key_at("")), _OUTSIDE),
    Check("put-beside-the-prefix", "upload outside of the prefix: `logs-…`, without its slash",
          _put(Key=_key_at("{folder}-")), _OUTSIDE),
    Check("put-with-dots", "upload outside of the prefix: `logs../…`", _put(Key=_key_at("{folder}../")), _OUTSIDE),
    Check("put-with-a-slash-before", "upload outside of the prefix: `/logs/…`",
          _put(Key=_key_at("/{folder}/")), _OUTSIDE),
    Check("put-in-capitals", "upload outside of the prefix: `LOGS/…`", _put(Key=_key_at("{FOLDER}/")), _OUTSIDE),
    # Without the ACL, which would need a second permission in the other bucket.
    Check("put-into-another-bucket", "upload into another bucket (other_bucket)",
          _put(Bucket=attrgetter("target.other_bucket"), ExpectedBucketOwner=None, ACL=None),
          f"{_NOWHERE_ELSE}; the other bucket's policy", skip_if=_UNLESS_OTHER_BUCKET),
    Check("put-to-another-owner", "upload with another account as the expected owner of the bucket",
          _put(ExpectedBucketOwner="000000000000"), "none: S3 itself refuses this. This server ignores"
          " ExpectedBucketOwner, so put-a-log doesn't prove which account the canary is in", hardening=True),
    # How it may write.
    Check("put-without-acl", "upload without the ACL", _put(ACL=None),
          f"{_BUCKET}, NobodyMayWriteWithoutTheOwnersAcl", hardening=True, skip_if=_UNLESS_ACL),
    Check("put-with-another-acl", "upload with the ACL private", _put(ACL="private"),
          f"{_BUCKET}, NobodyMayWriteWithoutTheOwnersAcl; {_DENIES}, TheWriterMayNameNoOtherAcl",
          _ACLS_DISABLED, skip_if=_UNLESS_ACL),
    Check("put-with-an-acl", "upload with an ACL", _put(ACL="bucket-owner-full-control"),
          f"{_ANYWHERE} (s3:PutObjectAcl; RequireAcl is false)", hardening=True, skip_if=_UNLESS_NO_ACL),
    Check("put-over-the-canary", "upload to the canary's key again, the way archives are uploaded", _put(Key=_canary),
          "none: S3 itself returns 412 for If-None-Match. This server does not, so uploads can replace objects here",
          refusal_codes=frozenset({"PreconditionFailed"}), hardening=True),
    Check("put-without-if-none-match", "upload without If-None-Match, which would replace an existing object",
          _put(IfNoneMatch=None), f"{_BUCKET}, NobodyMayReplaceALog", hardening=True),
    # To an unused key. S3 itself knows no other value than `*`.
    Check("put-with-another-if-none-match", "upload with an ETag as If-None-Match, which would replace other objects",
          _put(IfNoneMatch=f'"{secrets.token_hex(16)}"'), f"{_BUCKET}, NobodyMayReplaceALog",
          refusal_codes=ACCESS_DENIED | NOT_IMPLEMENTED, hardening=True),
    # With an ETag that no object has, so that nothing is replaced where this is permitted.
    Check("replace-with-if-match", "upload over the canary with If-Match instead of If-None-Match",
          _put(Key=_canary, IfNoneMatch=None, IfMatch=f'"{secrets.token_hex(16)}"'), f"{_BUCKET}, NobodyMayReplaceALog",
          frozenset({"PreconditionFailed", "NoSuchKey"}), hardening=True),
    Check("start-a-multipart-upload", "CreateMultipartUpload under the prefix, without and with If-None-Match",
          methodcaller("start_multipart_upload"), f"{_BUCKET}, LogsArriveInOnePut",
          refusal_codes=ACCESS_DENIED | NOT_IMPLEMENTED, hardening=True),
    Check("abort-a-multipart-upload", "AbortMultipartUpload of an upload that does not exist",
          _s3("abort_multipart_upload", Key=_unused_key, UploadId="none-" + "0" * 27), _ELSE, _NOT_FOUND),
    Check("put-with-a-lesser-storage-class", "upload with the storage class REDUCED_REDUNDANCY",
          _put(StorageClass="REDUCED_REDUNDANCY"),
          f"{_BUCKET}, LogsKeepTheAgreedStorageClasses (parameter StorageClasses)", hardening=True),
    Check("put-with-a-tag", "upload with an object tag", _put(Tagging="check=tag"), f"{_ELSE}: s3:PutObjectTagging"),
    Check("put-with-another-encryption", "upload with another encryption than the bucket's",
          _put(ServerSideEncryption=lambda requester: "AES256" if requester.target.kms_key_arn else "aws:kms"),
          f"{_BUCKET}, LogsAreEncryptedAsTheBucketSays (parameter KmsKeyArn)", _INVALID, hardening=True),
    Check("put-with-a-key-of-ones-own", "upload with SSE-C: encrypted so that only the sender can read it",
          _put(SSECustomerAlgorithm="AES256", SSECustomerKey=secrets.token_bytes(32)),
          f"{_BUCKET}, NobodyMayBringAKeyOfTheirOwn", hardening=True),
    Check("put-without-tls", "upload over plain HTTP", _put(tls=False), f"{_BUCKET}, NothingTravelsUnencrypted",
          hardening=True, skip_if=_UNLESS_TLS),
    Check("use-the-key-directly", "kms:GenerateDataKey without S3",
          methodcaller("send", "kms", "generate_data_key", KeyId=attrgetter("target.kms_key_arn"), KeySpec="AES_256"),
          f"{_DENIES}, TheWriterMayNotUseTheKeyDirectly; {_ROLE}, Condition of EncryptLogsWithTheArchiveKey",
          skip_if=_UNLESS_KMS_KEY),
    # Anything outside of the bucket. Of S3 and STS only: Airflow's network may have no way to other services.
    Check("list-buckets", "ListBuckets", methodcaller("send", "s3", "list_buckets"), _ANYWHERE),
    Check("list-another-bucket", "ListObjectsV2 of another bucket (other_bucket)",
          _s3("list_objects_v2", Bucket=attrgetter("target.other_bucket"), MaxKeys=1),
          f"{_ANYWHERE}; the other bucket's policy", skip_if=_UNLESS_OTHER_BUCKET),
    Check("use-another-service", "sts:GetAccessKeyInfo of the session's own key, for all services but S3",
          methodcaller("send", "sts", "get_access_key_info", AccessKeyId=attrgetter("writer.access_key")), _ANYWHERE),
    # Reading, of the canary only.
    Check("get-a-log", "GetObject of the canary", _s3("get_object", Key=_canary), _ELSE, _NOT_FOUND),
    Check("get-a-version", "GetObject of a version of the canary",
          _s3("get_object", Key=_canary, VersionId="null"), _ELSE, _NOT_FOUND),
    Check("head-a-log", "HeadObject of the canary", _s3("head_object", Key=_canary), _ELSE, _NOT_FOUND),
    Check("get-an-acl", "GetObjectAcl of the canary", _s3("get_object_acl", Key=_canary), _ELSE, _NOT_FOUND),
    Check("list-logs", "ListObjectsV2 of the canary's key",
          _s3("list_objects_v2", Prefix=attrgetter("target.canary")), _ELSE),
    Check("list-versions", "ListObjectVersions of the canary's key",
          _s3("list_object_versions", Prefix=attrgetter("target.canary")), _ELSE),
    # Changing what does not exist.
    Check("delete-a-log", "DeleteObject of a key that does not exist",
          _s3("delete_object", Key=_unused_key), _ELSE, _NOT_FOUND),
    Check("delete-a-version", "DeleteObject of a version that does not exist",
          _s3("delete_object", Key=_unused_key, VersionId="null"), _ELSE, _NOT_FOUND),
    Check("put-an-acl", "PutObjectAcl, private, of a key that does not exist",
          _s3("put_object_acl", Key=_unused_key, ACL="private"),
          f"{_DENIES}, TheWriterMayNameNoOtherAcl; {_ROLE}, Condition of NameTheBucketOwnersAclInThePut",
          _NOT_FOUND | _ACLS_DISABLED),
    Check("put-an-acl-outside", "PutObjectAcl of a key outside of the prefix that does not exist",
          _s3("put_object_acl", Key=_key_at(""), ACL="bucket-owner-full-control"),
          f"{_DENIES}, TheWriterMayPutNowhereElse; {_ROLE}, Resource of NameTheBucketOwnersAclInThePut",
          _NOT_FOUND | _ACLS_DISABLED, hardening=True),
    # The bucket's configuration; what is put is invalid, so that S3 can't apply it.
    Check("get-the-bucket-policy", "GetBucketPolicy", _s3("get_bucket_policy"), _ELSE, _NO_CONFIGURATION),
    Check("put-the-bucket-policy", "PutBucketPolicy of a text that is no policy",
          _s3("put_bucket_policy", Policy="none"), _ELSE, _INVALID, skip_if=_UNLESS_AWS),
    Check("get-the-versioning", "GetBucketVersioning", _s3("get_bucket_versioning"), _ELSE),
    Check("put-the-versioning", "PutBucketVersioning to a status that does not exist",
          _s3("put_bucket_versioning", VersioningConfiguration={"Status": "None"}), _ELSE, _INVALID),
    Check("get-the-lifecycle", "GetBucketLifecycleConfiguration", _s3("get_bucket_lifecycle_configuration"),
          _ELSE, _NO_CONFIGURATION),
    Check("put-the-lifecycle", "PutBucketLifecycleConfiguration of an invalid rule",
          _s3("put_bucket_lifecycle_configuration", LifecycleConfiguration=_INVALID_LIFECYCLE), _ELSE, _INVALID),
    Check("get-the-bucket-acl", "GetBucketAcl", _s3("get_bucket_acl"), _ELSE),
    Check("put-the-bucket-acl", "PutBucketAcl to an ACL that does not exist",
          _s3("put_bucket_acl", ACL="none"), _ELSE, _INVALID | _ACLS_DISABLED),
]}  # fmt: skip


def require_known_checks(names: Iterable[str], setting: str) -> None:
    """Require that each name is that of a check.

    :param names: the names
    :param setting: where they come from, for the message
    :raises SettingsError: with the names that no check has
    """
    if unknown := sorted(set(names) - CHECKS.keys()):
        found = ", ".join(map(repr, unknown))
        raise SettingsError(f"{setting}: no check is called {found}", hint="The checks: " + ", ".join(sorted(CHECKS)))


def applicable_checks(target: Target, names: Collection[str] = ()) -> tuple[list[Check], dict[str, str]]:
    """Return the checks to try on a target; and, by name, why the others are not tried.

    :param target: the archive
    :param names: only these; all of them when empty
    :raises SettingsError: for a name that no check has, and when none of the checks can be tried
    """
    require_known_checks(names, "checks")
    chosen = names or CHECKS
    reasons = {name: check.skip_if(target) for name, check in CHECKS.items()}
    not_tried = {name: reason or "not chosen" for name, reason in reasons.items() if reason or name not in chosen}
    if not_tried.keys() == CHECKS.keys():
        raise SettingsError("no check can be tried: " + "; ".join(f"{name}: {not_tried[name]}" for name in chosen))
    return [check for name, check in CHECKS.items() if name not in not_tried], not_tried
