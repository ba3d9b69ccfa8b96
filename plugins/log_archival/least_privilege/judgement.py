"""How a check is judged: the verdicts, the table of results, and when they fail.

A check is a request that must work or must be refused; it is sent for real. "Not found" never counts as refused: where
a response proves neither that the request was permitted nor that it was refused, the check is undecided, which fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from log_archival.aws.errors import ACCESS_DENIED
from log_archival.exceptions import PrivilegeError
from log_archival.least_privilege.requests import PrerequisiteError, Requester, Response, Target
from log_archival.least_privilege.trials import Trial

log = logging.getLogger(__name__)

Expected = Literal["allowed", "refused"]


class Verdict(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    #: The role may do what would harm the archive.
    OVER_PRIVILEGE = "over-privilege"
    #: The role may not do what it must.
    UNDER_PRIVILEGE = "under-privilege"
    #: The role may do what harms nothing today, but should be refused.
    MISSING_HARDENING = "missing hardening"
    #: The response proves nothing, or the check could not be tried.
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Check:
    """One check.

    :param name: a slug: the row in the grid, and the name for ``accepted_risks``
    :param tried: what is tried, in words
    :param trial: sends the request
    :param remediation: the statement, and its template, to correct when the check fails
    :param expected: what must happen
    :param refusal_codes: the error codes that mean refused
    :param permitted_codes: the error codes of requests that the policies permitted, and that then failed
    :param hardening: whether it is a missing hardening, rather than an over-privilege, when it is permitted
    :param skip_if: returns why it can't be tried on a target, or None
    :param shortcoming: returns what a success lacks, or None: for checks of what S3 returns to an upload
    """

    name: str
    tried: str
    trial: Trial
    remediation: str
    expected: Expected = "refused"
    refusal_codes: frozenset[str] = ACCESS_DENIED
    permitted_codes: frozenset[str] = frozenset()
    hardening: bool = False
    skip_if: Callable[[Target], str | None] = lambda target: None
    shortcoming: Callable[[Target, Mapping[str, Any]], str | None] = lambda target, fields: None


@dataclass(frozen=True)
class Result:
    """The result of a check; small, and nothing in it is secret."""

    check: str
    tried: str
    expected: Expected
    happened: str
    verdict: Verdict
    remediation: str

    @classmethod
    def of(cls, check: Check, happened: str, verdict: Verdict) -> Result:
        """Return the result of a check.

        :param check: the check
        :param happened: what happened, in words
        :param verdict: the outcome
        """
        return cls(check.name, check.tried, check.expected, happened, verdict, check.remediation)

    @classmethod
    def from_dict(cls, item: Mapping[str, Any]) -> Result:
        """Return what `as_dict` was called on.

        :param item: what `as_dict` returned, through XCom
        """
        return cls(**{**item, "verdict": Verdict(item["verdict"])})

    def as_dict(self) -> dict[str, str]:
        """Return the result as plain text, for XCom."""
        return {name: str(value) for name, value in asdict(self).items()}


def run_check(check: Check, requester: Requester) -> Result:
    """Try one check.

    :param check: the check
    :param requester: sends its requests
    :raises ArchiveRequestError: for a transient error (throttling, 5xx, time-outs), which decides nothing
    """
    try:
        response = check.trial(requester)
    except PrerequisiteError as error:
        return Result.of(check, f"not tried: {error}", Verdict.UNDECIDED)
    if check.expected == "refused":
        return Result.of(check, *_judge_refused(check, response))
    return Result.of(check, *_judge_allowed(check, response, requester.target))


def _judge_refused(check: Check, response: Response) -> tuple[str, Verdict]:
    if response.code in check.refusal_codes:
        return f"refused: {response.code}", Verdict.OK
    if response.code and response.code not in check.permitted_codes:
        return _undecided(response)
    happened = f"permitted, then failed with {response.code}, which no policy causes" if response.code else "permitted"
    return happened, Verdict.MISSING_HARDENING if check.hardening else Verdict.OVER_PRIVILEGE


def _judge_allowed(check: Check, response: Response, target: Target) -> tuple[str, Verdict]:
    if response.code in ACCESS_DENIED:
        return f"refused: {response.code}: {response.message}", Verdict.UNDER_PRIVILEGE
    if response.code:
        return _undecided(response)
    if shortcoming := check.shortcoming(target, response.fields):
        return shortcoming, Verdict.MISSING_HARDENING
    return "permitted", Verdict.OK


def _undecided(response: Response) -> tuple[str, Verdict]:
    return f"neither permitted nor refused: {response.code}: {response.message}", Verdict.UNDECIDED


def table(results: Sequence[Result], accepted_risks: Collection[str] = ()) -> str:
    """Return the results as a table, one line per check.

    :param results: the results
    :param accepted_risks: names of checks that may fail
    """
    lines = [("check", "expected", "verdict", "what happened")]
    for result in results:
        is_accepted = result.verdict != Verdict.OK and result.check in accepted_risks
        verdict = f"{result.verdict} (accepted)" if is_accepted else str(result.verdict)
        lines.append((result.check, result.expected, verdict, result.happened))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]) for line in lines
    )


def require_least_privilege(results: Sequence[Result], accepted_risks: Collection[str] = ()) -> None:
    """Raise unless every check is ok or accepted.

    :param results: the results
    :param accepted_risks: names of checks that may fail
    :raises PrivilegeError: with what was tried, what happened and the remediation, for each failed check
    """
    failed = [result for result in results if result.verdict != Verdict.OK and result.check not in accepted_risks]
    if not failed:
        return
    lines = [f"{len(failed)} of {len(results)} checks of least privilege failed:"]
    for result in failed:
        lines += [
            f"  {result.check}: {result.verdict}",
            f"    tried:       {result.tried}",
            f"    expected:    {result.expected}",
            f"    happened:    {result.happened}",
            f"    remediation: {result.remediation}",
        ]
    raise PrivilegeError(
        "\n".join(lines),
        hint="If a risk is known and accepted, add the check's name to `accepted_risks` in archive.yaml.",
    )


def report(results: Sequence[Result], accepted_risks: Collection[str], not_tried: Mapping[str, str]) -> dict[str, Any]:
    """Log the table of all results, and raise unless every check is ok or accepted.

    :param results: the results
    :param accepted_risks: names of checks that may fail
    :param not_tried: the other checks, and why they were not tried
    :returns: ``{"checks": {name: verdict}, "accepted": [names], "not_tried": {name: reason}}``
    :raises PrivilegeError: with what was tried, what happened and the remediation, for each failed check
    """
    lines = [table(results, accepted_risks)]
    lines += [f"not tried: {name} ({reason})" for name, reason in not_tried.items()]
    log.info("least privilege:\n%s", "\n".join(lines))
    require_least_privilege(results, accepted_risks)
    return {
        "checks": {result.check: str(result.verdict) for result in results},
        "accepted": sorted(result.check for result in results if result.verdict != Verdict.OK),
        "not_tried": dict(not_tried),
    }
