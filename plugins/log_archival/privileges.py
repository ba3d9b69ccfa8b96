"""How a privilege is tried: one request, what it was answered, and whether that is what least privilege asks for.

A check is a request that must work, or must be refused, sent for real and judged by the answer. `privilege_checks`
has the table of them. Three rules keep the checks from doing harm even where the role can do anything: what is read
is the checks' own canary, what is deleted or changed does not exist, and a change of the bucket's configuration is
written such that no server can carry it out. No check tells "refused" from "there is nothing": where an answer
proves neither that the request was permitted nor that it was refused, the check is *undecided*, which is no pass.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from log_archival import connection
from log_archival.errors import ArchiveRequestError, PrivilegeError, RefusedError, SettingsError

#: What S3, STS and KMS call a request that the policies refuse; HeadObject has no body, so only the status.
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "403"})
#: Answers that may be another one a moment later, whatever the policies say.
_PASSING = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "InternalError",
     "ServiceUnavailable", "503", "500", "ConditionalRequestConflict", "OperationAborted"}
)  # fmt: skip

Expected = Literal["allowed", "refused"]
Verdict = Literal["ok", "over-privilege", "under-privilege", "missing hardening", "undecided"]


@dataclass(frozen=True)
class Credentials:
    """What STS gives for a session."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(repr=False)


#: As whom: Airflow's own credentials, no credentials at all, or a session of a role.
Identity = Literal["source", "nobody"] | Credentials
#: Makes a boto3 client: of a service, as somebody, over TLS or (to see it refused) without.
ClientFactory = Callable[[str, Identity, bool], Any]


@dataclass(frozen=True)
class Target:
    """What is checked.

    :param role: of the connection, with the external id
    :param session_name: the RoleSessionName of the checks' sessions
    :param token: names the canary
    :param endpoint_url: of S3, when it is not AWS's own
    :param other_bucket: an existing bucket, of the archive account at best, that the role must not reach
    :param other_roles: ARN and external id of roles that must not be assumed from here, the reader's for example
    """

    role: connection.RoleSettings
    bucket: str
    prefix: str
    session_name: str
    acl: str | None = "bucket-owner-full-control"
    kms_key_arn: str | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    endpoint_url: str | None = None
    other_bucket: str | None = None
    other_roles: Sequence[tuple[str, str | None]] = field(default=(), repr=False)

    @property
    def canary(self) -> str:
        """The key of the canary: one small object, written once, that no manifest and no check counts."""
        return f"{self.prefix}_canary/least-privilege-{self.token}"

    def new_key(self, before: str | None = None) -> str:
        """A key that nothing has; below the canaries, or as told."""
        return f"{self.prefix + '_canary/' if before is None else before}least-privilege-{secrets.token_hex(8)}"


@dataclass(frozen=True)
class Answer:
    """What a request was answered: ``code`` is empty for a success."""

    code: str = ""
    said: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.code}: {self.said}" if self.code else "it was carried out"


class NotTried(Exception):
    """A check could not be tried, since what it builds on did not work; says what."""


