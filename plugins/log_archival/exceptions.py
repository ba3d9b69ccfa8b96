"""What can go wrong, as a tree.

LogArchivalError                 everything below; `permanent` says whether trying again can help
├── SettingsError                archive.yaml, an operator's argument or a key template is wrong
├── ConnectionSettingsError      the Airflow connection is wrong
├── SourceError                  a source has too few files, or one can't be read or changed while it was read
├── StagingError                 staged data are missing or not what the plan says
├── ArchiveRequestError          a request to the archive account failed and may succeed later
│   └── RefusedError             … was refused for good: access denied, no such bucket, a bad token
├── ConflictError                the key holds other content (only with a key template without {digest})
├── VerificationError            the archive is not what was collected
└── PrivilegeError               the archive account lets the role do too much, or too little
"""

from __future__ import annotations


class LogArchivalError(Exception):
    """The base of all errors of this package.

    :param message: what failed, where and why, in one sentence or two
    :param hint: what to do about it
    """

    #: True where trying again can't help; the operators then fail the task without retries.
    permanent = True

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.hint = hint


class SettingsError(LogArchivalError):
    """archive.yaml, an operator's argument or a key template is wrong."""


class ConnectionSettingsError(LogArchivalError):
    """The Airflow connection is wrong; the message says what to write where."""


class SourceError(LogArchivalError):
    """A source has too few files, or a file can't be read. Not permanent: the files may come late."""

    permanent = False


class StagingError(LogArchivalError):
    """Staged data are missing or damaged. Clearing `compress` for the run makes them anew."""


class ArchiveRequestError(LogArchivalError):
    """A request to the archive account failed in a way that may pass: throttling, 5xx, time-outs."""

    permanent = False


class RefusedError(ArchiveRequestError):
    """A request was refused for good: access denied, no such bucket, bad credentials.

    :param code: S3's or STS's error code, for example ``AccessDenied``
    """

    permanent = True

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ConflictError(LogArchivalError):
    """The key is taken, and nothing proves that it holds the same content."""


class VerificationError(LogArchivalError):
    """The archive is not what was collected; the message lists every difference."""


class PrivilegeError(LogArchivalError):
    """The archive account lets the role do more, or less, than least privilege asks for."""
