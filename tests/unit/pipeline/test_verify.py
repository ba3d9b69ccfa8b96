"""Verification: every difference between the records is named, and probes are trusted only where they say something."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from log_archival.codec import NONE
from log_archival.keys import KeyTemplate
from log_archival.pipeline.run_dir import RunDirectory, RunRecords
from log_archival.pipeline.upload import upload_batch
from log_archival.pipeline.verify import (
    MAX_TRIAL_PROBES,
    archived_files,
    check_proofs,
    check_records,
    probe_keys,
)
from log_archival.records import Archive, Failure, Receipt
from log_archival.sources.cleanup import Archived
from tests.support.batches import BATCH, PARTITION, compressed_batch
from tests.support.memory_s3 import MemoryS3

CONTENTS = {"web-1/app.log": b"1 GET /orders 200\n" * 50, "web-2/app.log": b"2\n"}


def uploaded(tmp_path: Path, s3: MemoryS3, contents: dict[str, bytes], **arguments: Any) -> RunRecords:
    """Return the records of a run that was uploaded, and forget its requests."""
    run_dir: RunDirectory = compressed_batch(tmp_path, contents, **arguments)
    upload_batch(s3.writer(), run_dir, BATCH, PARTITION, KeyTemplate())
    s3.requests.clear()
    return run_dir.read_records()


@pytest.fixture
def records(tmp_path: Path) -> RunRecords:
    return uploaded(tmp_path, MemoryS3(), CONTENTS)


def problems_of(records: RunRecords) -> list[str]:
    return [str(problem) for problem in check_records(records, PARTITION, KeyTemplate(), ["app"])]


def test_complete_records_have_no_problems(records: RunRecords) -> None:
    assert problems_of(records) == []


def test_day_without_files_has_no_problems() -> None:
    assert problems_of(RunRecords()) == []


Change = Callable[[list[Any]], list[Any]]


def first(**changes: Any) -> Change:
    """Replace fields of the first record."""
    return lambda found: [replace(found[0], **changes), *found[1:]]


def other_key(found: list[Archive]) -> list[Archive]:
    return [replace(found[0], key=found[1].key), *found[1:]]


#: Which records are changed, how, and what is said of it.
DIFFERENCES: dict[str, tuple[str, Change, str]] = {
    "receipt missing": ("receipts", lambda found: found[1:], "expected 1 receipt, there are 0"),
    "receipt twice": ("receipts", lambda found: [*found, found[0]], "expected 1 receipt, there are 2"),
    "receipt of no archive": (
        "receipts",
        lambda found: [*found, replace(found[0], key="logs/1999/01/01/app/x")],
        "logs/1999/01/01/app/x): has a receipt, but no archive",
    ),
    "receipt of other bytes": ("receipts", first(stored_sha256="0" * 64), "S3 acknowledged 0000"),
    "file of no source": ("files", first(source="etc"), "etc: {}: there is no source of this name in the settings"),
    "archive missing": (
        "archives", lambda found: found[1:], "collected, but compressed into these parts (number, of how many): []",
    ),
    "archive of another file": (
        "archives", lambda found: [*found, replace(found[0], name="stranger.log")], "compressed, but never collected",
    ),
    "other key": ("archives", other_key, "expected key logs/2026/11/22/app/"),
    "other content": ("archives", first(raw_sha256="0" * 64), "its only part has 0000"),
    "other size": (
        "archives", lambda found: [replace(found[0], raw_size=found[0].raw_size + 1), *found[1:]],
        "bytes as collected, compressed were",
    ),
    "part missing": ("archives", first(parts=2), "into these parts (number, of how many): [(1, 2)]"),
    "part twice": (
        "archives", lambda found: [*found, found[0]], "into these parts (number, of how many): [(1, 1), (1, 1)]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "message"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_difference_is_named(records: RunRecords, kind: str, change: Change, message: str) -> None:
    setattr(records, kind, change(getattr(records, kind)))
    problems = problems_of(records)
    assert problems
    message = message.format(records.files[0].path)
    assert any(message in problem for problem in problems), problems
    assert all(problem.startswith(("app: ", "etc: ", "?: ")) for problem in problems)


def test_file_that_could_not_be_read_is_no_difference(records: RunRecords) -> None:
    [lost, *archives] = records.archives
    receipts = [receipt for receipt in records.receipts if receipt.key != lost.key]
    failures = [Failure(lost.source, lost.name, f"{lost.path} vanished since it was listed")]
    assert problems_of(replace(records, archives=archives, receipts=receipts, failures=failures)) == []


@pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "not accepted"])
def test_file_with_a_failure_is_checked_when_it_is_archived(records: RunRecords, accepted: bool) -> None:
    wrong, *others = records.archives
    failure = Failure(wrong.source, wrong.name, "its name says another day", accepted)
    records = replace(records, failures=[failure])
    assert problems_of(records) == []
    [problem] = problems_of(replace(records, archives=[replace(wrong, raw_size=wrong.raw_size + 1), *others]))
    assert "bytes as collected, compressed were" in problem


def test_accepted_failure_does_not_explain_a_missing_archive(records: RunRecords) -> None:
    [lost, *archives] = records.archives
    receipts = [receipt for receipt in records.receipts if receipt.key != lost.key]
    failures = [Failure(lost.source, lost.name, "its name says another day", accepted=True)]
    [problem] = problems_of(replace(records, archives=archives, receipts=receipts, failures=failures))
    assert "collected, but compressed into these parts" in problem


def test_size_that_was_not_known_is_no_difference(records: RunRecords) -> None:
    assert problems_of(replace(records, files=[replace(file, size=None) for file in records.files])) == []


def test_every_difference_is_named(records: RunRecords) -> None:
    problems = problems_of(replace(records, receipts=[]))
    assert len(problems) == len(records.archives)
    for archive in records.archives:
        assert any(archive.key in problem and archive.path in problem for problem in problems)


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({"proof": "checksum"}, "receipts"),
        ({"proof": "signed payload"}, "receipts"),
        ({"proof": "md5"}, "receipts"),
        ({"proof": "none"}, "sent"),
        ({"outcome": "existing", "proof": "none"}, "receipts"),
    ],
    ids=["checksum", "signed payload", "md5", "nothing", "key that existed"],
)
def test_receipts_prove_what_the_server_compared(records: RunRecords, changes: dict[str, Any], tier: str) -> None:
    receipts = first(**changes)(records.receipts)
    assert problems_of(replace(records, receipts=receipts)) == []
    result = check_proofs(receipts)
    assert result.tier == tier
    assert ("nothing shows that it has the bytes" in result.tier_reason) is (tier == "sent")


def test_day_without_archives_needs_no_proof() -> None:
    assert check_proofs([]).tier == "receipts"


ACKNOWLEDGED = Receipt("logs/1", "new", 1, "a" * 64, "checksum")


@pytest.mark.parametrize(
    ("receipt", "earlier", "tier", "certain"),
    [
        (ACKNOWLEDGED, [], "probe", True),
        (replace(ACKNOWLEDGED, outcome="existing", proof="none"), [], "probe", False),
        (replace(ACKNOWLEDGED, outcome="existing", proof="none"), [], "read", True),
        (replace(ACKNOWLEDGED, outcome="existing", proof="none"), [ACKNOWLEDGED], "probe", True),
        (replace(ACKNOWLEDGED, outcome="existing", proof="none"), [replace(ACKNOWLEDGED, key="x")], "probe", False),
        (replace(ACKNOWLEDGED, proof="none"), [], "sent", False),
    ],
    ids=["new", "existing", "existing and read", "put by this run before", "another key before", "nothing compared"],
)
def test_content_is_certain_when_this_run_put_it_or_it_was_read(
    records: RunRecords, receipt: Receipt, earlier: list[Receipt], tier: Any, certain: bool
) -> None:
    [archive, *_] = records.archives
    # A file in two parts, of which the first is beyond doubt.
    parts = [replace(archive, key=f"logs/{number}", part=number + 1, parts=2) for number in (0, 1)]
    records = RunRecords([], parts, [replace(ACKNOWLEDGED, key="logs/0"), receipt], [], earlier)
    found = archived_files(records, tier)
    assert found == {(archive.source, archive.name): Archived(archive.file_sha256, certain)}


# Probes

MANY = {f"{number:02d}.log": b"%d\n" % number for number in range(3 * MAX_TRIAL_PROBES)}


def test_probe_asks_for_every_key(tmp_path: Path) -> None:
    s3 = MemoryS3()
    records = uploaded(tmp_path, s3, MANY)
    stored = dict(s3.objects)
    result = probe_keys(s3.writer(), records.archives)
    assert (result.tier, result.tier_reason, result.problems) == ("probe", "", [])
    assert {archive.key for archive in records.archives} <= set(s3.requests)
    assert s3.objects == stored


def test_probe_names_what_is_missing_and_does_not_put_it_again(tmp_path: Path) -> None:
    s3 = MemoryS3()
    records = uploaded(tmp_path, s3, MANY)
    missing = [s3.only("/07-"), s3.only("/23-")]
    for key in missing:
        del s3.objects[key]
    result = probe_keys(s3.writer(), records.archives)
    assert result.tier == "probe"
    assert sorted(problem.key for problem in result.problems) == missing
    assert {problem.message for problem in result.problems} == {"S3 acknowledged it, and now it is missing"}
    assert not set(missing) & set(s3.objects)


def test_first_trial_tries_a_key_that_no_object_has(tmp_path: Path) -> None:
    s3 = MemoryS3()
    records = uploaded(tmp_path, s3, CONTENTS)
    probe_keys(s3.writer(prefix="logs/2026/11/22/"), records.archives)
    assert s3.requests[0].startswith("logs/2026/11/22/_probe-")
    assert s3.requests[0] not in s3.objects


def delete_all(s3: MemoryS3) -> None:
    s3.objects.clear()


#: The server, what happens to its objects, the most requests that are sent, and a part of the reason.
NO_ANSWERS: dict[str, tuple[Any, Callable[[MemoryS3], None], int, str]] = {
    "stores a body under wrong checksums": ("never", lambda _: None, 1, "asking for keys is not safe"),
    "compares checksums first": ("before", lambda _: None, 1 + MAX_TRIAL_PROBES, "compares checksums before it looks"),
    "none of the keys exists": ("after", delete_all, 1 + MAX_TRIAL_PROBES, "or none of the keys that were tried"),
}


@pytest.mark.parametrize(
    ("compares_checksums", "change", "requests", "reason"), NO_ANSWERS.values(), ids=NO_ANSWERS.keys()
)
def test_tier_is_receipts_where_probes_say_nothing(
    tmp_path: Path, compares_checksums: Any, change: Callable[[MemoryS3], None], requests: int, reason: str
) -> None:
    s3 = MemoryS3(compares_checksums)
    records = uploaded(tmp_path, s3, MANY)
    change(s3)
    stored = dict(s3.objects)
    result = probe_keys(s3.writer(), records.archives)
    assert (result.tier, result.problems) == ("receipts", [])
    assert reason in result.tier_reason
    assert len(s3.requests) == requests, "after the trials, nothing is sent"
    assert {key for key in s3.objects if "_probe-" not in key} == {key for key in stored if "_probe-" not in key}


def test_one_existing_key_among_those_tried_is_enough(tmp_path: Path) -> None:
    s3 = MemoryS3()
    records = uploaded(tmp_path, s3, MANY)
    trials = [archive.key for archive in records.archives][:: len(MANY) // MAX_TRIAL_PROBES]
    for key in trials[:-1]:
        del s3.objects[key]
    result = probe_keys(s3.writer(), records.archives)
    assert result.tier == "probe"
    assert sorted(problem.key for problem in result.problems) == sorted(trials[:-1])


def test_day_without_archives_is_probed_without_a_request() -> None:
    s3 = MemoryS3()
    assert probe_keys(s3.writer(), []).tier == "probe"
    assert s3.requests == []


@pytest.mark.parametrize("missing", [False, True], ids=["exists", "missing"])
def test_probe_knows_empty_objects(tmp_path: Path, missing: bool) -> None:
    s3 = MemoryS3()
    records = uploaded(tmp_path, s3, {"empty.log": b"", "full.log": b"1\n"}, codec=NONE)
    empty = s3.only("/empty-")
    assert s3.objects[empty].body == b""
    if missing:
        del s3.objects[empty]
    result = probe_keys(s3.writer(), records.archives)
    assert result.tier == "probe"
    assert [problem.key for problem in result.problems] == ([empty] if missing else [])


@pytest.mark.parametrize("at_once", [1, 4], ids=str)
def test_no_more_probes_are_under_way_than_allowed(tmp_path: Path, at_once: int) -> None:
    s3 = MemoryS3()
    records = uploaded(tmp_path, s3, {f"{number}.log": b"%d\n" % number for number in range(8)})
    together = threading.Barrier(at_once, timeout=30)
    trials = 2

    def before_put(_: str) -> None:
        if len(s3.requests) > trials:
            together.wait()

    s3.before_put = before_put
    assert probe_keys(s3.writer(max_concurrent_requests=at_once), records.archives).problems == []
    assert s3.max_under_way == at_once
