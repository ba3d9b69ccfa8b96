"""The checks of least privilege, as a table: what is tried, and which statement to correct when the check fails.

Nothing here can harm an archive, whatever the role may do; `requests` has the rules.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from log_archival.exceptions import SettingsError
from log_archival.least_privilege import trials
from log_archival.least_privilege.judgement import Check
from log_archival.least_privilege.requests import Requester, Target
from log_archival.least_privilege.trials import about_bucket, about_canary, about_unused_key, list_canary, put, put_at

_TRUST = "archive_account.yaml: trust policy, OnlyAirflowOfTheSourceAccountMayBecomeTheWriter"
_ROLE = "archive_account.yaml: role policy AddLogs"
_BUCKET = "archive_account.yaml: bucket policy"
_ELSE = f"{_BUCKET}, TheWriterMayDoNothingElse; {_ROLE} (it allows more than s3:PutObject)"
_OUTSIDE = f"{_BUCKET}, NobodyMayWriteOutsideThePrefix; {_ROLE}, Resource of AddLogsUnderThePrefix"
_SOURCE = "source_account.yaml: BecomeTheLogWriterOfTheArchiveAccount (parameter RoleArn)"

# The error codes of requests that the policies permit, about something that does not exist or can't be.
_NOT_FOUND = frozenset({"NoSuchKey", "404", "NoSuchVersion", "NoSuchUpload", "MethodNotAllowed"})
_INVALID = frozenset({"MalformedXML", "MalformedPolicy", "InvalidArgument", "InvalidRequest"})
_ACLS_DISABLED = frozenset({"AccessControlListNotSupported"})  # of a bucket that disables ACLs, as ours does


def _no_acl_is_sent(target: Target) -> str | None:
    return None if target.acl else "archive.yaml says that no ACL is sent (RequireAcl=false)"


def _an_acl_is_sent(target: Target) -> str | None:
    return "archive.yaml says that an ACL is sent (RequireAcl=true)" if target.acl else None


def _no_kms_key(target: Target) -> str | None:
    return None if target.kms_key_arn else "archive.yaml has no kms_key_arn"


def _no_tls(target: Target) -> str | None:
    has_tls = not (target.endpoint_url or "").startswith("http:")
    return None if has_tls else "the connection's endpoint_url is not https"


def _not_aws(target: Target) -> str | None:
    host = urlsplit(target.endpoint_url or "https://amazonaws.com").hostname or ""
    if f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return None
    return "outside of AWS, a server may accept any text as a bucket policy, and this check must change nothing"


def _no_other_bucket(target: Target) -> str | None:
    return None if target.other_bucket else "no other_bucket is given"


def _no_other_role(target: Target) -> str | None:
    return None if target.other_roles else "no other role is known (there is no read_connection)"


def _no_version(target: Target, fields: Mapping[str, Any]) -> str | None:
    return None if fields.get("VersionId", "null") != "null" else "the bucket keeps no versions"


def _wrong_encryption(target: Target, fields: Mapping[str, Any]) -> str | None:
    algorithm, key = fields.get("ServerSideEncryption"), fields.get("SSEKMSKeyId")
    if not target.kms_key_arn:
        return None if algorithm else "S3 returned no encryption"
    if (algorithm, key) == ("aws:kms", target.kms_key_arn):
        return None
    return f"it was encrypted with {algorithm or 'nothing'} {key or ''}, not with the archive's key"


_MUST_WORK = [
    Check("assume-role", "AssumeRole as the connection says", Requester.assume_role,
          f"{_TRUST}; {_SOURCE}", "allowed"),
    Check("put-a-log", "upload a canary under the prefix the way archives are uploaded, into the role's own account",
          put(), f"{_ROLE}; {_BUCKET}; parameters Prefix, BucketName, RequireAcl, KmsKeyArn", "allowed"),
    Check("bucket-keeps-versions", "upload a canary; S3 must return its version",
          put(), "archive_account.yaml: VersioningConfiguration of Archive", "allowed", shortcoming=_no_version),
    Check("bucket-encrypts", "upload a canary; S3 must return how it is encrypted",
          put(), "archive_account.yaml: BucketEncryption of Archive (parameter KmsKeyArn)", "allowed",
          shortcoming=_wrong_encryption),
]  # fmt: skip

_WHO_MAY_WRITE = [
    Check("assume-without-external-id", "AssumeRole with no external id",
          lambda requester: requester.assume_role(ExternalId=None), f"{_TRUST}, Condition sts:ExternalId"),
    Check("assume-with-wrong-external-id", "AssumeRole with an external id that nobody agreed on",
          lambda requester: requester.assume_role(ExternalId=secrets.token_urlsafe(24)),
          f"{_TRUST}, Condition sts:ExternalId"),
    Check("assume-under-another-name", "AssumeRole with a session name that does not begin with log-archival",
          lambda requester: requester.assume_role(RoleSessionName="least-privilege"),
          f"{_TRUST}, Condition sts:RoleSessionName", hardening=True),
    Check("source-assumes-another-role", "AssumeRole of another role with Airflow's own credentials",
          trials.assume_other_role_as_source, f"{_SOURCE}, Resource; the trust policy of the other role",
          skip_if=_no_other_role),
    Check("writer-assumes-another-role", "AssumeRole of another role, and of the role itself, from the role's session",
          trials.assume_other_role_as_writer,
          f"{_ROLE} (it allows sts:AssumeRole); the trust policy of the other role"),
    Check("put-without-the-role", "upload a canary with Airflow's own credentials, without the role",
          put(caller="source"),
          f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs; and what Airflow's own role or user may do in S3"),
    Check("put-as-nobody", "upload a canary with no credentials at all", put(caller="nobody"),
          f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs; PublicAccessBlockConfiguration of Archive"),
    Check("put-beyond-a-narrow-session", "upload a canary under the prefix, outside of what a session policy allows",
          trials.put_outside_narrowed_session,
          f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs (a role, not its sessions)"),
]  # fmt: skip

_WHERE = [
    Check("put-at-the-root", "upload outside of the prefix: at the bucket's root",
          put_at(lambda folder: ""), _OUTSIDE),
    Check("put-beside-the-prefix", "upload outside of the prefix: `logs-…`, without its slash",
          put_at(lambda folder: f"{folder}-"), _OUTSIDE),
    Check("put-with-dots", "upload outside of the prefix: `logs../…`",
          put_at(lambda folder: f"{folder}../"), _OUTSIDE),
    Check("put-with-a-slash-before", "upload outside of the prefix: `/logs/…`",
          put_at(lambda folder: f"/{folder}/"), _OUTSIDE),
    Check("put-in-capitals", "upload outside of the prefix: `LOGS/…`",
          put_at(lambda folder: f"{folder.swapcase()}/"), _OUTSIDE),
    Check("put-into-another-bucket", "upload into another bucket (other_bucket)", trials.put_into_other_bucket,
          f"{_ROLE}, Resource of AddLogsUnderThePrefix; the other bucket's policy", skip_if=_no_other_bucket),
    Check("put-to-another-owner", "upload with another account as the expected owner of the bucket",
          put(ExpectedBucketOwner="000000000000"),
          "none: S3 itself refuses this. This server ignores ExpectedBucketOwner, so put-a-log doesn't prove which"
          " account the canary is in", hardening=True),
]  # fmt: skip

_HOW = [
    Check("put-without-acl", "upload without the ACL", put(ACL=None),
          f"{_BUCKET}, NobodyMayWriteWithoutTheOwnersAcl", hardening=True, skip_if=_no_acl_is_sent),
    Check("put-with-another-acl", "upload with the ACL private", put(ACL="private"),
          f"{_BUCKET}, NobodyMayWriteWithoutTheOwnersAcl; {_ROLE}, Condition of NameTheBucketOwnersAclInThePut",
          permitted_codes=_ACLS_DISABLED, skip_if=_no_acl_is_sent),
    Check("put-with-an-acl", "upload with an ACL", put(ACL="bucket-owner-full-control"),
          f"{_ROLE} (it allows s3:PutObjectAcl; RequireAcl is false)", hardening=True, skip_if=_an_acl_is_sent),
    Check("put-over-the-canary", "upload to the canary's key again, the way archives are uploaded",
          trials.put_over_canary,
          "none: S3 itself returns 412 for If-None-Match. This server does not, so uploads can replace objects here",
          refusal_codes=frozenset({"PreconditionFailed"}), hardening=True),
    Check("put-without-if-none-match", "upload without If-None-Match, which would replace an existing object",
          put(IfNoneMatch=None), f"{_BUCKET}, NobodyMayReplaceALog", hardening=True),
    Check("replace-with-if-match", "upload over the canary with If-Match instead of If-None-Match",
          trials.replace_canary_if_match, f"{_BUCKET}, NobodyMayReplaceALog",
          permitted_codes=frozenset({"PreconditionFailed", "NoSuchKey"}), hardening=True),
    Check("start-a-multipart-upload", "CreateMultipartUpload under the prefix", trials.create_multipart_upload,
          f"{_BUCKET}, LogsArriveInOnePut", hardening=True),
    Check("abort-a-multipart-upload", "AbortMultipartUpload of an upload that does not exist",
          about_unused_key("abort_multipart_upload", UploadId="none-" + "0" * 27), _ELSE, permitted_codes=_NOT_FOUND),
    Check("put-with-a-lesser-storage-class", "upload with the storage class REDUCED_REDUNDANCY",
          put(StorageClass="REDUCED_REDUNDANCY"),
          f"{_BUCKET}, LogsKeepTheAgreedStorageClasses (parameter StorageClasses)", hardening=True),
    Check("put-with-a-tag", "upload with an object tag", put(Tagging="least-privilege=check"),
          f"{_ELSE}: s3:PutObjectTagging"),
    Check("put-with-another-encryption", "upload with another encryption than the bucket's",
          trials.put_with_other_encryption, f"{_BUCKET}, LogsAreEncryptedAsTheBucketSays (parameter KmsKeyArn)",
          permitted_codes=_INVALID, hardening=True),
    Check("put-with-a-key-of-ones-own", "upload with SSE-C: encrypted so that only the sender can read it",
          trials.put_with_customer_key, f"{_BUCKET}, NobodyMayBringAKeyOfTheirOwn", hardening=True),
    Check("put-without-tls", "upload over plain HTTP", put(tls=False),
          f"{_BUCKET}, NothingTravelsUnencrypted", hardening=True, skip_if=_no_tls),
    Check("use-the-key-directly", "kms:GenerateDataKey without S3", trials.generate_data_key,
          f"{_ROLE}, Condition kms:ViaService of EncryptLogsWithTheArchiveKey", skip_if=_no_kms_key),
]  # fmt: skip

_READING = [
    Check("get-a-log", "GetObject of the canary",
          about_canary("get_object"), _ELSE, permitted_codes=_NOT_FOUND),
    Check("get-a-version", "GetObject of a version of the canary",
          about_canary("get_object", VersionId="null"), _ELSE, permitted_codes=_NOT_FOUND),
    Check("head-a-log", "HeadObject of the canary",
          about_canary("head_object"), _ELSE, permitted_codes=_NOT_FOUND),
    Check("get-an-acl", "GetObjectAcl of the canary",
          about_canary("get_object_acl"), _ELSE, permitted_codes=_NOT_FOUND),
    Check("list-logs", "ListObjectsV2 of the canary's key", list_canary("list_objects_v2"), _ELSE),
    Check("list-versions", "ListObjectVersions of the canary's key", list_canary("list_object_versions"), _ELSE),
]  # fmt: skip

_CHANGING = [
    Check("delete-a-log", "DeleteObject of a key that does not exist",
          about_unused_key("delete_object"), _ELSE, permitted_codes=_NOT_FOUND),
    Check("delete-a-version", "DeleteObject of a version that does not exist",
          about_unused_key("delete_object", VersionId="null"), _ELSE, permitted_codes=_NOT_FOUND),
    Check("put-an-acl", "PutObjectAcl, private, of a key that does not exist",
          about_unused_key("put_object_acl", ACL="private"), f"{_ROLE}, Condition of NameTheBucketOwnersAclInThePut",
          permitted_codes=_NOT_FOUND | _ACLS_DISABLED),
    Check("put-an-acl-outside", "PutObjectAcl of a key outside of the prefix that does not exist",
          about_unused_key("put_object_acl", folder="", ACL="bucket-owner-full-control"),
          f"{_ROLE}, Resource of NameTheBucketOwnersAclInThePut",
          permitted_codes=_NOT_FOUND | _ACLS_DISABLED, hardening=True),
]  # fmt: skip

# Every configuration that is put here is invalid, so that S3 can't apply it.
_CONFIGURATION = [
    Check("get-the-bucket-policy", "GetBucketPolicy",
          about_bucket("get_bucket_policy"), _ELSE, permitted_codes=frozenset({"NoSuchBucketPolicy"})),
    Check("put-the-bucket-policy", "PutBucketPolicy of a text that is no policy",
          about_bucket("put_bucket_policy", Policy="none"), _ELSE, permitted_codes=_INVALID, skip_if=_not_aws),
    Check("get-the-versioning", "GetBucketVersioning", about_bucket("get_bucket_versioning"), _ELSE),
    Check("put-the-versioning", "PutBucketVersioning to a status that does not exist",
          about_bucket("put_bucket_versioning", VersioningConfiguration={"Status": "None"}), _ELSE,
          permitted_codes=_INVALID),
    Check("get-the-lifecycle", "GetBucketLifecycleConfiguration", about_bucket("get_bucket_lifecycle_configuration"),
          _ELSE, permitted_codes=frozenset({"NoSuchLifecycleConfiguration"})),
    Check("put-the-lifecycle", "PutBucketLifecycleConfiguration of an invalid rule",
          about_bucket(
              "put_bucket_lifecycle_configuration",
              LifecycleConfiguration={"Rules": [{"ID": "none", "Status": "None", "Filter": {"Prefix": "none/"}}]},
          ),
          _ELSE, permitted_codes=_INVALID),
    Check("get-the-bucket-acl", "GetBucketAcl", about_bucket("get_bucket_acl"), _ELSE),
    Check("put-the-bucket-acl", "PutBucketAcl to an ACL that does not exist",
          about_bucket("put_bucket_acl", ACL="none"), _ELSE, permitted_codes=_INVALID | _ACLS_DISABLED),
]  # fmt: skip

#: All checks, by name.
CHECKS: dict[str, Check] = {
    check.name: check
    for check in (*_MUST_WORK, *_WHO_MAY_WRITE, *_WHERE, *_HOW, *_READING, *_CHANGING, *_CONFIGURATION)
}


def require_known_checks(names: Iterable[str], setting: str) -> list[str]:
    """Return the names, sorted; each has to be the name of a check.

    :param names: the names
    :param setting: where they come from, for the message
    :raises SettingsError: with the names that no check has
    """
    names = set(names)
    if unknown := sorted(names - CHECKS.keys()):
        raise SettingsError(
            f"{setting}: no check is called {', '.join(map(repr, unknown))}",
            hint="The checks: " + ", ".join(sorted(CHECKS)),
        )
    return sorted(names)


def applicable_checks(target: Target, names: Iterable[str] = ()) -> tuple[list[Check], dict[str, str]]:
    """Return the checks to try on a target; and, by name, why the others are not tried.

    :param target: the archive
    :param names: only these; all of them when empty
    :raises SettingsError: for a name that no check has
    """
    wanted = set(require_known_checks(names, "checks")) or CHECKS.keys()
    not_tried = {name: reason for name, check in CHECKS.items() if (reason := check.skip_if(target))}
    not_tried |= {name: "not chosen" for name in CHECKS if name not in wanted and name not in not_tried}
    return [check for name, check in CHECKS.items() if name not in not_tried], not_tried
