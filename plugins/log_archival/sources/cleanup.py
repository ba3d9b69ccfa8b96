"""After verification: delete or move the log files that were archived, and only what is certainly safe to."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from log_archival.exceptions import SourceError
from log_archival.records import LogFile
from log_archival.sources.files import open_log_file

log = logging.getLogger(__name__)

KEEP, DELETE, MOVE = "keep", "delete", "move: "
#: The tiers that know that an archive exists now; `receipts` only knows that it did.
SAFE_TIERS = ("probe", "read")


@dataclass
class CleanUp:
    """What became of the files of sources that are not to keep theirs.

    :param deleted: how many files were deleted
    :param moved: how many files were moved
    :param kept: path and reason of each file that was kept for safety
    """

    deleted: int = 0
    moved: int = 0
    kept: list[str] = field(default_factory=list)

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
    result = CleanUp()
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
            result.kept.append(f"{file.path}: {error}")
        else:
            log.info("%s %s, archived and verified", "deleted" if action == DELETE else "moved", file.path)
            if action == DELETE:
                result.deleted += 1
            else:
                result.moved += 1
    return result


def _clean_up(file: LogFile, sha256: str, action: str) -> None:
    with open_log_file(file) as stream:  # checks inode, size and time before and after
        if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:  # type: ignore[arg-type]
            raise SourceError(f"{file.path}: its content is not what was archived")
        now = os.stat(file.path, follow_symlinks=False)
        if (now.st_ino, now.st_mtime_ns, now.st_size) != (file.inode, file.mtime_ns, file.size):
            raise SourceError(f"{file.path}: changed at this very moment")
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
