"""After verification: delete or move the log files that were archived, and only what is certainly safe to."""

import errno
import hashlib
import logging
import os
from collections.abc import Mapping

from log_archival.exceptions import SourceError
from log_archival.records import LogFile
from log_archival.sources.opening import check_unchanged, open_log_file

log = logging.getLogger(__name__)

KEEP, DELETE, MOVE = "keep", "delete", "move: "
#: The tiers that know that an archive exists now; `receipts` only knows that it did.
SAFE_TIERS = ("probe", "read")


def folder_to_move_to(action: str) -> str | None:
    """Return the folder of ``move: /folder``; None for another action.

    :param action: what to do with a source's files
    """
    return action.removeprefix(MOVE).strip() if action.startswith(MOVE) else None


def clean_up_sources(
    files: list[LogFile], sha256: Mapping[tuple[str, str], str], actions: Mapping[str, str], *, tier: str
) -> dict[str, int]:
    """Delete or move the verified files of each source that asks for it.

    A file is deleted or moved only when it is still the one that was archived: same inode, size and modification
    time, and the same SHA-256, computed again. Everything else is kept, and named in the log.

    :param files: the run's files, all of them verified
    :param sha256: of each file's content as archived, in hex, by source and name
    :param actions: by source: ``keep``, ``delete``, or ``move: /folder``
    :param tier: at which the run was verified; below `probe`, all files are kept
    :returns: how many files were ``deleted``, ``moved``, and ``kept`` for safety
    """
    counts = {"deleted": 0, "moved": 0, "kept": 0}
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
            counts["kept"] += 1
        else:
            outcome = "deleted" if action == DELETE else "moved"
            log.info("%s %s, archived and verified", outcome, file.path)
            counts[outcome] += 1
    return counts


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
