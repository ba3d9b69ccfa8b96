"""Opening folders and files below a root without being led out of it, by names or by links (openat(2))."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

#: What Linux and macOS report of a link, or of a file, where a folder was expected.
NOT_A_FOLDER = (errno.ENOTDIR, errno.ELOOP)
# A FIFO that was put in the file's place is not waited for.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def require_plain_name(name: bytes) -> None:
    """Raise an error for a name that is not one component of a path.

    :param name: from outside
    :raises ValueError: for an empty name, ``.``, ``..`` and names with a slash
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise ValueError(f"{name!r} can't be the name of a file or folder")


@contextmanager
def open_folder(root: int | str, path: Iterable[bytes], *, create: bool = False, mode: int = 0o777) -> Iterator[int]:
    """Open a folder below a root, and yield its descriptor.

    Each folder is opened from the one before it, without following links: one that is swapped for a link at any
    moment is an error.

    :param root: an open folder's descriptor, or a path, which may itself be a link
    :param path: the names of the folders on the way
    :param create: whether to make the folders that don't exist
    :param mode: of the folders that are made, less what the process's umask takes
    :raises OSError: with an errno of NOT_A_FOLDER where a link or a file is in the way; its `filename` is the name
    :raises ValueError: for a name that is not one component of a path
    """
    descriptor = os.dup(root) if isinstance(root, int) else os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path:
            require_plain_name(name)
            if create:
                with suppress(FileExistsError):
                    os.mkdir(name, mode, dir_fd=descriptor)
            parent, flags = descriptor, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
            os.close(parent)
        yield descriptor
    finally:
        os.close(descriptor)


def open_file(name: bytes, folder: int) -> int:
    """Open a file for reading, without following a link, and return its descriptor.

    :param name: one component of a path
    :param folder: the descriptor of its folder
    :raises OSError: when it can't be opened; a link gives ELOOP, a socket ENXIO
    """
    require_plain_name(name)
    return os.open(name, _READ, dir_fd=folder)
