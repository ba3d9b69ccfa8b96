"""The note of a run: its day and what it did, or why it failed, in the words of its tasks' outcomes. It is Markdown."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from log_archival.exceptions import SettingsError
from log_archival.history import leading_lines
from log_archival.partition import Partition
from log_archival.progress import human_size

#: How the last line of ours begins.
_LINK = "[Log archive]("
#: Airflow's column is this wide.
MAX_NOTE_CHARS = 1_000
#: What Markdown would read as a link, an image, HTML or emphasis. Names of files and sources are in notes.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>!|~&])")


@dataclass(frozen=True)
class TaskOutcome:
    """What one task of a run pushed as its outcome.

    :param task_id: the task
    :param fields: the outcome; whoever may set XComs may have set another
    """

    task_id: str
    fields: Mapping[str, Any]


def day_of(outcomes: Sequence[TaskOutcome]) -> str | None:
    """Return the day that a run's tasks have named, ``2026-11-22``; None when none of them has.

    :param outcomes: of the run's tasks
    """
    for outcome in outcomes:
        with suppress(SettingsError):
            return Partition.parse(outcome.fields.get("partition", "")).key
    return None


def note_of(
    day: str | None,
    outcomes: Sequence[TaskOutcome],
    archived: Mapping[str, Any],
    failure: str = "",
    failed_tasks: Sequence[str] = (),
) -> str:
    """Return what the note of a run that has ended says.

    :param day: the day that the run archives, ``2026-11-22``
    :param outcomes: of the run's tasks
    :param archived: what is known to be archived of the day, by source: the figures of its newest event
    :param failure: of a run that failed: what Airflow says, such as ``task failure``
    :param failed_tasks: the ids of its tasks that failed
    """
    if failure:
        return _failed(day, outcomes, failure, failed_tasks)
    for outcome in outcomes:
        fields = outcome.fields
        if fields.get("dry_run"):
            return _dry_run(fields, archived)
        if "tier" in fields:
            return _archived(fields)
        if "checks" in fields:
            return _checked(fields)
    return f"{_text(day or 'The run')}: nothing is known of what was done."


def _failed(day: str | None, outcomes: Sequence[TaskOutcome], failure: str, failed_tasks: Sequence[str]) -> str:
    causes = [one for one in outcomes if one.fields.get("error") and one.task_id in failed_tasks]
    what = f"**{_text(day or 'The run')} failed**"
    if not causes and not failed_tasks:
        return f"{what}: {_text(failure)}."
    if not causes:
        return f"{what} in {_text(', '.join(sorted(set(failed_tasks))))}: the task's log says why."
    first, *more = causes
    cause = " ".join(leading_lines(str(first.fields["error"])))
    others = f" (and {len(more)} more tasks)" if more else ""
    return f"{what} in {_text(first.task_id)}: {_text(cause)}{others}"


def _archived(fields: Mapping[str, Any]) -> str:
    sources = _sources(fields)
    tier = "" if fields.get("tier") == "sent" else "verified at "
    only = f" (only {_text(', '.join(map(str, fields['only'])))})" if fields.get("only") else ""
    proved = f"{tier}tier {_text(fields['tier'])}"
    lines = [f"**{_text(fields.get('partition'))} is archived**{only}, {proved}: {_sizes(fields)}"]
    if fields.get("tier_reason"):
        lines.append(_text(fields["tier_reason"]))
    return "\n".join([*lines, "", *(f"- {_text(name)}: {_sizes(one)}" for name, one in sources.items())])


def _sizes(fields: Mapping[str, Any]) -> str:
    raw, stored = _number(fields, "raw_bytes"), _number(fields, "stored_bytes")
    ratio = f", {raw / stored:.1f} : 1" if stored else ""
    return (
        f"{_number(fields, 'files'):,} files, {human_size(raw)} as {human_size(stored)}{ratio};"
        f" {_number(fields, 'new'):,} new, {_number(fields, 'existing'):,} existing"
    )


def _dry_run(fields: Mapping[str, Any], archived: Mapping[str, Any]) -> str:
    lines = [f"**Dry run** of {_text(fields.get('partition'))}: nothing was archived. A run would archive:", ""]
    for name, one in _sources(fields).items():
        files, size = f"{_number(one, 'files'):,} files", human_size(_number(one, "raw_bytes"))
        failed = f", {_number(one, 'failed'):,} would fail" if _number(one, "failed") else ""
        known = archived.get(name)
        already = _number(known, "files") if isinstance(known, Mapping) else 0
        lines.append(f"- {_text(name)}: {files}, {size}{failed}; {already:,} files are archived already")
    return "\n".join(lines)


def _checked(fields: Mapping[str, Any]) -> str:
    checks, accepted = fields["checks"], fields.get("accepted") or []
    return (
        f"**{len(checks) - len(accepted):,} checks of least privilege are ok**, {len(accepted):,} risks are accepted."
    )


def _sources(fields: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    sources = fields.get("sources")
    if not isinstance(sources, Mapping):
        return {}
    return {str(name): one for name, one in sources.items() if isinstance(one, Mapping)}


def _number(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    """Return text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", str(value))


def with_note(existing: str | None, text: str, url: str) -> str:
    """Return a run's note with ours first, of which Airflow shows the first line, in the length that Airflow allows.

    An earlier one of ours is replaced; what people wrote stays.

    :param existing: the note that the run has
    :param text: ours; its first line begins in bold, and no other does
    :param url: of the page
    """
    link = f"{_LINK}{url})"
    theirs = _without_ours(existing or "")
    room = MAX_NOTE_CHARS - len(link) - len(theirs) - 4
    if room < 1:  # people wrote a long one
        return str(existing)
    ours = f"{text if len(text) <= room else _shortened(text, room)}\n\n{link}"
    return f"{ours}\n\n{theirs}" if theirs else ours


def _without_ours(note: str) -> str:
    before, link, after = note.partition(_LINK)
    if not link:
        return note
    written_above = re.split(r"^\*\*", before, flags=re.MULTILINE)[:-1]
    return "\n\n".join(filter(None, ["**".join(written_above).strip(), after.partition(")")[2].strip()]))


def _shortened(text: str, length: int) -> str:
    """Return the beginning of a text, with an ellipsis; never half of an escape."""
    return text[: length - 1].rstrip("\\") + "…"
