"""Collect: list a partition's log files, and cut them into batches."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from log_archival.exceptions import SettingsError, SourceError
from log_archival.records import LogFile, write_jsonl
from log_archival.partition import Partition
from log_archival.pipeline.compress import Recipe, hash_of
from log_archival.config import Settings, Source
from log_archival.sources.files import cut_batches, open_log_file
from log_archival.pipeline.run_dir import StagingPath
from log_archival.concurrency import human

log = logging.getLogger(__name__)

#: The staged file that says that collect has ended, and what was asked of it.
COLLECTED = "collected.json"


def chosen_sources(settings: Settings, names: Sequence[str] | None) -> list[Source]:
    """The sources of those names; all of them without.

    :raises SettingsError: for a name that there is not
    """
    known = {source.name: source for source in settings.sources}
    if unknown := set(names or ()) - set(known):
        raise SettingsError(f"sources {sorted(unknown)} are unknown; archive.yaml has {', '.join(known)}")
    return [known[name] for name in names] if names else list(known.values())


def find_all(sources: Iterable[Source], partition: Partition) -> list[LogFile]:
    """The partition's files of all sources; every source that fails is named, not the first.

    :raises SourceError: when one has too few files
    """
    files: list[LogFile] = []
    wrong: list[str] = []
    for source in sources:
        finder = source.files()
        try:
            found = finder.find(partition)
        except SourceError as error:
            wrong.append(str(error))
            continue
        for skipped in finder.skipped[:20]:
            log.warning("source %s: skipped %s", source.name, skipped)
        log.info("source %s: %s files, %s", source.name, f"{len(found):,}", human(sum(file.size for file in found)))
        files += found
    if wrong:
        raise SourceError("\n".join(wrong))
    return files


def stage_batches(
    files: list[LogFile], folder: StagingPath, *, batch_bytes: int, all_sources: bool
) -> list[dict[str, Any]]:
    """Cut files into batches, and write each down in the run's staging folder.

    :param all_sources: whether the run covers every source
    :returns: one small dict a batch, for XCom: where its list is, how many files and bytes it has
    """
    folder.make()
    batches = []
    for number, batch in enumerate(cut_batches(files, batch_bytes=batch_bytes), 1):
        path = folder / f"batch-{number:04d}.jsonl"
        write_jsonl(path, batch)
        size = sum(file.size for file in batch)
        batches.append({"batch": str(path), "number": number, "files": len(batch), "raw_bytes": size})
    with (folder / COLLECTED).open("wb") as stream:
        stream.write(json.dumps({"all_sources": all_sources, "batches": len(batches)}).encode())
    return batches


def print_plan(files: list[LogFile], recipe: Recipe, sources: Iterable[Source]) -> None:
    """Say what would be archived: each file, its bytes, its key. Reads the files, since keys hold their digests."""
    after = {source.name: source.after for source in sources}
    for file in files:
        with open_log_file(file) as stream:
            codec = recipe.codec_of(stream)
            key = recipe.key(file, hash_of(stream, file.size), codec)
        then = "" if after[file.source] == "keep" else f", then {after[file.source]}"
        log.info("%s (%s) -> %s%s", file.path, human(file.size), key, then)
    log.info(
        "dry run: %s files, %s; nothing was archived. Files whose archive would pass %s are cut into parts.",
        f"{len(files):,}", human(sum(file.size for file in files)), human(recipe.part_size),
    )  # fmt: skip
