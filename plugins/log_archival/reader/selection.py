"""Which files a command looks at: sources, paths, days; and which of several contents."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from log_archival.exceptions import SettingsError
from log_archival.manifest import Entry, Manifest
from log_archival.reader.days import ALL_DAYS, DateRange
from log_archival.reader.versions import Version, versions_of

#: Of several contents of a path, which to take: the first or the last that S3 received, or all.
Choice = Literal["first", "last", "all"]


@dataclass(frozen=True)
class Selection:
    """Which files to look at, and how to lay them out when they are restored.

    :param sources: names of sources; empty for all
    :param paths: patterns of paths below the source's root, or of SOURCE/PATH: ``*`` within a folder, ``**`` across
        folders; a path without either is a file or a whole folder, and a bare name one of that name in any folder.
        Empty for all
    :param by_day: restore each day into a folder of its own
    :param choice: of several contents of a path, which to take. None takes none of them, since anybody who may add to
        the archive may have added one
    :param days: the days to look at
    """

    sources: Sequence[str] = ()
    paths: Sequence[str] = ()
    by_day: bool = False
    choice: Choice | None = None
    days: DateRange = ALL_DAYS

    @property
    def is_everything(self) -> bool:
        """Whether no file of a day is left out."""
        return not self.sources and not self.paths

    def has(self, entry: Entry) -> bool:
        """Return whether the file of an archive is selected.

        :param entry: the archive
        """
        if self.sources and entry.source not in self.sources:
            return False
        if not self.paths or self._of_path.fullmatch(entry.path):
            return True
        return bool(self._of_source_and_path.fullmatch(f"{entry.source}/{entry.path}"))

    def versions(self, manifest: Manifest) -> Iterator[Version]:
        """Yield the selected files of a manifest.

        :param manifest: the manifest
        """
        for version in versions_of(replace(manifest, entries=list(filter(self.has, manifest.entries)))):
            yield replace(version, target=f"{version.day}/{version.target}") if self.by_day else version

    @cached_property
    def _of_path(self) -> re.Pattern[str]:
        return re.compile("|".join(map(_regular_expression, self.paths)))

    @cached_property
    def _of_source_and_path(self) -> re.Pattern[str]:
        # What has no slash is no SOURCE/PATH: "app" is not all of the source app.
        return re.compile(
            "|".join(_regular_expression(path) for path in self.paths if "/" in path.strip("/")) or r"(?!)"
        )


def _regular_expression(path: str) -> str:
    from fsspec.utils import glob_translate  # slow to import; what sources/files.py reads patterns with

    name = path.strip("/")
    # As in .gitignore, but for names without a wildcard only: `*` has always meant what is not in a folder.
    anywhere = "(.*/)?" if not set("/*?[") & set(name) else ""
    try:
        return f"(?s:{anywhere}{re.escape(name)}(/.*)?)|{glob_translate(name)}"
    except ValueError as error:
        raise SettingsError(f"{path!r} is no pattern of paths: {error}") from None
