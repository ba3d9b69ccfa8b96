"""What least privilege asks for, and how an answer is judged by it.

A check is a request that must work, or must be refused, sent for real and judged by the answer; `privilege_checks` has
the table of them. No check takes "there is nothing" for a refusal: where an answer proves neither that the request was
permitted nor that it was refused, the check is *undecided*, which is no pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from log_archival.exceptions import PrivilegeError, SettingsError
from log_archival.least_privilege.requests import DENIED, Answer, NotTried, Probe, Target

Expected = Literal["allowed", "refused"]
Verdict = Literal["ok", "over-privilege", "under-privilege", "missing hardening", "undecided"]


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
