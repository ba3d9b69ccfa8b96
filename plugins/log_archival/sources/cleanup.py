"""After verification: delete or move the log files that were archived. Only what is certainly safe is touched."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from log_archival.codecs import CHUNK
from log_archival.exceptions import SourceError
from log_archival.records import LogFile
from log_archival.sources.files import open_log_file

log = logging.getLogger(__name__)

KEEP, DELETE, MOVE = "keep", "delete", "move: "
#: The tiers that know that an archive is there; `receipts` only knows that it was.
SURE_TIERS = ("probe", "read")


@dataclass
class Touched:
    """What became of the files of sources that are not to keep theirs."""

    deleted: int = 0
    moved: int = 0
    kept: list[str] = field(default_factory=list)  # path and why, a line each

    def counts(self) -> dict[str, int]:
        """For XCom."""
        return {"deleted": self.deleted, "moved": self.moved, "kept": len(self.kept)}


def clear_sources(
    files: list[LogFile], sha256: Mapping[tuple[str, str], str], actions: Mapping[str, str], *, tier: str
) -> Touched:
    """Delete or move the verified files of each source that asks for it.

    A file is touched only when it is still the one that was archived: same inode, size and modification time, and the
    SHA-256, taken again now, is the one that the archive was verified with. Everything else is kept, and named.

    :param files: the run's files, all of them verified
    :param sha256: of each file's content as archived, in hex, by source and name
    :param actions: by source: ``keep``, ``delete``, or ``move: /folder``
    :param tier: at which the run was verified; nothing is touched below `probe`
    """
    touched = Touched()
    for file in files:
        action = actions.get(file.source, KEEP)
        if action == KEEP:
            continue
        try:
            if tier not in SURE_TIERS:
                raise SourceError(f"{file.path}: verified at tier {tier} only, which doesn't know what is there")
            _clear(file, sha256.get((file.source, file.name), ""), action)
        except (SourceError, OSError) as error:
            log.warning("kept %s: %s", file.path, error)
            touched.kept.append(f"{file.path}: {error}")
        else:
            log.info("%s %s, archived and verified", "deleted" if action == DELETE else "moved", file.path)
            if action == DELETE:
                touched.deleted += 1
            else:
                touched.moved += 1
    return touched


def _clear(file: LogFile, sha256: str, action: str) -> None:
    with open_log_file(file) as stream:  # checks inode, size and time on both ends
        if _sha256(stream) != sha256:
            raise SourceError(f"{file.path}: its content is not what was archived")
        still = os.stat(file.path, follow_symlinks=False)
        if (still.st_ino, still.st_mtime_ns, still.st_size) != (file.inode, file.mtime_ns, file.size):
            raise SourceError(f"{file.path}: changed at this very moment")
        if action == DELETE:
            os.unlink(file.path)
        else:
            _move(file, stream, sha256, action.removeprefix(MOVE).strip())


def _move(file: LogFile, stream: IO[bytes], sha256: str, folder: str) -> None:
    target = os.path.join(folder, file.name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        # A link never replaces what is there, a rename would.
        os.link(file.path, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP):
            raise
        _copy(stream, target, sha256, file.mtime_ns)
    os.unlink(file.path)


def _copy(stream: IO[bytes], target: str, sha256: str, mtime_ns: int) -> None:
    # To another file system: written in full, checked, and only then given its name.
    partial = f"{target}.partial"
    try:
        with open(partial, "xb") as copy:
            stream.seek(0)
            while data := stream.read(CHUNK):
                copy.write(data)
            copy.flush()
            os.fsync(copy.fileno())
        os.utime(partial, ns=(mtime_ns, mtime_ns))
        with open(partial, "rb") as copy:
            if _sha256(copy) != sha256:
                raise SourceError(f"{target}: the copy is not what was archived")
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "there already", target)
        os.rename(partial, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := stream.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()
