"""Names that rotation makes: which files are copies of a live one, which pattern has them all, dates of lines."""

from __future__ import annotations

import time

import pytest

from log_archival.sources.pattern import matcher
from log_archival.sources.rotation import RotatedNames, pattern_that_matches


@pytest.mark.parametrize(
    ("name", "others", "live", "rotated"),
    [
        ("access.log", ["access.log.1"], "access.log", False),
        ("access.log.1", ["access.log"], "access.log", True),
        ("access.log.1", [], "access.log", False),
        ("access.log.14", ["access.log"], "access.log", True),
        ("access.log.2.gz", ["access.log"], "access.log", True),
        ("access.log.2.zst", ["access.log"], "access.log", True),
        ("access.log.gz", ["access.log"], "access.log.gz", False),
        ("access.log-20261123", ["access.log"], "access.log", True),
        ("access.log-20261123.gz", ["access.log"], "access.log", True),
        ("access.log-20261123", [], "access.log", False),
        ("access.log.2026-11-22", ["access.log"], "access.log", True),
        ("access.log.2026-11-22.1", ["access.log"], "access.log", True),
        ("access.log-20261122-153000", ["access.log"], "access.log", True),
        ("access.log-2026-11-22T15.gz", ["access.log"], "access.log", True),
        ("app-2026-11-22.log", ["app.log"], "app.log", True),
        ("app-2026-11-22.log", [], "app.log", False),
        ("app_20261122.log.gz", ["app.log"], "app.log", True),
        ("app.log-1795305600", ["app.log"], "app.log", True),
        ("app.log-1795305", ["app.log"], "app.log-1795305", False),
        ("access.1.log", ["access.log"], "access.log", True),
        ("access.1.log.gz", ["access.log"], "access.log", True),
        ("access.1.log", [], "access.1.log", False),
        ("worker-1.log", ["worker.log"], "worker-1.log", False),
        ("worker1.log", ["worker.log"], "worker1.log", False),
        ("access.log.12345", ["access.log"], "access.log.12345", False),
        ("access", ["access.1"], "access", False),
        ("access.1", ["access"], "access", True),
        ("2026-11-22.log", [".log"], "2026-11-22.log", False),
        (".1", [""], ".1", False),
        ("web-1/access.log.1", ["web-1/access.log"], "web-1/access.log", True),
        ("web-1/access.log.1", ["access.log"], "web-1/access.log", False),
        ("web.1/access.log", ["web/access.log"], "web.1/access.log", False),
        ("new\nline.log.1", ["new\nline.log"], "new\nline.log", True),
        ("un\udcffdecodable.log.1", ["un\udcffdecodable.log"], "un\udcffdecodable.log", True),
    ],
)
def test_file_is_a_copy_of_its_live_file(name: str, others: list[str], live: str, rotated: bool) -> None:
    names = RotatedNames([name, *others])
    assert (names.live_name(name), names.is_rotated(name)) == (live, rotated)


def test_copies_of_a_live_file_are_listed() -> None:
    copies = ["a/x.log-20261123", "a/x.log.1", "a/x.log.2.gz"]
    names = RotatedNames(["a/x.log", *reversed(copies), "a/y.log", "a/y.log.1", "x.log.1"])
    assert names.rotated_from("a/x.log") == copies
    assert names.rotated_from("a/x.log.1") == []


@pytest.mark.parametrize(
    "piece", ["1", ".1", "-1", "-20261122", "2026-11-22", ".log", ".gz", "T0", "a.1.", "-_", "."], ids=repr
)
def test_hostile_name_takes_no_time(piece: str) -> None:
    names = [(piece * 255)[:length] + end for length in (255, 254) for end in ("", "!", "\n", ".gz")]
    before = time.process_time()
    RotatedNames(names)
    for name in names:
        pattern_that_matches("*.log", name)
    assert time.process_time() - before < 2, "seconds of CPU time, where a thousandth is usual"


@pytest.mark.parametrize(
    ("pattern", "live", "missed", "wider"),
    [
        ("*.log", "access.log", "access.log.1", "*.log*"),
        ("*.log", "access.log", "access.log-20261123.gz", "*.log*"),
        ("**/*.log", "web/access.log", "web/access.log.2.gz", "**/*.log*"),
        ("access.log", "access.log", "access.log.1", "access.log*"),
        ("access.log", "access.log", "access.1.log", "access*.log*"),
        ("access.log*", "access.log", "access.1.log", "access*.log*"),
        ("access.log*", "access.log", "access-20261123.log.gz", "access*.log*"),
        ("*/access.log", "web/access.log", "web/access-2026-11-22.log", "*/access*.log*"),
        ("app-[0-9].log", "app-1.log", "app-1.log.1", "app-[0-9].log*"),
        ("*[!0-9].log", "access.log", "access.1.log", "*[!0-9]*.log*"),
        ("web.*/access", "web.a/access", "web.a/access.1", "web.*/access*"),
        ("?[a.b]", "xb", "xb.1", "?[a.b]*"),
        ("[[]1[]].log", "[1].log", "[1].1.log", "[[]1[]]*.log*"),
        ("[x.lo]ccess.log", "xccess.log", "xccess.1.log", "[x.lo]ccess*.log*"),
        ("acces[s.log]", "access", "access.1.gz", "acces[s.log]*"),
        ("access.[l-n]og", "access.log", "access.1.log", "access*.[l-n]og*"),
    ],
)  # fmt: skip
def test_pattern_is_widened_to_what_it_misses(pattern: str, live: str, missed: str, wider: str) -> None:
    assert matcher(pattern)(live)
    assert not matcher(pattern)(missed)
    better = pattern_that_matches(pattern, missed)
    assert better == wider
    assert matcher(better)(live)
    assert matcher(better)(missed)


@pytest.mark.parametrize("name", ["[1].1.log", "a*/100%Y.1.log", "web/un\udcff?.log.1", "new\nline.log-20261123"])
def test_pattern_of_a_name_is_only_that_name(name: str) -> None:
    pattern = pattern_that_matches("other", name)
    assert matcher(pattern)(name)
    assert "%" not in pattern, "it would be a date's"
    assert not matcher(pattern)("web/access.log")
