"""What Airflow's database remembers of a day: written, read back, and never trusted."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from typing import Any

import pytest

from log_archival.history import MAX_LISTED_ARCHIVES, ListedArchive, list_archives, listed_archives, page_url
from log_archival.records import Receipt
from tests.support.run_dir_contract import archive


def listing(text: bytes) -> dict[str, Any]:
    return {"archives": base64.b64encode(zlib.compress(text)).decode()}


def test_archives_are_read_back_as_they_were_listed() -> None:
    one = dataclasses.replace(archive("app.log", 0, 10), name="caf\udce9/a.log", key="logs/a")
    two = dataclasses.replace(archive("b.log", 0, 10), key="logs/b")
    extra = json.loads(json.dumps(list_archives([one, two], [Receipt("logs/b", "new", 1, "0" * 64)])))
    assert (extra["count"], extra["listed"]) == (2, 2)
    assert listed_archives(extra) == [
        ListedArchive(
            each.source,
            each.path,
            each.part,
            each.parts,
            each.key,
            each.raw_size,
            each.stored_size,
            each.raw_sha256,
            new,
        )
        for each, new in ((one, False), (two, True))
    ]


def test_archives_are_listed_up_to_a_limit() -> None:
    archives = [
        dataclasses.replace(archive(f"{n}.log", 0, 10), key=f"logs/{n}") for n in range(MAX_LISTED_ARCHIVES + 5)
    ]
    extra = list_archives(archives, [])
    assert (extra["count"], extra["listed"]) == (MAX_LISTED_ARCHIVES + 5, MAX_LISTED_ARCHIVES)
    assert len(listed_archives(extra)) == MAX_LISTED_ARCHIVES


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"archives": None},
        {"archives": "no base64!"},
        {"archives": base64.b64encode(b"not compressed").decode()},
        {"archives": base64.b64encode(zlib.compress(b"[]")[:-3]).decode()},
        listing(b"{"),
        listing(b"7"),
        listing(b"[[1, 2]]"),
        listing(b'[["app", "/a", true, 1, "k", 1, 1, "0", true]]'),
        listing(b"[" + b" " * (5 << 20) + b"]"),
    ],
    ids=["nothing", "null", "text", "raw", "cut off", "no JSON", "a number", "a short row", "a type", "a bomb"],
)
def test_archives_that_somebody_else_wrote_are_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a list of archives"):
        listed_archives(extra)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("http://host/some/prefix/", "archive_logs", "2026-11-22"),
            "http://host/some/prefix/log-archive/#/archive_logs/2026-11-22",
        ),
        (("", "a/b", None), "/log-archive/#/a%2Fb"),
    ],
    ids=["prefix", "no host"],
)
def test_page_has_an_address_for_each_day(arguments: tuple[Any, ...], expected: str) -> None:
    assert page_url(*arguments) == expected
