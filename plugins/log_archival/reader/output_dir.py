"""A folder that files are restored into, and nothing outside of it, whatever their names and whatever lies there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import IO, Literal, Self

from log_archival.codecs import CHUNK
from log_archival.exceptions import LogArchivalError

_TEMPORARY = b".restoring"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """Writes files below a root, whole or not at all.

    Each folder on the way is opened by itself, relative to the one before, without following links (openat(2)), so
    that neither a name nor a link that lies there leads out. Paths are tuples of bytes, one for each component.

    :param root: made when it isn't there; may itself be a link
    :raises LogArchivalError: when it can't be made or written to, or another restore is writing into it
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._numbers = count()

    def __enter__(self) -> Self:
        try:
            os.makedirs(self.root, exist_ok=True)
            self._root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise LogArchivalError(f"can't restore into {self.root}: {error.strerror}") from None
        try:
            fcntl.flock(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._temporary = self._open_folder(self._root, _TEMPORARY, create=True)
            # Left by a restore that was killed.
            self._clear_temporary()
        except OSError as error:
            os.close(self._root)
            why = "another restore is writing into it" if error.errno == errno.EWOULDBLOCK else error.strerror
            raise LogArchivalError(f"can't restore into {self.root}: {why}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._clear_temporary()
        os.close(self._temporary)
        with suppress(OSError):
            os.rmdir(_TEMPORARY, dir_fd=self._root)
        os.close(self._root)

    def free(self) -> int:
        """How many bytes are free for us on the root's file system."""
        status = os.fstatvfs(self._root)
        return status.f_bavail * status.f_frsize

    def size(self, path: Sequence[bytes]) -> int:
        """How many bytes lie at a path; 0 where there is nothing that can be said to."""
        try:
            with self._folder(path[:-1]) as folder:
                return os.stat(path[-1], dir_fd=folder, follow_symlinks=False).st_size
        except (OSError, LogArchivalError):
            return 0

    def state(self, path: Sequence[bytes], size: int, sha256: str) -> Literal["absent", "same", "different"]:
        """What lies at a path, compared with what should: a regular file of this size and SHA-256, in hex.

        :raises LogArchivalError: when a folder of the path is a link or a file
        """
        try:
            with self._folder(path[:-1]) as folder:
                # A FIFO is not waited for.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with os.fdopen(os.open(path[-1], flags, dir_fd=folder), "rb") as file:
                    status = os.fstat(file.fileno())
                    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                        return "different"
                    return "same" if _sha256(file) == sha256 else "different"
        except FileNotFoundError:
            return "absent"
        except IsADirectoryError:
            return "different"
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
                return "different"
            raise

    @contextmanager
    def write(self, path: Sequence[bytes]) -> Iterator[IO[bytes]]:
        """A new file that appears at its path when the block ends well; what lay there is replaced.

        Not synced to the disk: a restore that is repeated checks what is there.

        :raises LogArchivalError: when a folder of the path is a link or a file
        """
        _require_plain(path[-1])
        temporary = b"%d" % next(self._numbers)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666, dir_fd=self._temporary)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            with self._folder(path[:-1], create=True) as folder:
                os.rename(temporary, path[-1], src_dir_fd=self._temporary, dst_dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=self._temporary)
            raise

    @contextmanager
    def _folder(self, path: Sequence[bytes], *, create: bool = False) -> Iterator[int]:
        descriptor = os.dup(self._root)
        try:
            for depth, name in enumerate(path, 1):
                try:
                    below = self._open_folder(descriptor, name, create=create)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        where = os.fsdecode(b"/".join(path[:depth]))
                        raise LogArchivalError(f"{where} is in the way: a link or a file, not a folder") from None
                    raise
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _open_folder(parent: int, name: bytes, *, create: bool) -> int:
        _require_plain(name)
        if create:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)

    def _clear_temporary(self) -> None:
        for name in os.listdir(self._temporary):
            os.unlink(name, dir_fd=self._temporary)


def _require_plain(name: bytes) -> None:
    if name in (b"", b".", b"..") or b"/" in name:
        raise LogArchivalError(f"{name!r} can't be the name of a file or folder")


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := file.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()
