"""The folder that files are restored into; nothing outside of it is written, whatever names and links are in it."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedRandom
from itertools import count
from pathlib import Path
from typing import Literal, Self

from log_archival.exceptions import LogArchivalError
from log_archival.manifest import printable
from log_archival.sources.safe_open import NOT_A_FOLDER, open_file, open_folder, require_plain_name

_TEMPORARY = b".restoring"
_FOLDER_MODE = 0o700
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class OutputDirectory:
    """Writes files below a root, completely or not at all, as a context manager.

    A path is the names of its components. Links below the root are never followed; see `safe_open`. What is created is
    for the user alone: logs hold what not everybody on a machine may read.

    :param root: the folder, which is created if need be; may itself be a link
    :param read_only: whether it is only compared with, and neither created nor locked
    :raises LogArchivalError: when it can't be created or written to, or another restore is writing into it
    """

    def __init__(self, root: str, *, read_only: bool = False) -> None:
        self.root, self.read_only = root, read_only
        self._numbers = count()
        self._absent = False

    def __enter__(self) -> Self:
        """Create the folder and lock it."""
        with ExitStack() as stack:
            try:
                if self.read_only:
                    existing = next(one for one in _and_parents(self.root) if one.exists())
                    self._absent = existing != Path(self.root).absolute()
                    self._root = stack.enter_context(open_folder(str(existing), ()))
                    self._opened = stack.pop_all()
                    return self
                _make_folders(self.root)
                self._root = stack.enter_context(open_folder(self.root, ()))
                fcntl.flock(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._temporary = stack.enter_context(
                    open_folder(self._root, [_TEMPORARY], create=True, mode=_FOLDER_MODE)
                )
                for name in os.listdir(self._temporary):  # of a restore that was killed
                    os.unlink(name, dir_fd=self._temporary)
            except OSError as error:
                locked = isinstance(error, BlockingIOError)
                reason = "another restore is writing into it" if locked else error.strerror
                raise LogArchivalError(f"can't restore into {self.root}: {reason}") from None
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what is temporary, and unlock the folder."""
        with self._opened, suppress(OSError):
            if not self.read_only:
                os.rmdir(_TEMPORARY, dir_fd=self._root)

    def free_bytes(self) -> int:
        """Return how many bytes there is room for."""
        disk = os.fstatvfs(self._root)
        return disk.f_bavail * disk.f_frsize

    def state(self, path: Sequence[bytes], size: int, sha256: str) -> Literal["absent", "same", "different"]:
        """Compare what exists at a path with a file: nothing, the same file, or anything else.

        :param path: the names of its components
        :param size: of the file, in bytes
        :param sha256: of the file, in hex
        :raises LogArchivalError: when a folder of the path is a link or a file
        """
        if self._absent:
            return "absent"
        try:
            with self._parent(path) as folder:
                status = os.stat(path[-1], dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                    return "different"
                with os.fdopen(open_file(path[-1], folder), "rb") as file:
                    return "same" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else "different"
        except FileNotFoundError:
            return "absent"

    @contextmanager
    def write(self, path: Sequence[bytes], mtime_ns: int = 0) -> Iterator[BufferedRandom]:
        """Yield a new file that gets its path when the block ends without an error, and replaces what was there.

        It is not synced to the disk: a restore that is repeated compares what exists.

        :param path: the names of its components
        :param mtime_ns: the file's time of modification, in nanoseconds since the epoch; 0 for now
        :raises LogArchivalError: when a folder of the path is a link or a file
        """
        temporary = b"%d" % next(self._numbers)
        descriptor = os.open(temporary, _CREATE, 0o600, dir_fd=self._temporary)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                if mtime_ns:
                    file.flush()  # or closing it would set the time anew
                    with suppress(OSError):  # of a file system that has no such time
                        os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
            with self._parent(path, create=True) as folder:
                os.rename(temporary, path[-1], src_dir_fd=self._temporary, dst_dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=self._temporary)
            raise

    @contextmanager
    def _parent(self, path: Sequence[bytes], *, create: bool = False) -> Iterator[int]:
        try:
            require_plain_name(path[-1])
            with open_folder(self._root, path[:-1], create=create, mode=_FOLDER_MODE) as folder:
                yield folder
        except ValueError as error:
            raise LogArchivalError(str(error)) from None
        except OSError as error:
            if error.errno not in NOT_A_FOLDER:
                raise
            name = printable(os.fsdecode(error.filename))
            raise LogArchivalError(f"{name} is in the way: a link or a file, not a folder") from None


def _make_folders(path: str) -> None:
    """Create a folder and those that it is in, where they don't exist."""
    for folder in reversed([one for one in _and_parents(path) if not one.exists()]):
        with suppress(FileExistsError):
            folder.mkdir(_FOLDER_MODE)


def _and_parents(path: str) -> list[Path]:
    whole = Path(path).absolute()
    return [whole, *whole.parents]
