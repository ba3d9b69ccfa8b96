"""The errors of this package.

LogArchivalError                 the base of all; `permanent` says whether a retry can help
├── SettingsError                archive.yaml, an operator's argument or a key template is wrong
├── ConnectionSettingsError      the Airflow connection is wrong
├── SourceError                  a source has too few files, or a file can't be read or changed while it was read
├── StagingError                 records or data of the run directory are missing, damaged, or can't be written
├── CompressionError             a compressed block doesn't decompress to what went in
├── ArchiveRequestError          a request to the archive account failed with a transient error
│   └── RefusedError             … with a permanent one: access denied, no such bucket, a bad token
├── VerificationError            the archive is not what was collected
└── PrivilegeError               the archive account lets the role do too much, or too little
"""

import re

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


class LogArchivalError(Exception):
    """The base of all errors of this package.

    :param message: what failed, where and why, in one sentence or two
    :param hint: what to do about it
    """

    #: True when a retry can't help; the operators then fail the task without retries.
    permanent = True

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        text = f"{message}\n{hint}" if hint else message
        # A byte of a file's name that is no UTF-8. Airflow breaks off when it has to log an exception with one.
        super().__init__(_HALF_CHARACTER.sub(_escaped, text))
        self.hint = hint


class SettingsError(LogArchivalError, ValueError):
    """archive.yaml, an operator's argument or a key template is wrong. A ValueError, so that pydantic reports it."""


class ConnectionSettingsError(LogArchivalError):
    """The Airflow connection is wrong; the message says what to write where."""


class SourceError(LogArchivalError):
    """A source has too few files, or a file can't be read. Transient: the files may come late."""

    permanent = False


class StagingError(LogArchivalError):
    """Records or data of the run directory are missing or damaged; the hint says which task to clear.

    Transient where it can't be written or reached for now: a full disk, a service that doesn't answer.
    """


class CompressionError(LogArchivalError):
    """A compressed block doesn't decompress to what went in: bad memory, or a bug of the compression library.

    Transient: the retry compresses the file again, perhaps on another machine.
    """

    permanent = False


class ArchiveRequestError(LogArchivalError):
    """A request to the archive account failed with a transient error: throttling, 5xx, a time-out."""

    permanent = False


class RefusedError(ArchiveRequestError):
    """A request failed with a permanent error: access denied, no such bucket, bad credentials.

    :param message: what failed, where and why
    :param code: the error code of S3 or STS, for example ``AccessDenied``
    :param hint: the likely cause, and the statement or setting to correct
    """

    permanent = True

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class VerificationError(LogArchivalError):
    """The archive is not what was collected; the message lists every difference."""


class PrivilegeError(LogArchivalError):
    """The archive account lets the role do more, or less, than least privilege asks for."""


def _escaped(char: re.Match[str]) -> str:
    code = ord(char[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
