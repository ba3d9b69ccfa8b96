"""After verification: delete or move the log files that were archived, and only what is certainly safe to."""

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from log_archival.exceptions import SourceError
from log_archival.records import LogFile
from log_archival.sources.base import Source
from log_archival.sources.opening import check_unchanged
from log_archival.sources.safe_open import open_folder

log = logging.getLogger(__name__)

KEEP, DELETE, MOVE = "keep", "delete", "move: "
#: The tiers that know that an archive exists now; the others only know that it did.
SAFE_TIERS = ("probe", "read")


@dataclass(frozen=True, slots=True)
class Archived:
    """What is known of a log file's archives.

    :param sha256: of the file's content as it was archived, in hex
    :param certain: whether its archives have just this content: S3 acknowledged their puts in this run, or they were
        read. Of a key that existed it isn't known who put it there.
    """

    sha256: str
    certain: bool


@dataclass
class CleanUp:
    """What was done.

    :param counts: how many files were ``deleted``, ``moved``, and ``kept`` for safety
    :param wrong: the files whose archives are proved to be wrong; when there are any, nothing was done
    """

    counts: dict[str, int] = field(default_factory=lambda: {"deleted": 0, "moved": 0, "kept": 0})
    wrong: list[str] = field(default_factory=list)


def folder_to_move_to(action: str) -> str | None:
    """Return the folder of ``move: /folder``; None for another action.

    :param action: what to do with a source's files
    """
    return action.removeprefix(MOVE).strip() if action.startswith(MOVE) else None


def clean_up_sources(
    files: Sequence[LogFile],
    archived: Mapping[tuple[str, str], Archived],
    sources: Iterable[Source],
    *,
    tier: str,
    begin: Callable[[], None] = lambda: None,
    resumed: bool = False,
) -> CleanUp:
    """Delete or move the verified files of each source that asks for it.

    A file is deleted or moved only when its archives certainly have its content, and it is still the one that was
    archived: below its source's root, with the same inode, size and modification time, and the same SHA-256, computed
    again. Everything else is kept, and named in the log. A file that is the same but for its SHA-256 proves that its
    archive is wrong; then nothing at all is deleted or moved.

    :param files: the run's files, all of them verified
    :param archived: what is known of their archives, by source and name
    :param sources: those of the settings; each says what to do `after`
    :param tier: at which the run was verified; below `probe`, all files are kept
    :param begin: is called before the first file is deleted or moved
    :param resumed: whether this was begun before: files that are gone are counted as deleted, those that are where they
        are to be moved to as moved
    """
    result = CleanUp()
    ready = _check_each(files, archived, sources, tier, resumed, result)
    if result.wrong:
        return result
    if ready:
        begin()
    for file, action in ready:
        outcome = "deleted" if action == DELETE else "moved"
        try:
            if not (resumed and _is_removed(file, action)):
                _remove(file, folder_to_move_to(action))
        except (SourceError, OSError) as error:
            _keep(file, error, result)
        else:
            log.info("%s %s, archived and verified", outcome, file.path)
            result.counts[outcome] += 1
    return result


def _check_each(
    files: Sequence[LogFile],
    archived: Mapping[tuple[str, str], Archived],
    sources: Iterable[Source],
    tier: str,
    resumed: bool,
    result: CleanUp,
) -> list[tuple[LogFile, str]]:
    """Return the files that may be removed, and what to do with each; count and name the others."""
    to_clean = {source.name: source for source in sources if source.after != KEEP}
    ready = []
    for file in files:
        if source := to_clean.get(file.source):
            try:
                result.wrong += _check(file, source, archived.get((file.source, file.name)), tier, resumed)
            except (SourceError, OSError) as error:
                _keep(file, error, result)
            else:
                ready.append((file, source.after))
    return ready


def _keep(file: LogFile, error: Exception, result: CleanUp) -> None:
    log.warning("kept %s: %s", file.path, error)
    result.counts["kept"] += 1


def _check(file: LogFile, source: Source, archived: Archived | None, tier: str, resumed: bool) -> list[str]:
    """Check that a file may be removed, or was; return what proves that its archive is wrong.

    :raises SourceError: when it has to be kept
    """
    if tier not in SAFE_TIERS:
        raise SourceError(f"verified at tier {tier} only, which doesn't know what the archive has now")
    if archived is None:
        raise SourceError("it was not archived")
    if not archived.certain:
        raise SourceError(
            "its key existed before this run put it, so who put it there, and what it contains, isn't known",
            hint="Verify at tier read to clean up such files.",
        )
    if resumed and _is_removed(file, source.after):
        return []
    with source.open(file) as stream:  # checks root, inode, size and time, before and after
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 == archived.sha256:
        return []
    return [f"{file.path} has the SHA-256 {sha256}; archived was {archived.sha256}, with the same inode, size and time"]


def _is_removed(file: LogFile, action: str) -> bool:
    """Return whether a file was deleted or moved: it is gone, and when it was to be moved, it is there now."""
    *folders, last = os.fsencode(file.name).split(b"/")
    try:
        with open_folder(file.root, folders) as parent:
            os.stat(last, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        folder = folder_to_move_to(action)
        return folder is None or _is_unchanged(file, os.path.join(folder, file.name))
    except (OSError, ValueError):  # opening it says what is wrong
        return False
    return False


def _is_unchanged(file: LogFile, path: str) -> bool:
    try:
        check_unchanged(file, os.lstat(path))
    except (SourceError, OSError):
        return False
    return True


def _remove(file: LogFile, move_to: str | None) -> None:
    *folders, last = os.fsencode(file.name).split(b"/")
    # From the folder's descriptor: no folder on the way can become a link meanwhile.
    with open_folder(file.root, folders) as parent:
        check_unchanged(file, os.stat(last, dir_fd=parent, follow_symlinks=False))  # another one may be in its place
        if move_to is not None:
            _link(parent, last, file, move_to)
        os.unlink(last, dir_fd=parent)


def _link(parent: int, last: bytes, file: LogFile, folder: str) -> None:
    target = os.path.join(folder, file.name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        # A link never replaces an existing file, a rename would.
        os.link(last, target, src_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        # A try that was killed has linked it already.
        if not os.path.samestat(os.lstat(target), os.stat(last, dir_fd=parent, follow_symlinks=False)):
            raise
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.ENOTSUP):
            raise SourceError(
                f"it can't be moved to {folder}, which is on another file system",
                hint="Name a folder on the source's own file system in `after`, or use `delete`.",
            ) from None
        raise
