"""Selections: which files a pattern means."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from log_archival.exceptions import SettingsError
from log_archival.manifest import Entry
from log_archival.reader.selection import Selection
from tests.support.archives import compressed, day

PATHS = ("a.log", "web-1/a.log", "web-1/old/a.log", "b[1]")
FILES = {f"{source}/{path}" for source in ("app", "web") for path in PATHS}


def selected(sources: Sequence[str] = (), paths: Sequence[str] = ()) -> set[str]:
    selection = Selection(sources, paths)
    archives = [compressed(day(), source, path, b"")[0][0] for source in ("app", "web") for path in PATHS]
    return {f"{one.source}/{one.path}" for one in map(Entry.from_archive, archives) if selection.has(one)}


PATTERNS: dict[str, tuple[str, set[str]]] = {
    "file": ("web-1/a.log", {"app/web-1/a.log", "web/web-1/a.log"}),
    "source and file": ("app/web-1/a.log", {"app/web-1/a.log"}),
    "source and file at the top": ("app/a.log", {"app/a.log"}),
    "name in any folder": ("a.log", {file for file in FILES if file.endswith("/a.log")}),
    "folder in any folder": ("old", {"app/web-1/old/a.log", "web/web-1/old/a.log"}),
    "name with a bracket": ("b[1]", {"app/b[1]", "web/b[1]"}),
    "folder": ("web-1", {file for file in FILES if "/web-1/" in file}),
    "files of a folder": ("web-1/*", {"app/web-1/a.log", "web/web-1/a.log"}),
    "of one source": ("app/web-1/*", {"app/web-1/a.log"}),
    "everything of a source": ("app/**", {file for file in FILES if file.startswith("app/")}),
    "files in no folder": ("*.log", {"app/a.log", "web/a.log"}),
    "across folders": ("**/*.log", {file for file in FILES if file.endswith(".log")}),
    "name of a source": ("app", set()),
    "part of a name": ("web", set()),
    "other": ("web-2/*", set()),
}


@pytest.mark.parametrize(("pattern", "files"), PATTERNS.values(), ids=PATTERNS)
def test_pattern_selects_paths_and_sources_with_paths(pattern: str, files: set[str]) -> None:
    assert selected(paths=[pattern]) == files


def test_sources_and_several_patterns() -> None:
    assert selected() == FILES
    assert selected(sources=["app"], paths=["web-1/*", "b[1]"]) == {"app/web-1/a.log", "app/b[1]"}
    assert selected(sources=["app"], paths=["web/a.log"]) == set()


def test_wrong_pattern_is_an_error_that_quotes_it() -> None:
    with pytest.raises(SettingsError, match=r"'a\*\*' is no pattern of paths: .*"):
        selected(paths=["a**"])
