"""Opening the log files of a folder: the ones that were listed, unchanged, or an error that names the change."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from log_archival.exceptions import SourceError
from log_archival.records import LogFile
from log_archival.sources.base import SourceReader
from log_archival.sources.safe_open import NOT_A_FOLDER, open_file, open_folder


def require_root(file: LogFile, root: str) -> None:
    """Check that a record is of a source's own folder: it comes from the run directory, which may name anything.

    :param file: the record
    :param root: the source's folder
    :raises SourceError: when it is of another
    """
    if file.root != root:
        raise SourceError(f"source {file.source}: {file.path} is not below {root}")


@contextmanager
def open_log_file(file: LogFile) -> Iterator[io.BufferedReader]:
    """Open a file that a source found, and check before and after reading that it is still that file.

    :param file: what `FileSource.find` returned
    :raises SourceError: when it can't be read, has become another file, or has grown, shrunk or been written to
    """
    with open_unchecked(file) as raw:
        check_unchanged(file, os.fstat(raw.fileno()))
        reader: Any = SourceReader(raw.readinto, partial(_unreadable, file))
        with io.BufferedReader(reader) as stream:
            yield stream
        check_unchanged(file, os.fstat(raw.fileno()))


def open_unchecked(file: LogFile) -> io.FileIO:
    """Open what is in a file's place now, without following links.

    :param file: what `FileSource.find` returned
    :raises SourceError: when it can't be opened
    """
    try:
        *folders, last = os.fsencode(file.name).split(b"/")
        with open_folder(file.root, folders) as parent:
            return open(last, "rb", buffering=0, opener=lambda *_: open_file(last, parent))
    except FileNotFoundError:
        raise _changed(file, "vanished") from None
    except OSError as error:
        if error.errno in (errno.EISDIR, *NOT_A_FOLDER):
            raise _changed(file, "was replaced by a folder, or by a link or a file in its path") from None
        raise _unreadable(file, error) from None
    except ValueError as error:  # the record comes from the run directory, which may name anything
        raise SourceError(f"source {file.source}: can't read {file.path!r}: {error}") from None


def _unreadable(file: LogFile, error: Exception) -> SourceError:
    return SourceError(
        f"source {file.source}: can't read {file.path}: {getattr(error, 'strerror', None) or error}",
        hint="Airflow's worker needs read permission on the file, and links are not followed."
        if isinstance(error, PermissionError)
        else None,
    )


def check_unchanged(file: LogFile, status: os.stat_result) -> None:
    """Check that a file is the one that was listed.

    :param file: what `FileSource.find` returned
    :param status: of what is in its place now
    :raises SourceError: when it is another file, or has grown, shrunk or been written to
    """
    if not stat.S_ISREG(status.st_mode) or str(status.st_ino) != file.identity:
        raise _changed(file, "was replaced")
    if status.st_size != file.size:
        size = file.size or 0
        verb = "grew" if status.st_size > size else "shrank"
        raise _changed(file, f"{verb}, {size:,} to {status.st_size:,} bytes,")
    if status.st_mtime_ns != file.mtime_ns:
        raise _changed(file, "was written to")


def _changed(file: LogFile, what: str) -> SourceError:
    return SourceError(
        f"source {file.source}: {file.path} {what} since it was listed",
        hint="Archive a day after its files are closed, or exclude this file. Clear `collect` to list the files again.",
    )
