"""The checks of least privilege, as a table: what is tried, what must happen, and what is to be mended.

Nothing here can harm an archive, whatever the role may do; see `privileges` for the rules.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from log_archival.aws.connection import session_policy
from log_archival.least_privilege.judgement import Check
from log_archival.least_privilege.requests import Answer, NotTried, Probe, Target

_TRUST = "archive_account.yaml: trust policy, OnlyAirflowOfTheSourceAccountMayBecomeTheWriter"
_ROLE = "archive_account.yaml: role policy AddLogs"
_BUCKET = "archive_account.yaml: bucket policy"
_ELSE = f"{_BUCKET}, TheWriterMayDoNothingElse; {_ROLE} (it allows more than s3:PutObject)"
_OUTSIDE = f"{_BUCKET}, NobodyMayWriteOutsideThePrefix; {_ROLE}, Resource of AddLogsUnderThePrefix"
_SOURCE = "source_account.yaml: BecomeTheLogWriterOfTheArchiveAccount (parameter RoleArn)"

#: What a request gets that passed the policies and then found nothing, or was found to be impossible.
_NOTHING = frozenset({"NoSuchKey", "404", "NoSuchVersion", "NoSuchUpload", "MethodNotAllowed"})
_IMPOSSIBLE = frozenset({"MalformedXML", "MalformedPolicy", "InvalidArgument", "InvalidRequest"})
_NO_ACLS = frozenset({"AccessControlListNotSupported"})  # of a bucket that disables ACLs, which ours does


def _put(**changes: Any) -> Callable[[Probe], Answer]:
    return lambda probe: probe.put(**changes)


def _put_at(before: Callable[[str], str]) -> Callable[[Probe], Answer]:
    """A put outside of the prefix, at a key that nothing has."""
    return lambda probe: probe.put(probe.target.new_key(before(probe.target.prefix)))


def _on_canary(operation: str, **sent: Any) -> Callable[[Probe], Answer]:
    """A request about the canary. It has to be there: without s3:ListBucket, a missing key is a 403 to everyone."""
    return lambda probe: probe.ask("s3", operation, Bucket=probe.target.bucket, Key=probe.canary, **sent)


def _on_nothing(operation: str, **sent: Any) -> Callable[[Probe], Answer]:
    """A request about a key that nothing has."""
    return lambda probe: probe.ask("s3", operation, Bucket=probe.target.bucket, Key=probe.target.new_key(), **sent)


def _on_bucket(operation: str, **sent: Any) -> Callable[[Probe], Answer]:
    return lambda probe: probe.ask("s3", operation, Bucket=probe.target.bucket, **sent)


def _list(operation: str) -> Callable[[Probe], Answer]:
    """A list of what lies at the canary's key, and so of nothing that is anyone's business."""
    return lambda probe: probe.ask("s3", operation, Bucket=probe.target.bucket, Prefix=probe.target.canary)


def _over_the_canary(probe: Probe) -> Answer:
    return probe.put(probe.canary)


def _with_a_customers_key(probe: Probe) -> Answer:
    return probe.put(SSECustomerAlgorithm="AES256", SSECustomerKey=secrets.token_bytes(32))


def _with_another_encryption(probe: Probe) -> Answer:
    return probe.put(ServerSideEncryption="AES256" if probe.target.kms_key_arn else "aws:kms")


def _with_the_key_itself(probe: Probe) -> Answer:
    # What comes back, if it does, is a data key that nothing is encrypted with; it is dropped here.
    answer = probe.ask("kms", "generate_data_key", KeyId=probe.target.kms_key_arn, KeySpec="AES_256")
    return Answer(answer.code, answer.said)


def _into_another_bucket(probe: Probe) -> Answer:
    # Without the ACL, which would ask for a second permission there.
    return probe.put(Bucket=probe.target.other_bucket, ExpectedBucketOwner=None, ACL=None)


def _beyond_a_narrow_session(probe: Probe) -> Answer:
    target = probe.target
    policy = session_policy(
        aws_partition=target.role.aws_partition,
        bucket=target.bucket,
        prefix=f"{target.canary}/",
        with_acl=target.acl is not None,
        kms_key_arn=target.kms_key_arn,
    )
    narrow = probe.session(Policy=policy)
    if code := probe.put(f"{target.canary}/{secrets.token_hex(8)}", narrow).code:
        raise NotTried(f"the narrowed session may not put where it should ({code}); see the check put-a-log")
    return probe.put(who=narrow)


def _another_role(as_writer: bool) -> Callable[[Probe], Answer]:
    def assume(probe: Probe) -> Answer:
        role, answer = probe.target.role, Answer("AccessDenied")
        roles = [*probe.target.other_roles, *([(role.role_arn, role.external_id)] if as_writer else [])]
        for role_arn, external_id in roles:
            # With an external id and without: a role that asks for none takes any.
            answer = probe.assume(
                probe.writer if as_writer else "source", RoleArn=role_arn, ExternalId=external_id, SourceIdentity=None
            )
            if not answer.code:
                return Answer()
        return Answer(answer.code, answer.said)

    return assume


def _versions(target: Target, said: dict[str, Any] | Any) -> str | None:
    return None if said.get("VersionId", "null") != "null" else "the bucket keeps no versions"


def _encryption(target: Target, said: dict[str, Any] | Any) -> str | None:
    found, key = said.get("ServerSideEncryption"), said.get("SSEKMSKeyId")
    if target.kms_key_arn:
        as_agreed = found == "aws:kms" and key == target.kms_key_arn
        return None if as_agreed else f"it was encrypted with {found or 'nothing'} {key or ''}, not the archive's key"
    return None if found else "S3 said nothing of an encryption"


def _acl_only(target: Target) -> str | None:
    return None if target.acl else "archive.yaml says that no ACL is sent (RequireAcl=false)"


def _no_acl_only(target: Target) -> str | None:
    return "archive.yaml says that an ACL is sent (RequireAcl=true)" if target.acl else None


def _kms_only(target: Target) -> str | None:
    return None if target.kms_key_arn else "archive.yaml has no kms_key_arn"


def _tls_only(target: Target) -> str | None:
    plain = (target.endpoint_url or "https:").startswith("http:")
    return "the connection's endpoint_url is not https" if plain else None


def _aws_only(target: Target) -> str | None:
    host = urlsplit(target.endpoint_url or "").hostname or "amazonaws.com"
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) or host == "amazonaws.com":
        return None
    return "outside of AWS, a server may take any text for a bucket policy, and this check must change nothing"


def _bucket_only(target: Target) -> str | None:
    return None if target.other_bucket else "no other_bucket is named"


def _roles_only(target: Target) -> str | None:
    return None if target.other_roles else "no other role is known (there is no read_connection)"


_ALL = [
    # What must work
    Check("assume-role", "AssumeRole as the connection says", "allowed", f"{_TRUST}; {_SOURCE}", Probe.assume),
    Check(
        "put-a-log", "put a canary under the prefix, as an archive is put, into a bucket of the role's own account",
        "allowed", f"{_ROLE}; {_BUCKET}; parameters Prefix, BucketName, RequireAcl, KmsKeyArn", Probe.put,
    ),
    Check(
        "bucket-keeps-versions", "put a canary; S3 must say which version it is", "allowed",
        "archive_account.yaml: VersioningConfiguration of Archive", Probe.put, lacks=_versions,
    ),
    Check(
        "bucket-encrypts", "put a canary; S3 must say how it is encrypted", "allowed",
        "archive_account.yaml: BucketEncryption of Archive (parameter KmsKeyArn)", Probe.put, lacks=_encryption,
    ),
    # Who becomes the writer
    Check(
        "assume-without-external-id", "AssumeRole with no external id", "refused",
        f"{_TRUST}, Condition sts:ExternalId", lambda probe: probe.assume(ExternalId=None),
    ),
    Check(
        "assume-with-wrong-external-id", "AssumeRole with an external id that nobody agreed on", "refused",
        f"{_TRUST}, Condition sts:ExternalId", lambda probe: probe.assume(ExternalId=secrets.token_urlsafe(24)),
    ),
    Check(
        "assume-under-another-name", "AssumeRole with a session name that is not one of ours", "refused",
        f"{_TRUST}, Condition sts:RoleSessionName", lambda probe: probe.assume(RoleSessionName="least-privilege"),
        hardening=True,
    ),
    Check(
        "source-assumes-another-role", "AssumeRole of another role with Airflow's own credentials", "refused",
        f"{_SOURCE}, Resource; the trust policy of the other role", _another_role(as_writer=False),
        not_here=_roles_only,
    ),
    Check(
        "writer-assumes-another-role", "AssumeRole of another role, and of itself, from the role's session", "refused",
        f"{_ROLE} (it allows sts:AssumeRole); the trust policy of the other role", _another_role(as_writer=True),
    ),
    Check(
        "put-without-the-role", "put a canary with Airflow's own credentials, without the role", "refused",
        f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs; and what Airflow's own role or user may do in S3",
        _put(who="source"),
    ),
    Check(
        "put-as-nobody", "put a canary with no credentials at all", "refused",
        f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs; PublicAccessBlockConfiguration of Archive",
        _put(who="nobody"),
    ),
    Check(
        "put-beyond-a-narrow-session", "put a canary outside of what a session policy allows, under the prefix",
        "refused", f"{_BUCKET}, Principal of OnlyTheWriterMayAddLogs (a role, not its sessions)",
        _beyond_a_narrow_session,
    ),
    # Where
    Check("put-at-the-root", "put outside of the prefix: at the bucket's root", "refused", _OUTSIDE,
          _put_at(lambda prefix: "")),
    Check("put-beside-the-prefix", "put outside of the prefix: `logs-…`, without its slash", "refused", _OUTSIDE,
          _put_at(lambda prefix: f"{prefix.rstrip('/')}-")),
    Check("put-with-dots", "put outside of the prefix: `logs../…`", "refused", _OUTSIDE,
          _put_at(lambda prefix: f"{prefix.rstrip('/')}../")),
    Check("put-with-a-slash-before", "put outside of the prefix: `/logs/…`", "refused", _OUTSIDE,
          _put_at(lambda prefix: f"/{prefix}")),
    Check("put-in-capitals", "put outside of the prefix: `LOGS/…`", "refused", _OUTSIDE,
          _put_at(lambda prefix: prefix.swapcase())),
    Check(
        "put-into-another-bucket", "put into another bucket (other_bucket)", "refused",
        f"{_ROLE}, Resource of AddLogsUnderThePrefix; the other bucket's policy", _into_another_bucket,
        not_here=_bucket_only,
    ),
    Check(
        "put-to-another-owner", "put, expecting the bucket to belong to another account", "refused",
        "none: S3 itself refuses this. This server does not look at ExpectedBucketOwner, so that put-a-log doesn't"
        " prove in whose account the canary lies",
        _put(ExpectedBucketOwner="000000000000"), hardening=True,
    ),
    # How
    Check(
        "put-without-acl", "put without the ACL", "refused", f"{_BUCKET}, NobodyMayWriteWithoutTheOwnersAcl",
        _put(ACL=None), hardening=True, not_here=_acl_only,
    ),
    Check(
        "put-with-another-acl", "put with the ACL private", "refused",
        f"{_BUCKET}, NobodyMayWriteWithoutTheOwnersAcl; {_ROLE}, Condition of NameTheBucketOwnersAclInThePut",
        _put(ACL="private"), past=_NO_ACLS, not_here=_acl_only,
    ),
    Check(
        "put-with-an-acl", "put with an ACL", "refused", f"{_ROLE} (it allows s3:PutObjectAcl; RequireAcl is false)",
        _put(ACL="bucket-owner-full-control"), not_here=_no_acl_only, hardening=True,
    ),
    Check(
        "put-over-the-canary", "put the canary's key again, as an archive is put", "refused",
        "none: S3 itself answers 412 to If-None-Match. This server does not, so nothing is written once here",
        _over_the_canary, refusals=frozenset({"PreconditionFailed"}), hardening=True,
    ),
    Check(
        "put-without-if-none-match", "put without If-None-Match, which would replace what is there", "refused",
        f"{_BUCKET}, NobodyMayReplaceALog", _put(IfNoneMatch=None), hardening=True,
    ),
    Check(
        # With an ETag that nothing has, so that nothing is replaced where this is permitted.
        "replace-with-if-match", "put over the canary with If-Match in the place of If-None-Match", "refused",
        f"{_BUCKET}, NobodyMayReplaceALog",
        lambda probe: probe.put(probe.canary, IfNoneMatch=None, IfMatch=f'"{secrets.token_hex(16)}"'),
        past=frozenset({"PreconditionFailed", "NoSuchKey"}), hardening=True,
    ),
    Check(
        "start-a-multipart-upload", "CreateMultipartUpload under the prefix", "refused",
        f"{_BUCKET}, LogsArriveInOnePut",
        lambda probe: _on_nothing(
            "create_multipart_upload", **({"ACL": probe.target.acl} if probe.target.acl else {})
        )(probe),
        hardening=True,
    ),
    Check(
        "abort-a-multipart-upload", "AbortMultipartUpload of an upload that does not exist", "refused", _ELSE,
        _on_nothing("abort_multipart_upload", UploadId="none-" + "0" * 27), past=_NOTHING,
    ),
    Check(
        "put-with-a-lesser-storage-class", "put with the storage class REDUCED_REDUNDANCY", "refused",
        f"{_BUCKET}, LogsKeepTheAgreedStorageClasses (parameter StorageClasses)",
        _put(StorageClass="REDUCED_REDUNDANCY"), hardening=True,
    ),
    Check(
        "put-with-a-tag", "put with an object tag", "refused",
        f"{_ELSE}: s3:PutObjectTagging", _put(Tagging="least-privilege=check"),
    ),
    Check(
        "put-with-another-encryption", "put with another encryption than the bucket's", "refused",
        f"{_BUCKET}, LogsAreEncryptedAsTheBucketSays (parameter KmsKeyArn)", _with_another_encryption, past=_IMPOSSIBLE,
        hardening=True,
    ),
    Check(
        "put-with-a-key-of-ones-own", "put with SSE-C: encrypted so that only the sender can read it", "refused",
        f"{_BUCKET}, NobodyMayBringAKeyOfTheirOwn", _with_a_customers_key, hardening=True,
    ),
    Check(
        "put-without-tls", "put over plain HTTP", "refused", f"{_BUCKET}, NothingTravelsUnencrypted", _put(tls=False),
        hardening=True, not_here=_tls_only,
    ),
    Check(
        "use-the-key-directly", "kms:GenerateDataKey without S3", "refused",
        f"{_ROLE}, Condition kms:ViaService of EncryptLogsWithTheArchiveKey", _with_the_key_itself,
        not_here=_kms_only,
    ),
    # Reading
    Check("get-a-log", "GetObject of the canary", "refused", _ELSE, _on_canary("get_object"), past=_NOTHING),
    Check(
        "get-a-version", "GetObject of a version of the canary", "refused", _ELSE,
        _on_canary("get_object", VersionId="null"), past=_NOTHING,
    ),
    Check("head-a-log", "HeadObject of the canary", "refused", _ELSE, _on_canary("head_object"), past=_NOTHING),
    Check("get-an-acl", "GetObjectAcl of the canary", "refused", _ELSE, _on_canary("get_object_acl"), past=_NOTHING),
    Check("list-logs", "ListObjectsV2 of the canary's key", "refused", _ELSE, _list("list_objects_v2")),
    Check("list-versions", "ListObjectVersions of the canary's key", "refused", _ELSE, _list("list_object_versions")),
    # Deleting, and changing what is there
    Check(
        "delete-a-log", "DeleteObject of a key that does not exist", "refused", _ELSE, _on_nothing("delete_object"),
        past=_NOTHING,
    ),
    Check(
        "delete-a-version", "DeleteObject of a version that does not exist", "refused", _ELSE,
        _on_nothing("delete_object", VersionId="null"), past=_NOTHING,
    ),
    Check(
        "put-an-acl", "PutObjectAcl, private, of a key that does not exist", "refused",
        f"{_ROLE}, Condition of NameTheBucketOwnersAclInThePut", _on_nothing("put_object_acl", ACL="private"),
        past=_NOTHING | _NO_ACLS,
    ),
    Check(
        "put-an-acl-outside", "PutObjectAcl of a key outside of the prefix that does not exist",
        "refused", f"{_ROLE}, Resource of NameTheBucketOwnersAclInThePut",
        lambda probe: probe.ask(
            "s3", "put_object_acl", Bucket=probe.target.bucket, Key=probe.target.new_key(""),
            ACL="bucket-owner-full-control",
        ),
        past=_NOTHING | _NO_ACLS, hardening=True,
    ),
    # The bucket's configuration. What is put is no such configuration, so that it can't be carried out.
    Check("get-the-bucket-policy", "GetBucketPolicy", "refused", _ELSE, _on_bucket("get_bucket_policy"),
          past=frozenset({"NoSuchBucketPolicy"})),
    Check(
        "put-the-bucket-policy", "PutBucketPolicy of a document that is no policy", "refused", _ELSE,
        _on_bucket("put_bucket_policy", Policy="none"), past=_IMPOSSIBLE,
        not_here=_aws_only,
    ),
    Check("get-the-versioning", "GetBucketVersioning", "refused", _ELSE, _on_bucket("get_bucket_versioning")),
    Check(
        "put-the-versioning", "PutBucketVersioning to a status that there is not", "refused", _ELSE,
        _on_bucket("put_bucket_versioning", VersioningConfiguration={"Status": "None"}), past=_IMPOSSIBLE,
    ),
    Check(
        "get-the-lifecycle", "GetBucketLifecycleConfiguration", "refused", _ELSE,
        _on_bucket("get_bucket_lifecycle_configuration"), past=frozenset({"NoSuchLifecycleConfiguration"}),
    ),
    Check(
        "put-the-lifecycle", "PutBucketLifecycleConfiguration of a rule that can't be", "refused", _ELSE,
        _on_bucket(
            "put_bucket_lifecycle_configuration",
            LifecycleConfiguration={"Rules": [{"ID": "none", "Status": "None", "Filter": {"Prefix": "none/"}}]},
        ),
        past=_IMPOSSIBLE,
    ),
    Check("get-the-bucket-acl", "GetBucketAcl", "refused", _ELSE, _on_bucket("get_bucket_acl")),
    Check(
        "put-the-bucket-acl", "PutBucketAcl to an ACL that there is not", "refused", _ELSE,
        _on_bucket("put_bucket_acl", ACL="none"), past=_IMPOSSIBLE | _NO_ACLS,
    ),
]  # fmt: skip

#: All checks, by name.
CHECKS: dict[str, Check] = {check.name: check for check in _ALL}


def applicable(target: Target) -> tuple[list[Check], dict[str, str]]:
    """The checks to try on a target; and the others, with the reason why they can't be asked there."""
    reasons = {check.name: reason for check in _ALL if (reason := check.not_here(target))}
    return [check for check in _ALL if check.name not in reasons], reasons
