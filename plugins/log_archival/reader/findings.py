"""What verification and restore report: findings, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from log_archival.manifest import Entry, printable

#: - missing: an object is gone
#: - differs: an object has other content than the manifests list
#: - unknown: an object could not be checked
#: - unlisted: no manifest lists an object
#: - manifest: a manifest can't be used
#: - day: a day has no manifest
#: - empty: there is nothing below the prefix
#: - failed: a file was not restored
#: - note: worth knowing, but no problem
Kind = Literal["missing", "differs", "unknown", "unlisted", "manifest", "day", "empty", "failed", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to report about one archive, manifest, file or day.

    :param kind: the kind of the problem, or ``note``
    :param message: what was found, in words
    :param key: the object's key
    :param source: the log file's source
    :param path: the log file's path below the source's root
    :param expected: what the manifest lists
    :param found: what the archive has
    :param day: as ``2026-11-22``, for a day without a manifest
    """

    kind: Kind
    message: str
    key: str = ""
    source: str = ""
    path: str = ""
    expected: str = ""
    found: str = ""
    day: str = ""

    @classmethod
    def about(cls, entry: Entry, kind: Kind, message: str, *, expected: str = "", found: str = "") -> Self:
        """Return a finding about an archive that a manifest lists.

        :param entry: the archive
        :param kind: the kind of the problem, or ``note``
        :param message: what was found, in words
        :param expected: what the manifest lists
        :param found: what the archive has
        """
        return cls(kind, message, entry.key, entry.source, entry.path, expected, found)

    @property
    def note(self) -> bool:
        """Whether this is no problem."""
        return self.kind == "note"

    def to_dict(self) -> dict[str, str]:
        """Return the fields that are not empty, for JSON."""
        return {name: value for name, value in asdict(self).items() if value}

    def __str__(self) -> str:
        """Return the finding on one line, with nothing in it that a terminal would obey."""
        file = f"{self.source}: {printable(self.path)}" if self.source else ""
        where = f"{file} ({printable(self.key)})" if file and self.key else file or printable(self.key)
        text = " ".join(self.message.splitlines())
        for name, value in (("expected", self.expected), ("found", self.found)):
            text += f"; {name} {value}" if value else ""
        return f"{where}: {text}" if where else text


@dataclass(kw_only=True)
class Report:
    """The base of what a verification or a restore returns; subclasses add their counts."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        """The findings that are no notes."""
        return [finding for finding in self.findings if not finding.note]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        counts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "findings"}
        return {
            "ok": self.ok,
            **counts,
            "problems": [finding.to_dict() for finding in self.problems],
            "notes": [finding.to_dict() for finding in self.findings if finding.note],
        }
