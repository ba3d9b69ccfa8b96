"""How a check is judged: the verdicts, the table of results, and when they fail.

A check is a request that must work or must be refused; it is sent for real. "Not found" never counts as refused: where
a response proves neither that the request was permitted nor that it was refused, the check is undecided, which fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from log_archival.aws.errors import ACCESS_DENIED
from log_archival.exceptions import PrivilegeError
from log_archival.least_privilege.requests import PrerequisiteError, Requester, Response, Target
from log_archival.least_privilege.trials import Trial

log = logging.getLogger(__name__)


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
    :param permitted_codes: the error codes of requests that the policies permitted, and that then failed
    :param expected: what must happen
    :param refusal_codes: the error codes that mean refused
    :param hardening: whether it is a missing hardening, rather than an over-privilege, when it is permitted
    :param skip_if: returns why it can't be tried on a target, or None
    :param shortcoming: returns what a success lacks, or None: for checks of what S3 returns to an upload
    """

    name: str
    tried: str
    trial: Trial
    remediation: str
    permitted_codes: frozenset[str] = frozenset()
    expected: Literal["allowed", "refused"] = "refused"
    refusal_codes: frozenset[str] = ACCESS_DENIED
    hardening: bool = False
    skip_if: Callable[[Target], str | None] = lambda target: None
    shortcoming: Callable[[Target, Mapping[str, Any]], str | None] = lambda target, fields: None


@dataclass(frozen=True)
class Result:
    """The result of a check; small, and nothing in it is secret.

    :param check: the check
    :param happened: what happened, in words
    :param verdict: the outcome
    """

    check: Check
    happened: str
    verdict: Verdict

    def as_dict(self) -> dict[str, str]:
        """Return the result as plain text, for XCom."""
        return {
            "check": self.check.name,
            "tried": self.check.tried,
            "expected": self.check.expected,
            "happened": self.happened,
            "verdict": str(self.verdict),
            "remediation": self.check.remediation,
        }


def run_check(check: Check, requester: Requester) -> Result:
    """Try one check.

    :param check: the check
    :param requester: sends its requests
    :raises ArchiveRequestError: for a transient error (throttling, 5xx, time-outs), which decides nothing
    """
    try:
        response = check.trial(requester)
    except PrerequisiteError as error:
        return Result(check, f"not tried: {error}", Verdict.UNDECIDED)
    return Result(check, *_judge(check, response, requester.target))


def _judge(check: Check, response: Response, target: Target) -> tuple[str, Verdict]:
    code, must_work = response.code, check.expected == "allowed"
    if code in check.refusal_codes and must_work:
        return f"refused: {code}: {response.message}", Verdict.UNDER_PRIVILEGE
    if code in check.refusal_codes:
        return f"refused: {code}", Verdict.OK
    if code and code not in check.permitted_codes:
        return f"neither permitted nor refused: {code}: {response.message}", Verdict.UNDECIDED
    if must_work:
        shortcoming = check.shortcoming(target, response.fields)
        return (shortcoming, Verdict.MISSING_HARDENING) if shortcoming else ("permitted", Verdict.OK)
    happened = f"permitted, then failed with {code}, which no policy causes" if code else "permitted"
    return happened, Verdict.MISSING_HARDENING if check.hardening else Verdict.OVER_PRIVILEGE


def report(results: Sequence[Result], accepted_risks: Collection[str], not_tried: Mapping[str, str]) -> dict[str, Any]:
    """Log the table of all results, and raise unless every check is ok or accepted.

    :param results: the results
    :param accepted_risks: names of checks that may fail
    :param not_tried: the other checks, and why they were not tried
    :returns: ``{"checks": {name: verdict}, "accepted": [names], "not_tried": {name: reason}}``
    :raises PrivilegeError: with what was tried, what happened and the remediation, for each failed check
    """
    not_ok = {result.check.name: result for result in results if result.verdict != Verdict.OK}
    accepted = sorted(not_ok.keys() & set(accepted_risks))
    lines = [*_table(results, accepted), *(f"not tried: {name} ({reason})" for name, reason in not_tried.items())]
    log.info("least privilege:\n%s", "\n".join(lines))
    if failed := [_in_words(result) for name, result in not_ok.items() if name not in accepted]:
        raise PrivilegeError(
            "\n".join([f"{len(failed)} of {len(results)} checks of least privilege failed:", *failed]),
            hint="If a risk is known and accepted, add the check's name to `accepted_risks` in archive.yaml.",
        )
    return {
        "checks": {result.check.name: str(result.verdict) for result in results},
        "accepted": accepted,
        "not_tried": dict(not_tried),
    }


def _table(results: Sequence[Result], accepted: Collection[str]) -> list[str]:
    rows = [("check", "expected", "verdict", "what happened")]
    for result in results:
        verdict = f"{result.verdict} (accepted)" if result.check.name in accepted else str(result.verdict)
        rows.append((result.check.name, result.check.expected, verdict, result.happened))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _in_words(result: Result) -> str:
    fields = result.as_dict()
    details = [f"    {name + ':':12} {fields[name]}" for name in ("tried", "expected", "happened", "remediation")]
    return "\n".join([f"  {result.check.name}: {result.verdict}", *details])