class Probe:
    """Sends the requests of the checks; those that share one share a session of the role.

    :param clients: makes the clients; the requests of this class go nowhere else
    """

    def __init__(self, target: Target, clients: ClientFactory) -> None:
        self.target = target
        self._client = functools.cache(clients)

    def ask(
        self, service: str, operation: str, who: Identity | None = None, *, tls: bool = True, **sent: Any
    ) -> Answer:
        """One request, as the role's session unless told otherwise.

        :raises ArchiveRequestError: when the answer may be another one on a later try
        :raises RefusedError: when it could not be sent at all: no credentials, no region
        """
        client = self._client(service, self.writer if who is None else who, tls)
        try:
            found = getattr(client, operation)(**sent)
        except ClientError as error:
            code = str(error.response["Error"].get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _PASSING or status >= 500:
                raise ArchiveRequestError(f"{operation} was answered {code}, which may pass") from error
            return Answer(code, str(error.response["Error"].get("Message", "")).strip())
        except (HTTPClientError, ConnectionError) as error:
            raise ArchiveRequestError(f"{operation} got no answer: {error}") from error
        except BotoCoreError as error:
            raise RefusedError(f"{operation} could not be sent: {error}", code=type(error).__name__) from error
        if "Body" in found:
            found.pop("Body").close()
        return Answer(fields=found)

    def assume(self, who: Identity = "source", **changes: Any) -> Answer:
        """AssumeRole as the connection says, without a session policy; an argument that is None is left out."""
        role = self.target.role
        arguments = {
            **role.assume_role_kwargs,
            "RoleArn": role.role_arn,
            "RoleSessionName": self.target.session_name,
            "ExternalId": role.external_id,
            **changes,
        }
        return self.ask("sts", "assume_role", who, **{name: v for name, v in arguments.items() if v is not None})

    @cached_property
    def writer(self) -> Credentials:
        """A session of the role with all that the role may do: it is the role that is checked."""
        return self.session()

    def session(self, **changes: Any) -> Credentials:
        """A session of the role.

        :raises NotTried: when the role can't be assumed
        """
        answer = self.assume(**changes)
        if answer.code:
            raise NotTried(f"the role could not be assumed ({answer.code}); see the check assume-role")
        found = answer.fields["Credentials"]
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

    def put(self, key: str | None = None, who: Identity | None = None, *, tls: bool = True, **changes: Any) -> Answer:
        """Put a few bytes as this package puts an archive, but for the changes; None leaves an argument out."""
        target = self.target
        body = f"Written by check_least_privilege of log-archival, run {target.token}.\n".encode()
        arguments = {
            "Bucket": target.bucket,
            "Key": key or target.new_key(),
            "Body": body,
            "ContentType": "text/plain",
            "ACL": target.acl,
            "IfNoneMatch": "*",
            "ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
            "ExpectedBucketOwner": target.role.account,
            **changes,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        return self.ask("s3", "put_object", who, tls=tls, **given)

    @cached_property
    def canary(self) -> str:
        """The canary's key; puts it, unless another check of this run has.

        :raises NotTried: when it can't be put
        """
        answer = self.put(self.target.canary)
        if answer.code not in ("", "PreconditionFailed"):
            raise NotTried(f"the canary could not be put ({answer.code}); see the check put-a-log")
        return self.target.canary


@dataclass(frozen=True)
class Check:
    """One check.

    :param name: a slug: the row in the grid, and the name for ``accepted_risks``
    :param tried: what is tried, in words
    :param expected: what must happen
    :param mend: the statement, and the template that it belongs to, which is to be mended when something else happens
    :param probe: sends the request
    :param refusals: the error codes that are the refusal
    :param past: the error codes that only a request gets which the policies have let pass
    :param hardening: permitted, it takes nothing from the archive today: a missing hardening, not an over-privilege
    :param not_here: why it can't be asked of a target, or None
    :param lacks: what a success lacks, or None; for checks of what S3 says about a put
    """

    name: str
    tried: str
    expected: Expected
    mend: str
    probe: Callable[[Probe], Answer]
    refusals: frozenset[str] = DENIED
    past: frozenset[str] = frozenset()
    hardening: bool = False
    not_here: Callable[[Target], str | None] = lambda target: None
    lacks: Callable[[Target, Mapping[str, Any]], str | None] = lambda target, fields: None


@dataclass(frozen=True)
class Result:
    """What came out of a check; small, and nothing in it is secret."""

    check: str
    tried: str
    expected: Expected
    happened: str
    verdict: Verdict
    mend: str

    def as_dict(self) -> dict[str, str]:
        """For XCom."""
        return asdict(self)


def run_check(check: Check, probe: Probe) -> Result:
    """Try one check.

    :raises ArchiveRequestError: when it may come out otherwise on a later try: throttling, 5xx, time-outs
    """
    try:
        answer = check.probe(probe)
    except NotTried as error:
        return _result(check, f"not tried: {error}", "undecided")
    if check.expected == "refused":
        if answer.code in check.refusals:
            return _result(check, f"refused, {answer.code}", "ok")
        if not answer.code or answer.code in check.past:
            but = f", then stopped by {answer.code}, which no policy says" if answer.code else ""
            return _result(check, f"permitted{but}", "missing hardening" if check.hardening else "over-privilege")
        return _result(check, f"neither permitted nor refused: {answer}", "undecided")
    if answer.code in DENIED:
        return _result(check, f"refused, {answer}", "under-privilege")
    if answer.code:
        return _result(check, f"neither permitted nor refused: {answer}", "undecided")
    if lacks := check.lacks(probe.target, answer.fields):
        return _result(check, lacks, "missing hardening")
    return _result(check, "permitted", "ok")


def _result(check: Check, happened: str, verdict: Verdict) -> Result:
    return Result(check.name, check.tried, check.expected, happened, verdict, check.mend)


def require_known(accepted: Iterable[str], names: Iterable[str]) -> frozenset[str]:
    """The accepted risks, each of which has to be the name of a check.

    :raises SettingsError: naming those that are not
    """
    accepted, known = frozenset(accepted), frozenset(names)
    if unknown := sorted(accepted - known):
        raise SettingsError(
            f"accepted_risks: no check is called {', '.join(map(repr, unknown))}",
            hint="The checks: " + ", ".join(sorted(known)),
        )
    return accepted


def table(results: Sequence[Result], accepted: Iterable[str] = ()) -> str:
    """The results, a line a check."""
    accepted = set(accepted)
    lines = [("check", "expected", "verdict", "what happened")]
    for result in results:
        verdict = result.verdict + (" (accepted)" if result.verdict != "ok" and result.check in accepted else "")
        lines.append((result.check, result.expected, verdict, result.happened))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[3]]) for line in lines
    )


def require_least_privilege(results: Sequence[Result], accepted: Iterable[str] = ()) -> None:
    """Raise when a check came out otherwise than it must.

    :raises PrivilegeError: with what was tried, what happened and what is to be mended, for each
    """
    accepted = set(accepted)
    wrong = [result for result in results if result.verdict != "ok" and result.check not in accepted]
    if not wrong:
        return
    lines = [f"{len(wrong)} of {len(results)} checks of least privilege failed:"]
    for result in wrong:
        lines += [
            f"  {result.check}: {result.verdict}",
            f"    tried:    {result.tried}",
            f"    expected: {result.expected}",
            f"    happened: {result.happened}",
            f"    mend:     {result.mend}",
        ]
    raise PrivilegeError(
        "\n".join(lines),
        hint="A risk that is known and accepted goes, by the check's name, into `accepted_risks` of archive.yaml.",
    )
