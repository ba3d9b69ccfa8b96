"""Patterns of log files' names: ``*`` within a component, ``**`` across them, strftime directives for the day."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from fsspec.utils import glob_translate

from log_archival.exceptions import SettingsError
from log_archival.partition import Partition

_MAGIC = re.compile(r"[*?\[]")
# Its year, month and week are those of the days around it.
_SOME_DAY = date(2026, 1, 15)


@dataclass(frozen=True)
class DatedPattern:
    """A pattern as archive.yaml has it, which may name the day.

    :param pattern: of names below a source's root; with strftime directives (``app-%Y-%m-%d.log*``) it names the
        day's files
    :param source: the source's name, for messages
    """

    pattern: str
    source: str = ""

    @property
    def dated(self) -> bool:
        """Whether the pattern itself names the day."""
        return "%" in self.pattern

    def check(self) -> None:
        """Check the pattern.

        :raises SettingsError: when it leaves the root or can't match as it is meant to, or its date names no day
        """
        components = self.pattern.split("/")
        if self.pattern.startswith("/") or ".." in components:
            raise SettingsError(f"{self._where}pattern {self.pattern!r} must stay below the source's root")
        if any("**" in component and component != "**" for component in components):
            raise SettingsError(f"{self._where}in pattern {self.pattern!r}, ** has to be a folder of its own")
        if not self.pattern or "\0" in self.pattern:
            raise SettingsError(f"{self._where}no file has a name like {self.pattern!r}")
        if self.dated:
            self._on(_SOME_DAY, "one day from the next")

    def on(self, partition: Partition) -> str:
        """Return the pattern of one day: with its date, or as it is when it has none.

        :param partition: the day
        :raises SettingsError: when the date does not distinguish the day from the one before or after it
        """
        return self._on(partition.day, f"{partition.key} from the days around it") if self.dated else self.pattern

    def _on(self, day: date, what: str) -> str:
        # Both neighbours, since a date without the day (%Y-%m) does distinguish the first of a month from the last.
        try:
            before, pattern, after = ((day + timedelta(days)).strftime(self.pattern) for days in (-1, 0, 1))
        except (ValueError, OverflowError) as error:  # a surrogate, a directive that Python refuses, the first day
            raise SettingsError(f"{self._where}pattern {self.pattern!r} can't be a date's: {error}") from None
        if pattern in (before, after):
            raise SettingsError(
                f"{self._where}the date in pattern {self.pattern!r} does not distinguish {what}",
                hint="Name the day as well (%d), or leave the date out to go by the time of the last modification.",
            )
        return pattern

    @property
    def _where(self) -> str:
        return f"source {self.source}: " if self.source else ""


class UndatedPattern(DatedPattern):
    """A pattern in which % is a character like any other."""

    @property
    def dated(self) -> bool:
        """Whether the pattern itself names the day: never."""
        return False


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a name matches.

    :param pattern: of one day
    """
    fullmatch = re.compile(glob_translate(pattern)).fullmatch
    return lambda name: fullmatch(name) is not None


def has_wildcard(text: str) -> bool:
    """Return whether a pattern, or a component of one, is more than a name.

    :param text: the pattern
    """
    return _MAGIC.search(text) is not None


def literal_start(text: str) -> str:
    """Return the beginning that all matching names have: everything before the first wildcard.

    :param text: a pattern, or a component of one
    """
    return _MAGIC.split(text, maxsplit=1)[0]
