"""archive.yaml: what is archived, where to, and how. DAGs read it when they are parsed, so it is quick."""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, ValidationError, model_validator

from log_archival.aws.connection import DEFAULT_ACL, DEFAULT_CONN_ID, require_bucket
from log_archival.aws.writer import DEFAULT_MAX_CONCURRENT_REQUESTS
from log_archival.codecs import DEFAULT_PART_BYTES, MAX_PUT_BYTES, MIN_PART_BYTES
from log_archival.exceptions import SettingsError
from log_archival.keys import DEFAULT_KEY, DEFAULT_PREFIX, KeyTemplate
from log_archival.partition import zone
from log_archival.sources.files import FileSource

#: The environment variable that names another file than include/archive.yaml.
SETTINGS_VARIABLE = "LOG_ARCHIVAL_SETTINGS"

#: About how many raw bytes one mapped task handles.
DEFAULT_BATCH_BYTES = 256 << 20


def _after(value: str) -> str:
    if value in ("keep", "delete") or (value.startswith("move: ") and os.path.isabs(value[6:].strip())):
        return value
    raise ValueError("it is one of keep, delete and 'move: /absolute/folder'")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Section):
    """Where the archive is."""

    bucket: Annotated[str, AfterValidator(require_bucket)]
    connection: str = DEFAULT_CONN_ID
    prefix: str = DEFAULT_PREFIX
    key: str = DEFAULT_KEY
    acl: str | None = DEFAULT_ACL
    kms_key_arn: str | None = None
    max_concurrent_requests: int = Field(DEFAULT_MAX_CONCURRENT_REQUESTS, ge=1, le=256)


class Schedule(_Section):
    """When a day is archived; the cron expression is read in the time zone, which also bounds the day."""

    cron: str = "30 4 * * *"
    timezone: Annotated[str, AfterValidator(lambda name: zone(name).key)] = "UTC"

    @model_validator(mode="after")
    def _once_a_day(self) -> Self:
        # The partition is the day of the tick before (run_offset=-1), so there has to be a tick once every day.
        match = re.fullmatch(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* \*", self.cron.strip())
        if not match:
            raise ValueError(f"cron {self.cron!r} has to name one time of every day, such as '30 4 * * *'")
        # Clocks are put forward between 00:00 and 04:00; Airflow 3.3's timetable moves a tick in the missing hour
        # to the next, gives that day's key to two runs, and never the day before's.
        if int(match[1]) < 4 and _changes_clocks(self.timezone):
            raise ValueError(
                f"cron {self.cron!r} can fall into the hour that {self.timezone} leaves out in spring, and a day would"
                " never be archived; use 04:00 or later, or UTC"
            )
        return self


def _changes_clocks(timezone: str) -> bool:
    return len({datetime(2026, month, 15, tzinfo=zone(timezone)).utcoffset() for month in range(1, 13)}) > 1


class Verify(_Section):
    """What verification has to prove; see docs/verification.md."""

    tier: Literal["receipts", "probe", "read"] = "probe"
    depth: Literal["checksums", "bytes"] = "checksums"
    read_connection: str | None = None


class Source(_Section):
    """A folder of log files."""

    name: str
    path: str
    pattern: str = "**/*"
    min_files: int = Field(1, ge=0)
    after: Annotated[str, AfterValidator(_after)] = "keep"


class Settings(_Section):
    """The whole of archive.yaml."""

    archive: Archive
    sources: list[Source] = Field(min_length=1)
    schedule: Schedule = Schedule()
    codec: Literal["zstd", "gzip", "none"] = "zstd"
    part_size: ByteSize = Field(ByteSize(DEFAULT_PART_BYTES), ge=MIN_PART_BYTES, le=MAX_PUT_BYTES)
    batch_size: ByteSize = Field(ByteSize(DEFAULT_BATCH_BYTES), ge=1 << 20)
    staging: str | None = None
    verify: Verify = Verify()
    #: Checks of check_least_privilege whose failure is accepted, by name.
    accepted_risks: list[str] = []

    @property
    def file_sources(self) -> list[FileSource]:
        """The sources themselves."""
        return [FileSource(**source.model_dump()) for source in self.sources]

    @property
    def staging_root(self) -> str:
        """The folder of all run directories; by default in AIRFLOW_HOME, which only tasks on this machine share."""
        return self.staging or str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "staging")


def settings_file(default: str | os.PathLike[str]) -> Path:
    """Return the settings file: the one that ``LOG_ARCHIVAL_SETTINGS`` names, else the default.

    :param default: where it is otherwise
    """
    return Path(os.environ.get(SETTINGS_VARIABLE) or default)


def load_settings(path: str | os.PathLike[str]) -> Settings:
    """Read and check archive.yaml.

    :param path: of the file
    :raises SettingsError: naming the file and every field that is wrong
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"can't read {path}: {error.strerror}",
            hint=f"Write the settings there, or name another file in {SETTINGS_VARIABLE}.",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path} has to be a mapping that begins with `archive:`")
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
    else:
        wrong = list(_contradictions(settings))
    if wrong:
        raise SettingsError(f"{path} is not right:\n" + "\n".join(f"  {line}" for line in wrong))
    return settings


def _contradictions(settings: Settings) -> Iterator[str]:
    try:
        KeyTemplate(settings.archive.key, prefix=settings.archive.prefix)
    except SettingsError as error:
        yield f"archive.key: {error}"
    names = [source.name for source in settings.sources]
    for number, source in enumerate(settings.file_sources):
        try:
            _ = source.root
        except SettingsError as error:
            yield f"sources.{number}: {error}"
        if source.name in names[:number]:
            yield f"sources.{number}.name: {source.name!r} is used twice"
    if settings.verify.tier == "read" and not settings.verify.read_connection:
        yield "verify.read_connection: tier read needs a connection that may read"
