"""Bundles: many small files in one object, a tar of zstd frames, of which each file can be read by itself.

    frame  tar header of the first file
    frame  content of the first file                    what the manifest lists: offset and size in the bundle
    frame  padding, tar header of the second file
    frame  content of the second file
    …
    frame  padding, end of the tar

`tar --zstd -xf` opens it, since frames may be concatenated; and one file is a range of the object, an ordinary .zst.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import IO

from log_archival import codec as codecs
from log_archival.concurrency import in_order
from log_archival.exceptions import SettingsError
from log_archival.pipeline.compressor import Compressor, OpenDestination
from log_archival.records import Archive, Failure, LogFile

#: Larger files are objects of their own. A put costs what storing 1 MiB for some days does, and cold storage classes
#: charge 128 KiB for whatever is smaller. https://aws.amazon.com/s3/pricing/
MAX_MEMBER_BYTES = 1 << 20
#: What a file is taken for whose size is known only when it is read.
UNKNOWN_BYTES = 64 << 10
#: A group has about a half of the most that a bundle may have: with more, its end were more often forced than found.
_MEAN_GROUPS_IN_BUNDLE = 2
_BLOCK = tarfile.BLOCKSIZE


def assign_bundles(files: Sequence[LogFile], max_bytes: int | None) -> list[LogFile]:
    """Return a source's log files with the numbers of the groups in which they are put into bundles.

    Where a group ends depends on the names: a file that is new on a second run changes the bundle that it is put
    into, and seldom the next, but none of the others, which are then put under the keys that they have.

    :param files: of one source
    :param max_bytes: of a bundle, as a tar; None for no bundles
    :returns: first those that are put into bundles, a group after the other
    """
    if not max_bytes:
        return list(files)
    small = sorted((file for file in files if (file.size or 0) <= MAX_MEMBER_BYTES), key=lambda file: file.name)
    grouped, number, size_of_group = [], 1, 0
    for file in small:
        size = _tar_bytes(UNKNOWN_BYTES if file.size is None else file.size)
        if size_of_group and (size_of_group + size > max_bytes or _begins_group(file.name, size, max_bytes)):
            number, size_of_group = number + 1, 0
        size_of_group += size
        grouped.append(replace(file, bundle=number))
    return grouped + [file for file in files if (file.size or 0) > MAX_MEMBER_BYTES]


def _begins_group(name: str, size: int, max_bytes: int) -> bool:
    # The same for the same file, whichever others there are; the larger a file, the likelier, so that groups have about
    # as many bytes whatever the sizes.
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) * max_bytes < size * _MEAN_GROUPS_IN_BUNDLE << 64


def _tar_bytes(size: int) -> int:
    """Return what a file takes in a tar: its header and its content, in whole blocks."""
    return _BLOCK + size + -size % _BLOCK


@dataclass(frozen=True)
class _Member:
    """A small file that was read: its content is compressed, and not yet in a bundle."""

    file: LogFile
    part: codecs.Part
    stored: bytes


@dataclass(frozen=True)
class Bundled:
    """What became of the files of a group.

    :param archives: one for each file that is in a bundle, in order
    :param alone: files that turned out to be too large
    :param failures: files that could not be read
    """

    archives: list[Archive]
    alone: list[LogFile]
    failures: list[Failure]


def compress_bundle(compressor: Compressor, files: Sequence[LogFile], open_destination: OpenDestination) -> Bundled:
    """Put the files of one group into a bundle; into several when they turn out to have more bytes.

    :param compressor: knows the source and the keys
    :param files: of one group
    :param open_destination: is called for each bundle, one after the other
    :raises SettingsError: when the codec is not zstd
    :raises CompressionError: when a block doesn't decompress to what went in
    """
    if compressor.codec is not codecs.ZSTD:
        raise SettingsError(
            f"source {files[0].source}: a bundle is compressed with zstd, and the codec is {compressor.codec.name}",
            hint="Leave out `codec`, or the source's `bundle`.",
        )
    source = compressor.source_of(files[0])
    result = Bundled([], [], [])
    with ExitStack() as stack:
        bundle: _Bundle | None = None
        for file, read in in_order(partial(_read, compressor), files, source.concurrent_reads or 1):
            if read is None:
                result.alone.append(file)
            elif isinstance(read, Failure):
                result.failures.append(read)
            else:
                if bundle and bundle.tar_size + _tar_bytes(read.part.raw_size) > (source.bundle or 0):
                    result.archives.extend(bundle.finish())
                    stack.close()
                    bundle = None
                bundle = bundle or _Bundle(compressor, *stack.enter_context(open_destination()))
                bundle.add(read)
        if bundle:
            result.archives.extend(bundle.finish())
    return result


def _read(compressor: Compressor, file: LogFile) -> _Member | Failure | None:
    """Read and compress a small file; None when it is too large."""
    return compressor.try_read(file, partial(_compressed, file, compressor.check))


def _compressed(file: LogFile, check: bool, stream: IO[bytes]) -> _Member | None:
    content = stream.read(MAX_MEMBER_BYTES + 1)
    if len(content) > MAX_MEMBER_BYTES:
        return None
    return _Member(file, *codecs.compress_frame(content, check=check))


class _Bundle:
    """Writes one bundle."""

    def __init__(self, compressor: Compressor, stream: IO[bytes], staged: str, offset: int) -> None:
        self._compressor, self._stream, self._staged, self._offset = compressor, stream, staged, offset
        self._sha256 = hashlib.sha256()
        self._size = 0
        #: Of the tar, as `assign_bundles` counts.
        self.tar_size = 0
        self._padding = b""
        self._members: list[tuple[LogFile, codecs.Part, int]] = []

    def add(self, member: _Member) -> None:
        """Add a file."""
        size = member.part.raw_size
        self._write_frame(self._padding + _tar_header(member.file, size))
        self._members.append((member.file, member.part, self._size))
        self._write(member.stored)
        self._padding = bytes(-size % _BLOCK)
        self.tar_size += _tar_bytes(size)

    def finish(self) -> Iterator[Archive]:
        """Write the end, and yield the archives of the files."""
        self._write_frame(self._padding + bytes(2 * _BLOCK))
        sha256 = self._sha256.hexdigest()
        compressor, source = self._compressor, self._members[0][0].source
        key = compressor.keys.bundle_key(compressor.partition, source=source, digest=sha256)
        for file, part, offset in self._members:
            yield Archive(
                source=file.source, root=file.root, name=file.name,
                file_size=part.raw_size, file_mtime_ns=file.mtime_ns, file_sha256=part.raw_sha256, part=1, parts=1,
                key=key, codec=codecs.ZSTD.name, content_type=codecs.ZSTD.content_type,
                raw_size=part.raw_size, raw_sha256=part.raw_sha256,
                stored_size=part.stored_size, stored_sha256=part.stored_sha256,
                staged=self._staged, offset=self._offset,
                bundle_size=self._size, bundle_sha256=sha256, bundle_offset=offset,
            )  # fmt: skip

    def _write_frame(self, raw: bytes) -> None:
        self._write(bytes(codecs.ZSTD.compress_block(memoryview(raw))))

    def _write(self, stored: bytes) -> None:
        self._stream.write(stored)
        self._sha256.update(stored)
        self._size += len(stored)


def _tar_header(file: LogFile, size: int) -> bytes:
    header = tarfile.TarInfo(file.name)
    header.size = size
    header.mtime = max(0, file.mtime_ns // 10**9)
    header.mode = 0o600  # logs can contain what nobody else may read
    # GNU's format takes names of any length and any bytes.
    return header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
