"""Ways to weaken the two templates, each with the checks that must fail; the integration tests deploy every one.

A mutation that no check can detect says why, and which test covers it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dev.local_aws import SOURCE_ACCOUNT, LocalAws
from tests.support.templates import ARCHIVE, EVERYTHING, SOURCE, VPCE, load_template, statement_lists, statement_of

Template = dict[str, Any]
Statement = dict[str, Any]
#: Changes a statement (or the bucket's properties) in place.
Edit = Callable[[dict[str, Any]], object]

TRUST = "OnlyAirflowOfTheSourceAccountMayBecomeTheWriter"
ADD, NAME_ACL, USE_KEY = "AddLogsUnderThePrefix", "NameTheBucketOwnersAclInThePut", "EncryptLogsWithTheArchiveKey"
NOTHING_ELSE, NOWHERE_ELSE, NO_OTHER_ACL, NO_OTHER_KEY, NOT_DIRECTLY = (
    "TheWriterMayDoNothingElseAnywhere",
    "TheWriterMayPutNowhereElse",
    "TheWriterMayNameNoOtherAcl",
    "TheWriterMayUseNoOtherKey",
    "TheWriterMayNotUseTheKeyDirectly",
)
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
PUT_WITH_ACL, PUT_AND_ASSUME = ["s3:PutObject", "s3:PutObjectAcl"], ["s3:PutObject", "sts:AssumeRole"]
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
OTHER_THINGS = {"list-buckets", "list-another-bucket", "use-another-service", "writer-assumes-another-role"}
OTHER_PLACES = {"put-into-another-bucket", "put-an-acl-outside"}


@dataclass(frozen=True)
class Mutation:
    """A weakened (or broken) template, and the checks that fail on it.

    :param parts: what is changed: ``Sid`` or ``Sid operator key``
    :param edits: by Sid, what changes its statement; None removes it
    :param failing: the checks that fail, besides those that can't be decided then
    :param undetected: why no check can detect it
    :param tested_by: the tests or mutations that cover it instead, separated by commas
    :param parameters: those of the archive account's stack
    :param bucket: changes the bucket's properties
    :param role: changes the writer role's properties
    """

    parts: tuple[str, ...]
    edits: Mapping[str, Edit | None]
    failing: frozenset[str] | set[str] = frozenset()
    undetected: str = ""
    tested_by: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    bucket: Edit | None = None
    role: Edit | None = None

    def templates(self) -> tuple[Template, Template]:
        """Return the archive account's and the source account's template, with the edits applied."""
        archive, source = load_template(ARCHIVE), load_template(SOURCE)
        self.apply(archive, source)
        return archive, source

    def apply(self, archive: Template, source: Template) -> None:
        """Apply the edits to templates, which may have others already.

        :param archive: the archive account's template
        :param source: the source account's template
        """
        unused = set(self.edits)
        for items in (*statement_lists(archive), *statement_lists(source)):
            for item in [item for item in items if statement_of(item)["Sid"] in self.edits]:
                sid = statement_of(item)["Sid"]
                unused.discard(sid)
                if edit := self.edits[sid]:
                    edit(statement_of(item))
                else:
                    items.remove(item)
        assert not unused, f"no such statement: {unused}"
        if self.bucket:
            self.bucket(archive["Resources"]["Archive"]["Properties"])
        if self.role:
            self.role(archive["Resources"]["WriterRole"]["Properties"])


def parts() -> Iterator[str]:
    """Return every statement and every condition of both templates, the way mutations name them."""
    for name in (ARCHIVE, SOURCE):
        for items in statement_lists(load_template(name)):
            for item in items:
                statement = statement_of(item)
                yield statement["Sid"]
                condition = statement.get("Condition", {})
                if "Fn::If" in condition:
                    condition = condition["Fn::If"][1]
                for operator, keys in condition.items():
                    yield from (f"{statement['Sid']} {operator} {key}" for key in keys)


def without(operator: str, key: str) -> Edit:
    """Return an edit that removes a condition."""

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


def setting(**values: Any) -> Edit:
    """Return an edit that sets other values."""
    return lambda statement: statement.update(values)


def condition(operator: str, key: str, other_operator: str, value: Any = None) -> Edit:
    """Return an edit that gives a condition another operator, or another value."""

    def edit(statement: Statement) -> None:
        before = statement["Condition"]
        found = before[operator].pop(key)
        if not before[operator]:
            del before[operator]
        before.setdefault(other_operator, {})[key] = found if value is None else value

    return edit


def guarded(key: str) -> Edit:
    """Return an edit that restricts a deny to requests which have the key."""
    return lambda statement: statement["Condition"].update(Null={key: "false"})


def also(**lists: Any) -> Edit:
    """Return an edit that adds actions."""

    def edit(statement: Statement) -> None:
        for name, more in lists.items():
            before = statement[name]
            if isinstance(before, dict):  # of `!If [AclRequired, …]`
                before = before["Fn::If"][1]
            statement[name] = [*([before] if isinstance(before, str) else before), *more]

    return edit


def _also_allowing(action: str) -> dict[str, Edit]:
    """Return the edits that allow the role another action below the prefix, in all policies that deny it."""
    return {ADD: also(Action=[action]), NOTHING_ELSE: also(NotAction=[action]), ELSE: also(NotAction=[action])}


def _without_condition(sid: str, operator: str, key: str, **more: Any) -> Mutation:
    return Mutation((f"{sid} {operator} {key}",), {sid: without(operator, key)}, **more)


def _without_statement(sid: str, **more: Any) -> Mutation:
    return Mutation((sid,), {sid: None}, **more)


def _administrator(role: dict[str, Any]) -> None:
    """Attach a policy that allows everything to the role, as somebody may do later."""
    document = {"Version": "2012-10-17", "Statement": [{"Sid": "Everything", **EVERYTHING}]}
    role["Policies"].append({"PolicyName": "Administrator", "PolicyDocument": document})


KMS = {"KmsKeyArn": "{key}"}
STRICTER = "it is stricter: the deny covers more"
#: The denies of the role's own policy, those about a KMS key left out.
DENIES = (NOTHING_ELSE, NOWHERE_ELSE, NO_OTHER_ACL)
_CONDITIONAL = "s3:x-amz-"

MUTATIONS: dict[str, Mutation] = {
    # The trust policy
    "nobody is trusted": _without_statement(TRUST, failing={"assume-role"}),
    "somebody else is trusted": Mutation(
        (), {TRUST: setting(Principal={"AWS": f"arn:aws:iam::{SOURCE_ACCOUNT}:user/somebody"})}, {"assume-role"}
    ),
    "the whole source account is trusted": Mutation(
        (), {TRUST: setting(Principal={"AWS": f"arn:aws:iam::{SOURCE_ACCOUNT}:root"})},
        undetected="only another principal could detect it",
        tested_by="test_nobody_else_may_assume_the_role",
    ),
    "no external id is required": _without_condition(
        TRUST, "StringEquals", "sts:ExternalId", failing={"assume-without-external-id", "assume-with-wrong-external-id"}
    ),
    "the external id may be missing": Mutation(
        (), {TRUST: condition("StringEquals", "sts:ExternalId", "StringEqualsIfExists")},
        {"assume-without-external-id"},
    ),
    "any external id is accepted": Mutation(
        (), {TRUST: condition("StringEquals", "sts:ExternalId", "StringLike", "*")}, {"assume-with-wrong-external-id"}
    ),
    "any session name is accepted": _without_condition(
        TRUST, "StringLike", "sts:RoleSessionName", failing={"assume-under-another-name"}
    ),
    "any organization is accepted": _without_condition(
        TRUST, "StringEquals", "aws:PrincipalOrgID", parameters={"OrganizationId": "{organization}"},
        undetected="only a principal of another organization could detect it",
        tested_by="test_organization_is_required",
    ),
    "another organization is required": Mutation(
        (), {}, {"assume-role"}, parameters={"OrganizationId": "o-somebodyelse"}
    ),
    # What lets the writer add logs
    "the role's policy does not allow the put": _without_statement(
        ADD, undetected=f"nothing is lost: {ONLY_WRITER} allows the same", tested_by="neither policy allows the put",
    ),
    "the bucket policy does not allow the put": _without_statement(
        ONLY_WRITER, undetected=f"nothing is lost: {ADD} allows the same", tested_by="neither policy allows the put",
    ),
    "neither policy allows the put": Mutation((), {ADD: None, ONLY_WRITER: None}, {"put-a-log"}),
    "the role may put anywhere in the bucket": Mutation(
        (), {ADD: setting(Resource=EVERYWHERE)}, undetected=f"still refused by {OUTSIDE}",
        tested_by="no statement restricts the prefix",
    ),
    "the bucket policy does not restrict the prefix": _without_statement(
        OUTSIDE, undetected=f"still refused by the Resource of {ADD}", tested_by="no statement restricts the prefix",
    ),
    "neither policy restricts the prefix": Mutation(
        (), {ADD: setting(Resource=EVERYWHERE), OUTSIDE: None},
        undetected=f"still refused by {NOWHERE_ELSE}, and by the Resource of {NAME_ACL}: every put names the ACL",
        tested_by="no statement restricts the prefix",
    ),
    "no statement restricts the prefix": Mutation(
        (), {ADD: setting(Resource=EVERYWHERE), NAME_ACL: setting(Resource=EVERYWHERE), OUTSIDE: None,
             NOWHERE_ELSE: None},
        PLACES | {"put-an-acl-outside"},
    ),
    "the prefix has lost its slash": Mutation(
        (), {ADD: setting(Resource=NO_SLASH), NAME_ACL: setting(Resource=NO_SLASH), OUTSIDE: None,
             NOWHERE_ELSE: setting(NotResource=NO_SLASH)},
        {"put-beside-the-prefix", "put-with-dots"},
    ),
    "the role may put into any bucket": Mutation(
        (), {ADD: setting(Resource="*"), NOWHERE_ELSE: None}, {"put-into-another-bucket"}
    ),
    # What somebody may attach to the role later
    "an administrator's policy is attached to the role": Mutation(
        (), {}, role=_administrator, undetected=f"still refused by {', '.join(DENIES)}",
        tested_by="test_writer_gains_nothing_from_another_policy",
    ),
    "an administrator's policy is attached to the role, with a key": Mutation(
        (), {}, role=_administrator, parameters=KMS, undetected=f"still refused by {NO_OTHER_KEY}, {NOT_DIRECTLY}",
        tested_by="test_writer_gains_nothing_from_another_policy",
    ),
    "an administrator's policy allows other things": Mutation(
        (NOTHING_ELSE,), {NOTHING_ELSE: None}, OTHER_THINGS, role=_administrator
    ),
    "an administrator's policy allows other places": Mutation(
        (NOWHERE_ELSE,), {NOWHERE_ELSE: None}, OTHER_PLACES, role=_administrator
    ),
    "an administrator's policy allows other ACLs": Mutation(
        (NO_OTHER_ACL,), {NO_OTHER_ACL: None}, {"put-an-acl"}, role=_administrator
    ),
    "an administrator's policy allows to use the key directly": Mutation(
        (NOT_DIRECTLY,), {NOT_DIRECTLY: None}, {"use-the-key-directly"}, role=_administrator, parameters=KMS
    ),
    "an administrator's policy allows other keys": Mutation(
        (NO_OTHER_KEY,), {NO_OTHER_KEY: None}, role=_administrator, parameters=KMS,
        undetected=f"still refused by {NOT_DIRECTLY}, and in puts by {ARCHIVE_KEY}",
        tested_by="test_writer_uses_no_other_kms_key",
    ),
    "an administrator's policy holds outside of the bucket": Mutation(
        (), dict.fromkeys(DENIES), OTHER_THINGS | OTHER_PLACES | {"put-an-acl"}, role=_administrator
    ),
    "an administrator's policy holds": Mutation(
        (), dict.fromkeys((*DENIES, ELSE)), ANYTHING | OTHER_THINGS | OTHER_PLACES, role=_administrator
    ),
    "the bucket policy does not bind the writer": _without_statement(
        ELSE, undetected=f"still refused by {NOTHING_ELSE}",
        tested_by="test_writer_gains_nothing_from_another_policy, an administrator's policy holds",
    ),
    "the role may do anything in its bucket": Mutation(
        (), {ADD: setting(Action="s3:*", Resource=[{"Fn::GetAtt": ["Archive", "Arn"]}, EVERYWHERE]),
             **dict.fromkeys((*DENIES, ELSE))},
        ANYTHING,
    ),
    "the role may read logs": Mutation((), _also_allowing("s3:GetObject"), {"get-a-log", "head-a-log"}),
    "the role may delete logs": Mutation((), _also_allowing("s3:DeleteObject"), {"delete-a-log"}),
    "the role may tag logs": Mutation((), _also_allowing("s3:PutObjectTagging"), {"put-with-a-tag"}),
    "the role may assume any role": Mutation(
        (), {**_also_allowing("sts:AssumeRole"), ADD: setting(Action=PUT_AND_ASSUME, Resource="*")},
        {"writer-assumes-another-role"},
    ),
    "the role may not name the ACL": _without_statement(NAME_ACL, failing={"put-a-log"}),
    "the allow does not restrict the ACL": _without_condition(
        NAME_ACL, "StringEquals", "s3:x-amz-acl", undetected=f"still refused by {NO_OTHER_ACL}",
        tested_by="the role may name any ACL",
    ),
    "the role may name any ACL": Mutation(
        (), {NAME_ACL: without("StringEquals", "s3:x-amz-acl"), NO_OTHER_ACL: None}, {"put-an-acl"}
    ),
    "no ACL may be named": _without_condition(
        NO_OTHER_ACL, "StringNotEquals", "s3:x-amz-acl", failing={"put-a-log"}
    ),
    "the role may change ACLs anywhere": Mutation(
        (), {NAME_ACL: setting(Resource=EVERYWHERE), NOWHERE_ELSE: None}, {"put-an-acl-outside"}
    ),
    "the role may not use the key": _without_statement(USE_KEY, failing={"put-a-log"}, parameters=KMS),
    "the allow does not ask for S3": _without_condition(
        USE_KEY, "StringEquals", "kms:ViaService", parameters=KMS, undetected=f"still refused by {NOT_DIRECTLY}",
        tested_by="the role may use the key directly",
    ),
    "the role may use the key directly": Mutation(
        (), {USE_KEY: without("StringEquals", "kms:ViaService"), NOT_DIRECTLY: None}, {"use-the-key-directly"},
        parameters=KMS,
    ),
    "not even S3 may use the key": _without_condition(
        NOT_DIRECTLY, "StringNotEquals", "kms:ViaService", failing={"put-a-log"}, parameters=KMS
    ),
    # The bucket policy
    "the allow does not require the ACL": _without_condition(
        ONLY_WRITER, "StringEquals", "s3:x-amz-acl", undetected=f"still refused by {NEEDS_ACL}",
        tested_by="test_each_allow_is_narrow_by_itself",
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
    "no ACL is required": _without_statement(NEEDS_ACL, failing={"put-without-acl"}),
    "the ACL may be missing": Mutation(
        (f"{NEEDS_ACL} StringNotEquals s3:x-amz-acl",),
        {NEEDS_ACL: guarded("s3:x-amz-acl")}, {"put-without-acl"},
    ),
    "any ACL is accepted": Mutation(
        (), {NEEDS_ACL: None, NAME_ACL: without("StringEquals", "s3:x-amz-acl"), NO_OTHER_ACL: None},
        {"put-without-acl", "put-with-another-acl", "put-an-acl"},
    ),
    "logs may be replaced": _without_statement(
        ONCE, failing={"put-without-if-none-match", "put-with-another-if-none-match", "replace-with-if-match"}
    ),
    "any If-None-Match is accepted": Mutation(  # as the statement once was
        (), {ONCE: setting(Condition={"Null": {"s3:if-none-match": "true"},
                                      "Bool": {"s3:ObjectCreationOperation": "true"}})},
        {"put-with-another-if-none-match"},
    ),
    "any If-None-Match is like *": Mutation(
        (), {ONCE: condition("StringNotEquals", "s3:if-none-match", "StringNotLike")},
        {"put-with-another-if-none-match"},
    ),
    "If-None-Match may be missing": Mutation(
        (), {ONCE: guarded("s3:if-none-match")}, {"put-without-if-none-match", "replace-with-if-match"}
    ),
    "every put is a replacement": _without_condition(
        ONCE, "StringNotEquals", "s3:if-none-match", failing={"put-a-log"}
    ),
    "logs may come in parts": _without_statement(ONE_PUT, failing={"start-a-multipart-upload"}),
    "no put is one": _without_condition(ONE_PUT, "Bool", "s3:ObjectCreationOperation", failing={"put-a-log"}),
    "any storage class is accepted": _without_statement(CLASSES, failing={"put-with-a-lesser-storage-class"}),
    "a storage class must be named": _without_condition(
        CLASSES, "Null", "s3:x-amz-storage-class", failing={"put-a-log"}
    ),
    "no storage class may be named": _without_condition(
        CLASSES, "StringNotEquals", "s3:x-amz-storage-class", undetected=STRICTER,
        tested_by="test_storage_classes_can_be_added",
    ),
    "any encryption is accepted": _without_statement(ENCRYPTED, failing={"put-with-another-encryption"}),
    "any encryption is accepted, with a key": _without_statement(
        ENCRYPTED, failing={"put-with-another-encryption"}, parameters=KMS
    ),
    "an encryption must be named": _without_condition(
        ENCRYPTED, "Null", "s3:x-amz-server-side-encryption", failing={"put-a-log"}
    ),
    "no encryption may be named": _without_condition(
        ENCRYPTED, "StringNotEquals", "s3:x-amz-server-side-encryption", undetected=STRICTER,
        tested_by="test_kms_key_is_used_through_s3_only",
    ),
    "keys may be brought along": _without_statement(OWN_KEY, failing={"put-with-a-key-of-ones-own"}),
    "keys must be brought along": _without_condition(
        OWN_KEY, "Null", "s3:x-amz-server-side-encryption-customer-algorithm", failing={"put-a-log"}
    ),
    "any key of the account is accepted": _without_statement(
        ARCHIVE_KEY, parameters=KMS, undetected=f"still refused by {USE_KEY}: the writer may use no other key",
        tested_by="test_statement_stops_an_administrator",
    ),
    "the key must be named": _without_condition(
        ARCHIVE_KEY, "Null", f"{_CONDITIONAL}server-side-encryption-aws-kms-key-id", failing={"put-a-log"},
        parameters=KMS,
    ),
    "no key may be named": _without_condition(
        ARCHIVE_KEY, "ArnNotEquals", f"{_CONDITIONAL}server-side-encryption-aws-kms-key-id", undetected=STRICTER,
        tested_by="test_kms_key_is_used_through_s3_only", parameters=KMS,
    ),
    "any network is accepted": _without_statement(
        ENDPOINT, parameters={"VpcEndpointId": VPCE}, undetected="only a request from another network could detect it",
        tested_by="test_statement_stops_an_administrator, test_vpc_endpoint_is_required",
    ),
    "Airflow is outside of the VPC endpoint": Mutation(
        (), {}, {"put-a-log"}, parameters={"VpcEndpointId": VPCE}
    ),
    "no network is accepted": _without_condition(
        ENDPOINT, "StringNotEquals", "aws:SourceVpce", failing={"put-a-log"}, parameters={"VpcEndpointId": VPCE}
    ),
    "the retention may be bypassed": _without_statement(
        RETENTION, parameters={"RetentionDays": "7"}, undetected=f"still refused by {ELSE}",
        tested_by="test_retention_stops_deletion_by_administrators",
    ),
    "plain HTTP is accepted": _without_statement(TLS, failing={"put-without-tls"}),
    "not even TLS is accepted": _without_condition(TLS, "Bool", "aws:SecureTransport", failing={"put-a-log"}),
    "an old TLS is accepted": _without_statement(
        OLD_TLS, undetected="no client of today speaks TLS 1.1, and AWS's endpoints do not either",
        tested_by="test_statement_stops_an_administrator",
    ),
    "no TLS is new enough": _without_condition(OLD_TLS, "NumericLessThan", "s3:TlsVersion", failing={"put-a-log"}),
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
        undetected="the source account still refuses it: Airflow may assume one role",
        tested_by="Airflow may become the reader, test_reader_reads_under_the_prefix_only",
    ),
    "Airflow may become the reader": Mutation(
        (), {READER: setting(Principal={"AWS": "*"}), BECOME: setting(Resource="*")},
        {"source-assumes-another-role"}, parameters={"CreateReaderRole": "true"},
    ),
    "the reader needs no external id": _without_condition(
        READER, "StringEquals", "sts:ExternalId", parameters={"CreateReaderRole": "true"},
        undetected="it concerns the reader, not the writer", tested_by="test_reader_reads_under_the_prefix_only",
    ),
    "the reader may not read": _without_statement(
        READ, parameters={"CreateReaderRole": "true"}, undetected="it concerns the reader, not the writer",
        tested_by="test_reader_reads_under_the_prefix_only",
    ),
    "the reader may not list": _without_statement(
        LIST, parameters={"CreateReaderRole": "true"}, undetected="it concerns the reader, not the writer",
        tested_by="test_reader_reads_under_the_prefix_only",
    ),
    "the reader may list everything": _without_condition(
        LIST, "StringLike", "s3:prefix", parameters={"CreateReaderRole": "true"},
        undetected="it concerns the reader, not the writer", tested_by="test_reader_reads_under_the_prefix_only",
    ),
    "the reader may not use the key": _without_statement(
        DECRYPT, parameters={"CreateReaderRole": "true", **KMS}, undetected="it concerns the reader, not the writer",
        tested_by="test_reader_of_encrypted_logs_uses_the_key_through_s3_only",
    ),
    "the reader may use the key directly": _without_condition(
        DECRYPT, "StringEquals", "kms:ViaService", parameters={"CreateReaderRole": "true", **KMS},
        undetected="it concerns the reader, not the writer",
        tested_by="test_reader_of_encrypted_logs_uses_the_key_through_s3_only",
    ),
    # The source account
    "Airflow may assume no role": _without_statement(BECOME, failing={"assume-role"}),
    "Airflow may assume another role only": Mutation(
        (), {BECOME: setting(Resource="arn:aws:iam::222222222222:role/Another")}, {"assume-role"}
    ),
    "Airflow may assume any role": Mutation((), {BECOME: setting(Resource="*")}, {"source-assumes-another-role"}),
}  # fmt: skip


def two_mistakes(aws: LocalAws) -> LocalAws:
    """Return a deployment where logs may be replaced (a missing hardening) and read (an over-privilege).

    That no ACL is required is a third mistake, which the tests accept as a risk.

    :param aws: where to deploy it
    """
    archive, source = MUTATIONS["logs may be replaced"].templates()
    for name in ("the role may read logs", "no ACL is required"):
        MUTATIONS[name].apply(archive, source)
    return aws.deploy(archive_template=archive, source_template=source)
