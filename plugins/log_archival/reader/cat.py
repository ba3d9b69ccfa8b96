"""The command ``cat``: one log file, decompressed, to standard output."""

import hashlib
from itertools import groupby
from typing import IO, Any

from log_archival.codec import codec_named, decompress
from log_archival.exceptions import SettingsError, VerificationError
from log_archival.manifest import Entry, printable
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.search import Search
from log_archival.reader.versions import Version, describe, distinct

#: So many files are named when more than one is selected.
MAX_NAMED_FILES = 20


def contents_of_one_file(search: Search) -> list[Version]:
    """Return what to write: the file's content of each day, in the order of days, one that stays the same only once.

    :param search: what to look at
    :returns: nothing, where no file is selected
    :raises SettingsError: when more than one file is selected, or several contents of a day and none is chosen
    :raises RefusedError: when the archive can't be read
    :raises ArchiveRequestError: for transient errors
    """
    versions = search.versions()
    files = sorted({one.target for one in versions})
    if len(files) > 1:
        named = "".join(f"\n  {printable(file)}" for file in files[:MAX_NAMED_FILES])
        more = f"\n  and {len(files) - MAX_NAMED_FILES:,} more" if len(files) > MAX_NAMED_FILES else ""
        raise SettingsError(
            f"{len(files):,} files are selected, and `cat` writes one:{named}{more}",
            hint="Give one of these names. `restore` writes any number of files.",
        )
    chosen: dict[str, Version] = {}
    for day, of_day in groupby(versions, lambda one: one.day):
        contents = distinct(list(of_day))
        if len(contents) > 1 and not search.selection.choice:
            raise SettingsError(
                f"{printable(files[0])} has {len(contents):,} contents on {day}: {describe(contents)}",
                hint="Choose with --first or --last.",
            )
        one = contents[-1 if search.selection.choice == "last" else 0]
        chosen.setdefault(one.sha256, one)
    return list(chosen.values())


def write_content(reader: ArchiveReader, version: Version, output: IO[bytes]) -> None:
    """Write the content of a file as it is read: memory doesn't grow with its size.

    :param reader: the archive
    :param version: what to write
    :param output: where to
    :raises VerificationError: when what was written is not what the manifest lists
    :raises RefusedError: when an archive can't be read, or doesn't exist
    :raises ArchiveRequestError: for transient errors
    """
    whole = hashlib.sha256()
    try:
        for entry in version.parts:
            _Part(reader, entry, output, whole).copy()
        if whole.hexdigest() != version.sha256:
            raise VerificationError(f"its parts together have SHA-256 {whole.hexdigest()}, not {version.sha256}")
    except VerificationError as error:
        raise VerificationError(
            f"{printable(version.target)} of {version.day}: what was written is not what was archived: {error}"
        ) from None


class _Part:
    """Writes the content of one archive, and hashes what was written.

    :param reader: the archive
    :param entry: what the manifest lists
    :param output: where to
    :param whole: the hash of the whole file
    """

    def __init__(self, reader: ArchiveReader, entry: Entry, output: IO[bytes], whole: Any) -> None:
        self.reader, self.entry, self.output, self.whole = reader, entry, output, whole
        self.sha256 = hashlib.sha256()
        self.written = 0

    def copy(self) -> None:
        """Write all of it, and compare what was written with what the manifest lists."""
        entry = self.entry
        try:
            self.reader.read_archive(entry, self._write)
        except VerificationError as error:
            raise VerificationError(f"{entry.key} {error}") from None
        if (self.written, sha256 := self.sha256.hexdigest()) != (entry.raw_size, entry.raw_sha256):
            found = f"{self.written:,} raw bytes with SHA-256 {sha256}"
            raise VerificationError(f"{entry.key} has {found}, expected {entry.raw_size:,} with {entry.raw_sha256}")

    def _write(self, stored: IO[bytes]) -> None:
        """Write what was not written before; when the connection broke, the object is read from its start again."""
        position = 0
        for data in decompress(stored, codec_named(self.entry.codec), self.entry.raw_size):
            self.reader.raise_if_stopped()
            new = data[max(0, self.written - position) :]
            position += len(data)
            for consume in (self.output.write, self.sha256.update, self.whole.update):
                consume(new)
            self.written += len(new)
