"""After verification: delete or move the log files that were archived, and only what is certainly safe to."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from log_archival.exceptions import SourceError
from log_archival.records import LogFile
from log_archival.sources.files import check_unchanged, open_log_file

log = logging.getLogger(__name__)

KEEP, DELETE, MOVE = "keep", "delete", "move: "
#: The tiers that know that an archive exists now; `receipts` only knows that it did.
SAFE_TIERS = ("probe", "read")


@dataclass(frozen=True)
class CleanUp:
    """What became of the files of sources that are not to keep theirs.

    :param deleted: how many files were deleted
    :param moved: how many files were moved
    :param kept: path and reason of each file that was kept for safety
    """

    deleted: int
    moved: int
    kept: list[str]

    def counts(self) -> dict[str, int]:
        """Return the figures for XCom."""
        return {"deleted": self.deleted, "moved": self.moved, "kept": len(self.kept)}


def clean_up_sources(
    files: list[LogFile], sha256: Mapping[tuple[str, str], str], actions: Mapping[str, str], *, tier: str
) -> CleanUp:
    """Delete or move the verified files of each source that asks for it.

    A file is deleted or moved only when it is still the one that was archived: same inode, size and modification
    time, and the same SHA-256, computed again. Everything else is kept, and named.

    :param files: the run's files, all of them verified
    :param sha256: of each file's content as archived, in hex, by source and name
    :param actions: by source: ``keep``, ``delete``, or ``move: /folder``
    :param tier: at which the run was verified; below `probe`, all files are kept
    """
    done: Counter[str] = Counter()
    kept: list[str] = []
    for file in files:
        action = actions.get(file.source, KEEP)
        if action == KEEP:
            continue
        try:
            if tier not in SAFE_TIERS:
                raise SourceError(
                    f"{file.path}: verified at tier {tier} only, which doesn't know what the archive has now"
                )
            _clean_up(file, sha256.get((file.source, file.name), ""), action)
        except (SourceError, OSError) as error:
            log.warning("kept %s: %s", file.path, error)
            kept.append(f"{file.path}: {error}")
            continue
        what = "deleted" if action == DELETE else "moved"
        log.info("%s %s, archived and verified", what, file.path)
        done[what] += 1
    return CleanUp(done["deleted"], done["moved"], kept)


def _clean_up(file: LogFile, sha256: str, action: str) -> None:
    with open_log_file(file) as stream:  # checks inode, size and time before and after
        if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
            raise SourceError(f"{file.path}: its content is not what was archived")
        check_unchanged(file, os.stat(file.path, follow_symlinks=False))  # another one may be in its place
        if action == DELETE:
            os.unlink(file.path)
        else:
            _move(file, action.removeprefix(MOVE).strip())


def _move(file: LogFile, folder: str) -> None:
    target = os.path.join(folder, file.name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        # A link never replaces an existing file, a rename would.
        os.link(file.path, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.ENOTSUP):
            raise SourceError(
                f"{file.path}: can't be moved to {folder}, which is on another file system",
                hint="Name a folder on the source's own file system in `after`, or use `delete`.",
            ) from None
        raise
    os.unlink(file.path)
