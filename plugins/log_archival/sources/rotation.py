"""Names that rotation makes, and what they tell: which files are copies of a live one, and of which night.

A *live* file is the one that a service writes to: ``access.log``. Rotation renames or copies it: to ``access.log.1``,
``access.log.2.gz``, ``access.log-20261123``, ``access.1.log``; some services write dated files themselves
(``app-2026-11-22.log``). https://manpages.debian.org/stable/logrotate/logrotate.8.en.html
"""

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable

from log_archival.sources.pattern import matcher

_CODEC = r"\.(?:gz|bz2|xz|zst|lz4|Z)"
_DATE = r"\d{4}-?\d\d-?\d\d(?:[-_.T]?\d)*"
_ROTATED = re.compile(
    rf"(?P<stem>.+?)(?:\.(?P<number>\d{{1,4}})|[-._](?:{_DATE}|\d{{10}}))"
    rf"(?P<extension>(?!{_CODEC}\Z)\.[A-Za-z][A-Za-z0-9]{{0,9}})?(?:{_CODEC})?",
    re.DOTALL,
)


class RotatedNames:
    """The names of a source's files, as families: a live file, and what rotation made of it.

    :param names: of all files that are there, matching or not
    """

    def __init__(self, names: Iterable[str]) -> None:
        known = set(names)
        self._live = {name: _live_name(name, known) for name in known}
        self._rotated: dict[str, list[str]] = defaultdict(list)
        for name, live in self._live.items():
            if live != name:
                self._rotated[live].append(name)

    def live_name(self, name: str) -> str:
        """Return the name of the live file that a file was made from, whether it exists or not.

        :param name: of one of the files
        :returns: the name itself, when rotation doesn't make such names
        """
        return self._live[name]

    def is_rotated(self, name: str) -> bool:
        """Return whether a file was made from a live file that exists.

        :param name: of one of the files
        """
        live = self._live[name]
        return live != name and live in self._live

    def rotated_from(self, live: str) -> list[str]:
        """Return the names of what rotation made of a live file.

        :param live: its name
        """
        return sorted(self._rotated[live])


def _live_name(name: str, known: set[str]) -> str:
    folder, slash, last = name.rpartition("/")
    match = _ROTATED.fullmatch(last)
    if not match:
        return name
    live = folder + slash + match["stem"] + (match["extension"] or "")
    # A number before the extension is rotation's only beside the live file: worker.1.log may be one of many.
    return live if live in known or not (match["number"] and match["extension"]) else name


def pattern_that_matches(pattern: str, name: str) -> str:
    """Return a pattern that matches a file which a pattern misses.

    :param pattern: of one day
    :param name: what it misses
    """
    # Wider, and not another, so that it matches the other live files of the source, too.
    folder, slash, last = pattern.rpartition("/")
    start, extension = os.path.splitext(last)
    for wider in (f"{last}*", f"{start}*{extension}*"):
        better = folder + slash + re.sub(r"\*+", "*", wider)
        if matcher(better)(name):
            return better
    folder, slash, last = name.rpartition("/")
    stem = _ROTATED.sub(lambda match: match["stem"], last, count=1)
    return f"{glob.escape(f'{folder}{slash}{stem}')}*".replace("%", "?")
