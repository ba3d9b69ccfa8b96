"""Files on this machine's disks: an error says which file, how much space is free, and what to do."""

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from log_archival.exceptions import StagingError
from log_archival.progress import human_size
from log_archival.records import NOT_SHARED

#: What another place is set by.
STAGING = "have `staging` in archive.yaml name another folder, or s3://…"
TMPDIR = "have the worker's environment variable TMPDIR name another folder"
#: While a disk is full, a later try may help: other tasks delete what they have staged.
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: No later try helps until somebody has changed something.
_PERMANENT = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@contextmanager
def translated_disk_errors(verb: str, path: object, other_place: str = STAGING) -> Iterator[None]:
    """Translate the errors of an operating system into `StagingError`, but that there is no file to read.

    :param verb: what is done to the file: ``read``, ``write``
    :param path: of the file
    :param other_place: how another place is set
    :raises StagingError: transient ones of a full disk and of what isn't known; permanent ones of a file system that
        can't be written to
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and verb == "read":
            raise
        message = f"can't {verb} {path}: {error.strerror or error}{_free_space(str(path), error)}"
        translated = StagingError(message, hint=_hint(error, other_place))
        translated.permanent = error.errno in _PERMANENT
        raise translated from error


def _free_space(path: str, error: OSError) -> str:
    if error.errno not in _FULL:
        return ""
    try:
        usage = shutil.disk_usage(path if os.path.isdir(path) else os.path.dirname(path))
    except OSError:
        return ""
    return f" ({human_size(usage.free)} of {human_size(usage.total)} are free)"


def _hint(error: OSError, other_place: str) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            batches = " With a smaller `batch_size`, less is there at once." if other_place == STAGING else ""
            return f"Free space there, or a quota, or {other_place}.{batches}"
        case errno.EROFS:
            return f"The file system is mounted read-only: mount it for writing, or {other_place}."
        case errno.EACCES | errno.EPERM:
            return f"Airflow's worker needs permission to write there; or {other_place}."
        case errno.ENOENT if other_place == STAGING:
            return f"Was it deleted? Clear the run's `collect` and what follows it. {NOT_SHARED}"
    return f"Is the disk sound? If not, {other_place}."


class DiskFile(io.FileIO):
    """A file without a buffer, whose errors are translated.

    :param path: of the file
    :param mode: ``rb`` or ``wb``
    """

    def __init__(self, path: os.PathLike[str], mode: str) -> None:
        self._verb = "read" if mode == "rb" else "write"
        with translated_disk_errors(self._verb, path):
            super().__init__(path, mode)

    def readinto(self, buffer: Any, /) -> int:
        """Read bytes into a buffer.

        :param buffer: the buffer
        """
        with translated_disk_errors(self._verb, self.name):
            return super().readinto(buffer)

    def write(self, data: Any, /) -> int:
        """Write bytes, perhaps not all of them; return how many.

        :param data: the bytes
        """
        with translated_disk_errors(self._verb, self.name):
            return super().write(data)


class TemporaryFile(tempfile.SpooledTemporaryFile[bytes]):
    """A file in memory which, when it grows, becomes a temporary file on a disk; its errors are translated.

    :param max_size: so many bytes are in memory; 0 for any number
    """

    def write(self, data: Any) -> int:
        """Write bytes.

        :param data: the bytes
        """
        with self._translated():
            return super().write(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write bytes.

        :param lines: the bytes
        """
        for line in lines:
            self.write(line)

    def seek(self, *arguments: int) -> int:
        """Go to a position, as `io.IOBase.seek`; what was written so far is on the disk then.

        :param arguments: the position
        """
        with self._translated():
            return super().seek(*arguments)

    def close(self) -> None:
        """Close it; what couldn't be written to the disk is not wanted any more."""
        with suppress(OSError):
            super().close()

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _translated(self) -> AbstractContextManager[None]:
        # Not `gettempdir`, which raises an error where nothing can be written.
        place = tempfile.tempdir or os.environ.get("TMPDIR", "/tmp")  # noqa: S108
        return translated_disk_errors("write a temporary file in", place, TMPDIR)
