"""A run directory on this machine, or on a file system that several machines share."""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal, Self

from log_archival.pipeline.disk import DiskFile, translated_disk_errors
from log_archival.pipeline.folder import File, Folder, ReceiptLog


class LocalFolder(Folder):
    """A folder that all tasks of a run can reach: on one machine, or a file system that several share.

    :param path: of the folder
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        """Return its path."""
        return str(self._path)

    def __truediv__(self, name: str) -> File:
        """Return one of its files; the other methods are described in `Folder`."""
        return _LocalFile(self._path / name)

    def child(self, name: str) -> Self:
        return type(self)(self._path / name)

    def create(self) -> None:
        # Logs can contain what nobody else may read.
        with translated_disk_errors("create", self._path):
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self, start: str = "") -> list[str]:
        with translated_disk_errors("list", self._path):
            return sorted(one.name for one in self._entries() if one.name.startswith(start) and not _is_folder(one))

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            with translated_disk_errors("delete", self._path / name):
                (self._path / name).unlink(missing_ok=True)

    def delete_folder(self) -> None:
        with suppress(OSError):  # gone already, or somebody has put something else there
            self._path.rmdir()

    def read(self, name: str, start: int, size: int) -> bytes:
        with (self / name).open("rb") as file:
            file.seek(start)
            data = file.read(size)
        if len(data) < size:
            raise EOFError(name)
        return data

    @contextmanager
    def open_range(self, name: str, start: int, size: int) -> Iterator[IO[bytes]]:
        with (self / name).open("rb") as file:
            if file.seek(0, os.SEEK_END) < start + size:
                raise EOFError(name)
            file.seek(start)
            yield file

    def receipt_log(self, stem: str, lines: Iterable[bytes]) -> ReceiptLog:
        # Under the name of one in S3, until it has all that the one before it has.
        path = self._path / f"{stem}-000000.jsonl"
        with ExitStack() as unless_done:
            log = unless_done.enter_context(closing(_ReceiptFile(path)))
            for line in lines:
                log.write(line)
            with translated_disk_errors("write", path):
                path.replace(self._path / f"{stem}.jsonl")
            unless_done.pop_all()
        return log

    def children(self) -> dict[str, datetime]:
        with translated_disk_errors("list", self._path):
            return {one.name: _last_modified(Path(one.path)) for one in self._entries() if _is_folder(one)}

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._path) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []


class _LocalFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def open(self, mode: Literal["rb", "wb"]) -> IO[bytes]:
        raw = DiskFile(self._path, mode)
        return io.BufferedReader(raw) if mode == "rb" else io.BufferedWriter(raw)


class _ReceiptFile:
    """Receipts, each on the disk as soon as it is written: a killed task's retry has all of them."""

    def __init__(self, path: Path) -> None:
        self._file = io.BufferedWriter(DiskFile(path, "wb"))

    def write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _last_modified(folder: Path) -> datetime:
    times = [folder.stat(follow_symlinks=False).st_mtime]
    with os.scandir(folder) as entries:
        times += [one.stat(follow_symlinks=False).st_mtime for one in entries]
    return datetime.fromtimestamp(max(times), UTC)
