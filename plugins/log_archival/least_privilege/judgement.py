"""How a check is judged: the verdicts, the table of results, and when they fail.

A check is a request that must work or must be refused; it is sent for real. "Not found" never counts as refused: where
a response proves neither that the request was permitted nor that it was refused, the check is undecided, which fails.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from log_archival.aws.errors import ACCESS_DENIED
from log_archival.exceptions import ArchiveRequestError, PrivilegeError
from log_archival.least_privilege.attempts import PrerequisiteError, Requester, Response, Target

log = logging.getLogger(__name__)

#: The outcome of a check. Over-privilege would harm the archive, under-privilege stops it, a missing hardening harms
#: nothing today. Undecided: the response proves nothing, or the check could not be tried. Transient error: try again.
Verdict = Literal["ok", "over-privilege", "under-privilege", "missing hardening", "undecided", "transient error"]
_HINT = "If a risk is known and accepted, add the check's name to `accepted_risks` in archive.yaml."
_ROW = "{:31}  {:8}  {:28}  {}"


@dataclass(frozen=True)
class Check:
    """One check.

    :param name: a slug: the row in the table, and the name for ``accepted_risks``
    :param tried: what is tried, in words
    :param trial: sends what is tried, and returns the response
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
    trial: Callable[[Requester], Response]
    remediation: str
    permitted_codes: frozenset[str] = frozenset()
    expected: Literal["allowed", "refused"] = "refused"
    refusal_codes: frozenset[str] = ACCESS_DENIED
    hardening: bool = False
    skip_if: Callable[[Target], str | None] = lambda target: None
    shortcoming: Callable[[Target, Mapping[str, Any]], str | None] = lambda target, fields: None


@dataclass(frozen=True)
class Result:
    """The result of a check; nothing in it is secret.

    :param check: the check
    :param happened: what happened, in words
    :param verdict: the outcome
    """

    check: Check
    happened: str
    verdict: Verdict

    def fields(self) -> dict[str, str]:
        """Return what was tried, what happened, and what to correct, as plain data."""
        return {
            "check": self.check.name,
            "verdict": self.verdict,
            "tried": self.check.tried,
            "expected": self.check.expected,
            "happened": self.happened,
            "remediation": self.check.remediation,
        }

    def __str__(self) -> str:
        """Return the same as lines of text."""
        fields = self.fields()
        lines = [f"  {fields.pop('check')}: {fields.pop('verdict')}"]
        return "\n".join([*lines, *(f"    {f'{name}:':<12} {value}" for name, value in fields.items())])


def run_check(check: Check, requester: Requester) -> Result:
    """Try one check, and log the result.

    :param check: the check
    :param requester: sends its requests
    :raises RefusedError: when a request can't be sent at all: no credentials, no region
    """
    try:
        result = Result(check, *_judge(check, check.trial(requester), requester.target))
    except PrerequisiteError as error:
        result = Result(check, f"not tried: {error}", "undecided")
    except ArchiveRequestError as error:
        if error.permanent:
            raise
        result = Result(check, str(error).replace("\n", " "), "transient error")
    log.info("%s: %s: %s", check.name, result.verdict, result.happened)
    return result


def _judge(check: Check, response: Response, target: Target) -> tuple[str, Verdict]:
    code, must_work = response.code, check.expected == "allowed"
    if code in check.refusal_codes and must_work:
        return f"refused: {code}: {response.message}", "under-privilege"
    if code in check.refusal_codes:
        return f"refused: {code}", "ok"
    if code and code not in check.permitted_codes:
        return f"neither permitted nor refused: {code}: {response.message}", "undecided"
    if must_work:
        shortcoming = check.shortcoming(target, response.fields)
        return (shortcoming, "missing hardening") if shortcoming else ("permitted", "ok")
    happened = f"permitted, then failed with {code}, which no policy causes" if code else "permitted"
    return happened, "missing hardening" if check.hardening else "over-privilege"


def report(results: Sequence[Result], accepted_risks: Collection[str], not_tried: Mapping[str, str]) -> dict[str, Any]:
    """Log the table of all results, and return it.

    :param results: the results
    :param accepted_risks: names of checks that may fail
    :param not_tried: the other checks, and why they were not tried
    :returns: ``{"checks": {name: verdict}, "accepted": [names], "not_tried": {name: reason}, "findings": [fields of
        each check that is not ok]}``
    """
    verdicts = {result.check.name: result.verdict for result in results}
    accepted = [name for name in sorted(set(accepted_risks)) if verdicts.get(name, "ok") != "ok"]
    lines = [_ROW.format("check", "expected", "verdict", "what happened")]
    for result in results:
        verdict = f"{result.verdict} (accepted)" if result.check.name in accepted else result.verdict
        lines.append(_ROW.format(result.check.name, result.check.expected, verdict, result.happened))
    lines += [f"not tried: {name} ({reason})" for name, reason in not_tried.items()]
    log.info("least privilege:\n%s", "\n".join(lines))
    findings = [result.fields() for result in results if result.verdict != "ok"]
    return {"checks": verdicts, "accepted": accepted, "not_tried": not_tried, "findings": findings}


def require_ok(results: Sequence[Result], accepted_risks: Collection[str]) -> None:
    """Raise unless every check is ok or accepted.

    :param results: the results
    :param accepted_risks: names of checks that may fail
    :raises PrivilegeError: with what was tried, what happened and the remediation, for each failed check
    :raises ArchiveRequestError: when nothing but transient errors (throttling, 5xx, time-outs) made checks fail
    """
    failed = [result for result in results if result.verdict != "ok" and result.check.name not in accepted_risks]
    if failed and all(result.verdict == "transient error" for result in failed):
        names = ", ".join(result.check.name for result in failed)
        raise ArchiveRequestError(f"transient errors, which decide nothing: {names}", hint="A retry may succeed.")
    if failed:
        headline = f"{len(failed)} of {len(results)} checks of least privilege failed:"
        raise PrivilegeError("\n".join([headline, *map(str, failed)]), hint=_HINT)
