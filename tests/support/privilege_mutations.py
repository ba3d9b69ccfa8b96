"""Ways to weaken the two templates, each with the checks that must notice; `test_privileges` deploys every one.

A mutation that a writer can't notice says why, and which test looks after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dev.local_aws import SOURCE_ACCOUNT
from tests.test_templates import VPCE, load, statement_lists, statement_of

Template = dict[str, Any]
Statement = dict[str, Any]
ARCHIVE, SOURCE = "archive_account.yaml", "source_account.yaml"

TRUST = "OnlyAirflowOfTheSourceAccountMayBecomeTheWriter"
ADD, NAME_ACL, USE_KEY = "AddLogsUnderThePrefix", "NameTheBucketOwnersAclInThePut", "EncryptLogsWithTheArchiveKey"
ONLY_WRITER, ELSE, OUTSIDE = "OnlyTheWriterMayAddLogs", "TheWriterMayDoNothingElse", "NobodyMayWriteOutsideThePrefix"
NEEDS_ACL, ONCE, ONE_PUT = "NobodyMayWriteWithoutTheOwnersAcl", "NobodyMayReplaceALog", "LogsArriveInOnePut"
CLASSES, ENCRYPTED, OWN_KEY = (
    "LogsKeepTheAgreedStorageClasses",
    "LogsAreEncryptedAsTheBucketSays",
    "NobodyMayBringAKeyOfTheirOwn",
)
ARCHIVE_KEY, ENDPOINT, RETENTION = (
    "LogsAreEncryptedWithTheArchiveKey",
    "LogsComeThroughTheVpcEndpoint",
    "NobodyMayShortenTheRetention",
)
TLS, OLD_TLS = "NothingTravelsUnencrypted", "NothingTravelsUnderAnOldTls"
READER, READ, LIST, DECRYPT = (
    "OnlyTheNamedReaderMayBecomeTheReader",
    "ReadLogsUnderThePrefix",
    "ListLogsUnderThePrefix",
    "DecryptLogsWithTheArchiveKey",
)
BECOME = "BecomeTheLogWriterOfTheArchiveAccount"

EVERYWHERE, NO_SLASH = {"Fn::Sub": "${Archive.Arn}/*"}, {"Fn::Sub": "${Archive.Arn}/logs*"}
PUT_WITH_ACL = ["s3:PutObject", "s3:PutObjectAcl"]
PLACES = {"put-at-the-root", "put-beside-the-prefix", "put-with-dots", "put-with-a-slash-before", "put-in-capitals"}
READS = {"get-a-log", "get-a-version", "head-a-log", "get-an-acl", "list-logs", "list-versions"}
CONFIGURATION = {
    f"{verb}-the-{what}"
    for verb in ("get", "put")
    for what in ("bucket-policy", "versioning", "lifecycle", "bucket-acl")
}
ANYTHING = (
    READS | CONFIGURATION | {"delete-a-log", "delete-a-version", "put-an-acl", "put-an-acl-outside", "put-with-a-tag"}
    | {"abort-a-multipart-upload"}
)  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """A weakened (or broken) template, and who notices.

    :param parts: what is changed: ``Sid`` or ``Sid operator key``
    :param edits: Sid to what is done to its statement; None removes it
    :param caught: the checks that report it, besides those that can't be decided then
    :param unseen: why the writer can't notice it alone
    :param tested: the test that looks after it instead
    """

    parts: tuple[str, ...]
    edits: Mapping[str, Callable[[Statement], object] | None]
    caught: frozenset[str] | set[str] = frozenset()
    unseen: str = ""
    tested: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    bucket: Callable[[Statement], object] | None = None

    def templates(self) -> tuple[Template, Template]:
        """Both templates, with the edits made."""
        archive, source = load(ARCHIVE), load(SOURCE)
        left = set(self.edits)
        for template in (archive, source):
            for items in statement_lists(template):
                for item in list(items):
                    sid = statement_of(item)["Sid"]
                    if sid in self.edits:
                        left.discard(sid)
                        if edit := self.edits[sid]:
                            edit(item["Fn::If"][1] if "Fn::If" in item else item)
                        else:
                            items.remove(item)
        assert not left, f"no such statement: {left}"
        if self.bucket:
            self.bucket(archive["Resources"]["Archive"]["Properties"])
        return archive, source


def parts() -> Iterator[str]:
    """Every statement and every condition of both templates, as a mutation names them."""
    for name in (ARCHIVE, SOURCE):
        for items in statement_lists(load(name)):
            for item in items:
                statement = statement_of(item)
                yield statement["Sid"]
                condition = statement.get("Condition", {})
                if "Fn::If" in condition:
                    condition = condition["Fn::If"][1]
                for operator, keys in condition.items():
                    yield from (f"{statement['Sid']} {operator} {key}" for key in keys)


def without(operator: str, key: str) -> Callable[[Statement], object]:
    """A condition less."""

    def edit(statement: Statement) -> None:
        condition = statement["Condition"]
        if "Fn::If" in condition:
            condition = statement["Condition"] = condition["Fn::If"][1]
        del condition[operator][key]
        if not condition[operator]:
            del condition[operator]
        if not condition:
            del statement["Condition"]

    return edit


def setting(**values: Any) -> Callable[[Statement], object]:
    """Other values."""
    return lambda statement: statement.update(values)


def condition(operator: str, key: str, other_operator: str, value: Any = None) -> Callable[[Statement], object]:
    """A weaker operator for a condition, or another value."""

    def edit(statement: Statement) -> None:
        before = statement["Condition"]
        found = before[operator].pop(key)
        if not before[operator]:
            del before[operator]
        before.setdefault(other_operator, {})[key] = found if value is None else value

    return edit


def guarded(key: str) -> Callable[[Statement], object]:
    """A deny that looks only at requests which have the key."""
    return lambda statement: statement["Condition"].update(Null={key: "false"})


def also(**lists: Any) -> Callable[[Statement], object]:
    """More actions than there are."""

    def edit(statement: Statement) -> None:
        for name, more in lists.items():
            before = statement[name]
            if isinstance(before, dict):  # of `!If [AclRequired, …]`
                before = before["Fn::If"][1]
            statement[name] = [*([before] if isinstance(before, str) else before), *more]

    return edit


def _of(sid: str, operator: str, key: str, **more: Any) -> Mutation:
    """A condition removed."""
    return Mutation((f"{sid} {operator} {key}",), {sid: without(operator, key)}, **more)


def _gone(sid: str, **more: Any) -> Mutation:
    """A statement removed."""
    return Mutation((sid,), {sid: None}, **more)


KMS = {"KmsKeyArn": "{key}"}
STRICTER = "nothing is permitted that was not: the deny covers more, not less"
_CONDITIONAL = "s3:x-amz-"

MUTATIONS: dict[str, Mutation] = {
    # The trust policy
    "nobody is trusted": _gone(TRUST, caught={"assume-role"}),
    "somebody else is trusted": Mutation(
        (), {TRUST: setting(Principal={"AWS": f"arn:aws:iam::{SOURCE_ACCOUNT}:user/somebody"})}, {"assume-role"}
    ),
    "the whole source account is trusted": Mutation(
        (), {TRUST: setting(Principal={"AWS": f"arn:aws:iam::{SOURCE_ACCOUNT}:root"})},
        unseen="it takes another principal to notice",
        tested="test_templates::test_nobody_else_may_assume_the_role",
    ),
    "no external id is asked for": _of(
        TRUST, "StringEquals", "sts:ExternalId", caught={"assume-without-external-id", "assume-with-wrong-external-id"}
    ),
    "the external id may be missing": Mutation(
        (), {TRUST: condition("StringEquals", "sts:ExternalId", "StringEqualsIfExists")},
        {"assume-without-external-id"},
    ),
    "any external id will do": Mutation(
        (), {TRUST: condition("StringEquals", "sts:ExternalId", "StringLike", "*")}, {"assume-with-wrong-external-id"}
    ),
    "any session name will do": _of(
        TRUST, "StringLike", "sts:RoleSessionName", caught={"assume-under-another-name"}
    ),
    "any organization will do": _of(
        TRUST, "StringEquals", "aws:PrincipalOrgID", parameters={"OrganizationId": "{organization}"},
        unseen="it takes a principal of another organization to notice", tested="test_templates::test_an_organization",
    ),
    "another organization is asked for": Mutation(
        (), {}, {"assume-role"}, parameters={"OrganizationId": "o-somebodyelse"}
    ),
    # What lets the writer add logs
    "the role's policy does not allow the put": _gone(
        ADD, unseen=f"nothing is lost: {ONLY_WRITER} allows the same", tested="the mutation of both",
    ),
    "the bucket policy does not allow the put": _gone(
        ONLY_WRITER, unseen=f"nothing is lost: {ADD} allows the same", tested="the mutation of both",
    ),
    "neither policy allows the put": Mutation((), {ADD: None, ONLY_WRITER: None}, {"put-a-log"}),
    "the role may put anywhere in the bucket": Mutation(
        (), {ADD: setting(Resource=EVERYWHERE)}, unseen=f"held by {OUTSIDE}", tested="the mutation of both"
    ),
    "the bucket policy does not mind the prefix": _gone(
        OUTSIDE, unseen=f"held by the Resource of {ADD}", tested="the mutation of both"
    ),
    "neither policy minds the prefix": Mutation(
        (), {ADD: setting(Resource=EVERYWHERE), OUTSIDE: None},
        unseen=f"held by the Resource of {NAME_ACL}: every put names the ACL", tested="the next",
    ),
    "no statement minds the prefix": Mutation(
        (), {ADD: setting(Resource=EVERYWHERE), NAME_ACL: setting(Resource=EVERYWHERE), OUTSIDE: None},
        PLACES | {"put-an-acl-outside"},
    ),
    "the prefix has lost its slash": Mutation(
        (), {ADD: setting(Resource=NO_SLASH), NAME_ACL: setting(Resource=NO_SLASH), OUTSIDE: None},
        {"put-beside-the-prefix", "put-with-dots"},
    ),
    "the role may put into any bucket": Mutation(
        (), {ADD: setting(Resource="*")}, {"put-into-another-bucket"}
    ),
    "the role may do anything in S3": Mutation(
        (), {ADD: setting(Action="s3:*", Resource="*")},
        {"put-an-acl", "put-into-another-bucket", "put-an-acl-outside"},
    ),
    "the bucket policy does not bind the writer": _gone(
        ELSE, unseen="held by the role's policy, which allows nothing else",
        tested="test_templates::test_the_writer_stays_the_writer_whatever_is_attached_to_it; the mutation of both",
    ),
    "the role may do anything in its bucket": Mutation(
        (), {ADD: setting(Action="s3:*", Resource=[{"Fn::GetAtt": ["Archive", "Arn"]}, EVERYWHERE]), ELSE: None},
        ANYTHING,
    ),
    "the role may read logs": Mutation(
        (), {ADD: also(Action=["s3:GetObject"]), ELSE: also(NotAction=["s3:GetObject"])}, {"get-a-log", "head-a-log"}
    ),
    "the role may delete logs": Mutation(
        (), {ADD: also(Action=["s3:DeleteObject"]), ELSE: also(NotAction=["s3:DeleteObject"])}, {"delete-a-log"}
    ),
    "the role may tag logs": Mutation(
        (), {ADD: also(Action=["s3:PutObjectTagging"]), ELSE: also(NotAction=["s3:PutObjectTagging"])},
        {"put-with-a-tag"},
    ),
    "the role may assume any role": Mutation(
        (), {ADD: setting(Action=["s3:PutObject", "sts:AssumeRole"], Resource="*")},
        {"writer-assumes-another-role", "put-into-another-bucket"},
    ),
    "the role may not name the ACL": _gone(NAME_ACL, caught={"put-a-log"}),
    "the role may name any ACL": _of(NAME_ACL, "StringEquals", "s3:x-amz-acl", caught={"put-an-acl"}),
    "the role may change ACLs anywhere": Mutation(
        (), {NAME_ACL: setting(Resource=EVERYWHERE)}, {"put-an-acl-outside"}
    ),
    "the role may not use the key": _gone(USE_KEY, caught={"put-a-log"}, parameters=KMS),
    "the role may use the key directly": _of(
        USE_KEY, "StringEquals", "kms:ViaService", caught={"use-the-key-directly"}, parameters=KMS
    ),
    # The bucket policy
    "the allow does not ask for the ACL": _of(
        ONLY_WRITER, "StringEquals", "s3:x-amz-acl", unseen=f"held by {NEEDS_ACL}", tested="the mutation without it"
    ),
    "anybody may put": Mutation(
        (), {ONLY_WRITER: setting(Principal="*", Action=PUT_WITH_ACL)}, {"put-as-nobody"},
        bucket=setting(PublicAccessBlockConfiguration={"BlockPublicPolicy": False, "RestrictPublicBuckets": False}),
    ),
    "the source account may put without the role": Mutation(
        (), {ONLY_WRITER: setting(Principal={"AWS": f"arn:aws:iam::{SOURCE_ACCOUNT}:root"}, Action=PUT_WITH_ACL),
             BECOME: setting(Action=["sts:AssumeRole", "s3:*"], Resource="*")},
        {"put-without-the-role", "source-assumes-another-role"},
    ),
    "no ACL is asked for": _gone(NEEDS_ACL, caught={"put-without-acl"}),
    "the ACL may be missing": Mutation(
        (f"{NEEDS_ACL} StringNotEquals s3:x-amz-acl",),
        {NEEDS_ACL: guarded("s3:x-amz-acl")}, {"put-without-acl"},
    ),
    "any ACL will do": Mutation(
        (), {NEEDS_ACL: None, NAME_ACL: without("StringEquals", "s3:x-amz-acl")},
        {"put-without-acl", "put-with-another-acl", "put-an-acl"},
    ),
    "logs may be replaced": _gone(ONCE, caught={"put-without-if-none-match", "replace-with-if-match"}),
    "no put is a creation": Mutation(
        (), {ONCE: condition("Bool", "s3:ObjectCreationOperation", "Bool", "false")},
        {"put-without-if-none-match", "replace-with-if-match"},
    ),
    "every put is a replacement": _of(ONCE, "Null", "s3:if-none-match", caught={"put-a-log"}),
    "parts need If-None-Match": _of(
        ONCE, "Bool", "s3:ObjectCreationOperation", unseen=STRICTER,
        tested="test_templates::test_logs_arrive_in_one_put"
    ),
    "logs may come in parts": _gone(ONE_PUT, caught={"start-a-multipart-upload"}),
    "no put is one": _of(ONE_PUT, "Bool", "s3:ObjectCreationOperation", caught={"put-a-log"}),
    "any storage class will do": _gone(CLASSES, caught={"put-with-a-lesser-storage-class"}),
    "a storage class must be named": _of(CLASSES, "Null", "s3:x-amz-storage-class", caught={"put-a-log"}),
    "no storage class may be named": _of(
        CLASSES, "StringNotEquals", "s3:x-amz-storage-class", unseen=STRICTER,
        tested="test_templates::test_more_storage_classes",
    ),
    "any encryption will do": _gone(ENCRYPTED, caught={"put-with-another-encryption"}),
    "any encryption will do, with a key": _gone(
        ENCRYPTED, caught={"put-with-another-encryption"}, parameters=KMS
    ),
    "an encryption must be named": _of(ENCRYPTED, "Null", "s3:x-amz-server-side-encryption", caught={"put-a-log"}),
    "no encryption may be named": _of(
        ENCRYPTED, "StringNotEquals", "s3:x-amz-server-side-encryption", unseen=STRICTER,
        tested="test_templates::test_a_kms_key",
    ),
    "keys may be brought along": _gone(OWN_KEY, caught={"put-with-a-key-of-ones-own"}),
    "keys must be brought along": _of(
        OWN_KEY, "Null", "s3:x-amz-server-side-encryption-customer-algorithm", caught={"put-a-log"}
    ),
    "any key of the account will do": _gone(
        ARCHIVE_KEY, parameters=KMS, unseen=f"held by {USE_KEY}: the writer may use no other key",
        tested="test_templates::test_statement_stops_an_administrator",
    ),
    "the key must be named": _of(
        ARCHIVE_KEY, "Null", f"{_CONDITIONAL}server-side-encryption-aws-kms-key-id", caught={"put-a-log"},
        parameters=KMS,
    ),
    "no key may be named": _of(
        ARCHIVE_KEY, "ArnNotEquals", f"{_CONDITIONAL}server-side-encryption-aws-kms-key-id", unseen=STRICTER,
        tested="test_templates::test_a_kms_key", parameters=KMS,
    ),
    "any network will do": _gone(
        ENDPOINT, parameters={"VpcEndpointId": VPCE}, unseen="it takes a request from another network to notice",
        tested="test_templates::test_statement_stops_an_administrator, test_a_vpc_endpoint",
    ),
    "Airflow is outside of the VPC endpoint": Mutation(
        (), {}, {"put-a-log"}, parameters={"VpcEndpointId": VPCE}
    ),
    "no network will do": _of(
        ENDPOINT, "StringNotEquals", "aws:SourceVpce", caught={"put-a-log"}, parameters={"VpcEndpointId": VPCE}
    ),
    "the retention may be bypassed": _gone(
        RETENTION, parameters={"RetentionDays": "7"}, unseen=f"held by {ELSE}",
        tested="test_templates::test_a_retention",
    ),
    "plain HTTP will do": _gone(TLS, caught={"put-without-tls"}),
    "not even TLS will do": _of(TLS, "Bool", "aws:SecureTransport", caught={"put-a-log"}),
    "an old TLS will do": _gone(
        OLD_TLS, unseen="no client of today speaks TLS 1.1, and AWS's endpoints do not either",
        tested="test_templates::test_statement_stops_an_administrator",
    ),
    "no TLS is new enough": _of(OLD_TLS, "NumericLessThan", "s3:TlsVersion", caught={"put-a-log"}),
    # The bucket
    "the bucket keeps no versions": Mutation(
        (), {}, {"bucket-keeps-versions"}, bucket=lambda properties: properties.pop("VersioningConfiguration")
    ),
    "the bucket has another key": Mutation(
        (), {}, {"bucket-encrypts"}, parameters=KMS, bucket=lambda properties: properties.pop("BucketEncryption")
    ),
    # The reader
    "anybody with its external id is the reader": Mutation(
        (READER,), {READER: setting(Principal={"AWS": "*"})}, parameters={"CreateReaderRole": "true"},
        unseen="held by the source account: Airflow may assume one role",
        tested="the next; test_templates::test_a_reader",
    ),
    "Airflow may become the reader": Mutation(
        (), {READER: setting(Principal={"AWS": "*"}), BECOME: setting(Resource="*")},
        {"source-assumes-another-role"}, parameters={"CreateReaderRole": "true"},
    ),
    "the reader needs no external id": _of(
        READER, "StringEquals", "sts:ExternalId", parameters={"CreateReaderRole": "true"},
        unseen="the reader's matter, not the writer's", tested="test_templates::test_a_reader",
    ),
    "the reader may not read": _gone(
        READ, parameters={"CreateReaderRole": "true"}, unseen="the reader's matter, not the writer's",
        tested="test_templates::test_a_reader",
    ),
    "the reader may not list": _gone(
        LIST, parameters={"CreateReaderRole": "true"}, unseen="the reader's matter, not the writer's",
        tested="test_templates::test_a_reader",
    ),
    "the reader may list everything": _of(
        LIST, "StringLike", "s3:prefix", parameters={"CreateReaderRole": "true"},
        unseen="the reader's matter, not the writer's", tested="test_templates::test_a_reader",
    ),
    "the reader may not use the key": _gone(
        DECRYPT, parameters={"CreateReaderRole": "true", **KMS}, unseen="the reader's matter, not the writer's",
        tested="test_templates::test_a_reader_of_encrypted_logs_may_use_the_key_through_s3",
    ),
    "the reader may use the key directly": _of(
        DECRYPT, "StringEquals", "kms:ViaService", parameters={"CreateReaderRole": "true", **KMS},
        unseen="the reader's matter, not the writer's",
        tested="test_templates::test_a_reader_of_encrypted_logs_may_use_the_key_through_s3",
    ),
    # The source account
    "Airflow may assume no role": _gone(BECOME, caught={"assume-role"}),
    "Airflow may assume another role only": Mutation(
        (), {BECOME: setting(Resource="arn:aws:iam::222222222222:role/Another")}, {"assume-role"}
    ),
    "Airflow may assume any role": Mutation((), {BECOME: setting(Resource="*")}, {"source-assumes-another-role"}),
}  # fmt: skip
