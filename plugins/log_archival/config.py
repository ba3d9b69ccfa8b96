"""archive.yaml: what is archived, where to, and how. DAGs read it when they are parsed, so it is quick."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from log_archival.aws.connection import (
    DEFAULT_ACL,
    DEFAULT_CONN_ID,
    require_acl,
    require_bucket,
    require_kms_key_arn,
)
from log_archival.aws.writer import DEFAULT_MAX_CONCURRENT_REQUESTS
from log_archival.codec import DEFAULT_PART_BYTES, MAX_PUT_BYTES, MIN_PART_BYTES
from log_archival.exceptions import SettingsError
from log_archival.keys import DEFAULT_KEY, DEFAULT_PREFIX, KeyTemplate
from log_archival.partition import zone
from log_archival.sources.base import Source
from log_archival.sources.cleanup import folder_to_move_to
from log_archival.sources.cloudwatch import CloudWatchSource
from log_archival.sources.files import FileSource
from log_archival.sources.s3 import S3Source

#: The environment variable that names the settings file, wherever it is.
SETTINGS_VARIABLE = "LOG_ARCHIVAL_SETTINGS"
#: What the settings file is called otherwise.
SETTINGS_NAME = "archive.yaml"

#: More than anybody writes; PyYAML takes seconds for it.
MAX_SETTINGS_CHARS = 1 << 18
#: Python refuses to show numbers of more than 4,300 digits.
MAX_INT_CHARS = 100
_INT = "tag:yaml.org,2002:int"
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
#: About how many raw bytes one mapped task handles.
DEFAULT_BATCH_BYTES = 256 << 20


#: The key that says what kind of source it is, and is that class's own parameter.
KINDS: dict[str, type[Source]] = {"path": FileSource, "s3": S3Source, "cloudwatch": CloudWatchSource}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Section):
    """Where the archive is."""

    bucket: Annotated[str, AfterValidator(require_bucket)]
    connection: str = DEFAULT_CONN_ID
    prefix: str = DEFAULT_PREFIX
    key: str = DEFAULT_KEY
    acl: Annotated[str | None, AfterValidator(require_acl)] = DEFAULT_ACL
    kms_key_arn: Annotated[str | None, AfterValidator(require_kms_key_arn)] = None
    max_concurrent_requests: int = Field(DEFAULT_MAX_CONCURRENT_REQUESTS, ge=1, le=256)


class Schedule(_Section):
    """When a day is archived; the cron expression is read in the time zone, which also bounds the day."""

    cron: str = "30 10 * * *"
    timezone: Annotated[str, AfterValidator(lambda name: zone(name).key)] = "UTC"

    @model_validator(mode="after")
    def _once_a_day(self) -> Self:
        # The partition is the day of the tick before (run_offset=-1), so there has to be a tick once every day.
        match = re.fullmatch(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* \*", self.cron.strip(), re.ASCII)
        if not match:
            raise ValueError(f"cron {self.cron!r} has to name one time of every day, such as '30 10 * * *'")
        # Clocks are put forward between 00:00 and 04:00; Airflow 3.3's timetable moves a tick in the missing hour
        # to the next, gives that day's key to two runs, and never the day before's.
        if int(match[1]) < 4 and _changes_clocks(self.timezone):
            raise ValueError(
                f"cron {self.cron!r} can fall into the hour that {self.timezone} leaves out in spring, and a day would"
                " never be archived; use 04:00 or later, or UTC"
            )
        return self

    @property
    def time_of_day(self) -> timedelta:
        """The cron expression's time, since midnight."""
        minute, hour = map(int, self.cron.split()[:2])
        return timedelta(hours=hour, minutes=minute)

    @property
    def is_on_its_utc_day(self) -> bool:
        """Whether the time is on the same calendar day in UTC, in summer and in winter."""
        midnights = [datetime(2026, month, 15, tzinfo=zone(self.timezone)) for month in range(1, 13)]
        ticks = [midnight + self.time_of_day for midnight in midnights]
        return all(tick.astimezone(UTC).date() == tick.date() for tick in ticks)


def _changes_clocks(timezone: str) -> bool:
    return len({datetime(2026, month, 15, tzinfo=zone(timezone)).utcoffset() for month in range(1, 13)}) > 1


class Verify(_Section):
    """What verification has to prove; see docs/verification.md."""

    tier: Literal["receipts", "probe", "read"] = "probe"
    depth: Literal["checksums", "bytes"] = "checksums"
    read_connection: str | None = None


@dataclass(frozen=True)
class NotifierSettings:
    """One of Airflow's notifiers.

    :param class_path: of the class, for example ``airflow.providers.smtp.notifications.smtp.SmtpNotifier``
    :param arguments: of the class
    """

    class_path: str
    #: Whatever another team's class takes: not for logs.
    arguments: dict[str, Any] = field(repr=False)


def _notifier(given: Any) -> NotifierSettings:
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise ValueError("it is a mapping that begins with `class:`")
    class_path = given.get("class")
    if not isinstance(class_path, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", class_path):
        raise ValueError(f"class {class_path!r} is not the path of a class, such as package.module.Class")
    return NotifierSettings(class_path, {name: value for name, value in given.items() if name != "class"})


def _time_of_day(given: Any) -> timedelta:
    # Without quotes, YAML reads 14:00 as the number 840.
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", given) if isinstance(given, str) else None
    if not match:
        raise ValueError(f'{given!r} is not a time in quotes such as "14:00"')
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


class Notify(_Section):
    """Who is told when a run fails, or a day is late; see docs/deployment.md."""

    notifiers: list[Annotated[Any, PlainValidator(_notifier)]] = Field(min_length=1)
    #: The time since midnight, in the archive's zone, by which a scheduled run has to be over.
    archived_by: Annotated[Any, PlainValidator(_time_of_day)] = None


def _staging(url: str | None) -> str | None:
    parts = urlsplit(url or "")
    is_local = parts.scheme in ("", "file")
    if url and (not os.path.isabs(parts.path) or "\0" in unquote(parts.path) if is_local else parts.scheme != "s3"):
        raise ValueError(f"{url!r} is neither an absolute path nor a URL such as s3://aws_default@bucket/folder")
    if url and not is_local:
        require_bucket(parts.netloc.rpartition("@")[2])
    return url


def build_source(given: Any) -> Source:
    """Return the source that one element of ``sources`` describes.

    :param given: of the file
    :raises ValueError: with everything that is wrong with it
    """
    if not isinstance(given, dict):
        raise ValueError("it is a mapping that begins with `name:`")
    # A class of another team may have a parameter of the same name as ours.
    kinds = ["class"] if "class" in given else [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        raise ValueError(f"it has one of `path:`, `s3:`, `cloudwatch:` and `class:`, and not {kinds or 'none'}")
    arguments = {key: value for key, value in given.items() if key != "class"}
    source_class = KINDS.get(kinds[0]) or _imported(given["class"])
    try:
        # Of a dataclass, pydantic checks the types; another class has to do it itself.
        source: Source = (
            TypeAdapter(source_class).validate_python(arguments)
            if is_dataclass(source_class)
            else source_class(**arguments)
        )
    except ValidationError as error:
        raise ValueError("; ".join(_lines(error))) from None
    except TypeError as error:
        raise ValueError(str(error)) from None
    source.check()
    return source


def _imported(path: Any) -> type[Source]:
    module, _, name = str(path).rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # whatever another team's module does when it is imported
        raise ValueError(f"class {path!r} can't be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise ValueError(f"class {path!r} is no subclass of log_archival.sources.base.Source")
    return found


def _lines(error: ValidationError) -> Iterator[str]:
    for one in error.errors():
        where, message = ".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")
        yield f"{where}: {message}" if where else message


class Settings(_Section):
    """The whole of archive.yaml."""

    archive: Archive
    sources: list[Annotated[Any, PlainValidator(build_source)]] = Field(min_length=1)
    schedule: Schedule = Schedule()
    codec: Literal["zstd", "gzip", "none"] = "zstd"
    part_size: ByteSize = Field(ByteSize(DEFAULT_PART_BYTES), ge=MIN_PART_BYTES, le=MAX_PUT_BYTES)
    batch_size: ByteSize = Field(ByteSize(DEFAULT_BATCH_BYTES), ge=1 << 20)
    staging: Annotated[str | None, AfterValidator(_staging)] = None
    verify: Verify = Verify()
    notify: Notify | None = None
    #: Checks of check_least_privilege whose failure is accepted, by name.
    accepted_risks: list[str] = []

    @property
    def staging_root(self) -> str:
        """The folder of all run directories; by default in AIRFLOW_HOME, which only tasks on this machine share."""
        return self.staging or str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "staging")


def settings_files(dag_file: str | os.PathLike[str]) -> list[Path]:
    """Return where the settings file may be, the first that exists counts.

    It is the file that ``LOG_ARCHIVAL_SETTINGS`` names; without one, it is beside the DAG or in the folder ``include``
    there (where only ``dags/`` is deployed, as on Amazon MWAA), or in ``include`` beside the folder of DAGs.

    :param dag_file: the path of the DAG's file
    """
    if named := os.environ.get(SETTINGS_VARIABLE):
        return [Path(named)]
    folder = Path(dag_file).resolve().parent
    return [folder / SETTINGS_NAME, folder / "include" / SETTINGS_NAME, folder.parent / "include" / SETTINGS_NAME]


def load_settings(path: str | os.PathLike[str]) -> Settings:
    """Read and check archive.yaml.

    :param path: of the file
    :raises SettingsError: naming the file and every field that is wrong
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"can't read {path}: {error.strerror}",
            hint=f"Write the settings there, or name another file in {SETTINGS_VARIABLE}.",
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not YAML: {error}") from None
    return parse_settings(text, str(path))


def parse_settings(text: str, where: str) -> Settings:
    """Check the text of archive.yaml.

    :param text: YAML
    :param where: where it comes from, for messages
    :raises SettingsError: naming the place and every field that is wrong
    """
    if len(text) > MAX_SETTINGS_CHARS:
        raise SettingsError(f"{where} has more than {MAX_SETTINGS_CHARS:,} characters")
    try:
        document = yaml.load(text, _CarefulLoader)  # noqa: S506  # it is a SafeLoader
    except Exception as error:  # PyYAML lets Python's own errors through, of 2026-13-01 for example
        raise SettingsError(f"{where} is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{where} has to be a mapping that begins with `archive:`")
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        wrong = list(_lines(error))
    else:
        wrong = list(_contradictions(settings))
    if wrong:
        raise SettingsError(f"{where} is not right:\n" + "\n".join(f"  {line}" for line in wrong))
    return settings


class _CarefulLoader(yaml.SafeLoader):
    """Refuses what a few lines of YAML can say and nobody means."""

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Return a value, unless it could be no name, or no number."""
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if problem := _problem_with_value(node):
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Return the document, unless its aliases make much of little, or it contains itself."""
        root: yaml.Node | None = super().get_single_node()
        if root is not None and _values(root, {}) > MAX_SETTINGS_CHARS:
            raise yaml.constructor.ConstructorError(None, None, "its aliases make too much of it", root.start_mark)
        return root

    # Of two equal keys the last would win in silence, and a whole block of sources be dropped.
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _values(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Return how many values a node has, each as often as aliases repeat it."""
    if node not in counts:
        counts[node] = MAX_SETTINGS_CHARS  # of a node that contains itself
        nodes = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        inner = () if isinstance(node, yaml.ScalarNode) else nodes
        counts[node] = 1 + sum(_values(one, counts) for one in inner)
    return counts[node]


def _problem_with_value(node: yaml.ScalarNode) -> str | None:
    if _NO_TEXT.search(node.value):
        return "NUL and half characters can't be"
    return "a number of so many digits can't be" if node.tag == _INT and len(node.value) > MAX_INT_CHARS else None


def _contradictions(settings: Settings) -> Iterator[str]:
    try:
        KeyTemplate(settings.archive.key, prefix=settings.archive.prefix)
    except SettingsError as error:
        yield f"archive.key: {error}"
    names = [source.name for source in settings.sources]
    for number, source in enumerate(settings.sources):
        if source.name in names[:number]:
            yield f"sources.{number}.name: {source.name!r} is used twice"
        if isinstance(source, S3Source) and urlsplit(source.root).netloc == settings.archive.bucket:
            yield f"sources.{number}.s3: {settings.archive.bucket!r} is the archive bucket itself"
        if source.bundle and settings.codec != "zstd":
            yield f"sources.{number}.bundle: a bundle is compressed with zstd, and codec is {settings.codec}"
    yield from _loops(settings)
    if settings.verify.tier == "read" and not settings.verify.read_connection:
        yield "verify.read_connection: tier read needs a connection that may read"
    archived_by = settings.notify.archived_by if settings.notify else None
    if archived_by is not None and archived_by <= settings.schedule.time_of_day:
        yield f"notify.archived_by: it has to be later than the time of schedule.cron, {settings.schedule.cron!r}"


def _loops(settings: Settings) -> Iterator[str]:
    """Yield what would be written below a source: the next run would archive it again, and so on."""
    written = {"staging": settings.staging_root}
    for number, source in enumerate(settings.sources):
        if folder := folder_to_move_to(source.after):
            written[f"sources.{number}.after"] = folder
    for source in settings.sources:
        roots = [source.root] if isinstance(source, FileSource | S3Source) else []
        for where, folder in written.items():
            if any(_is_below(folder, root) for root in roots):
                yield f"{where}: {folder} is below source {source.name}, which would archive what is written there"


def _is_below(folder: str, root: str) -> bool:
    """Return whether a folder or URL is below another, or the same; links are followed."""
    parts = urlsplit(folder)
    if parts.scheme not in ("", "file"):
        # Without the connection that Airflow's URLs may name: s3://aws_default@bucket/staging.
        folder = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    elif "://" not in root:
        folder, root = os.path.realpath(unquote(parts.path) if parts.scheme else folder), os.path.realpath(root)
    return f"{folder.rstrip('/')}/".startswith(f"{root.rstrip('/')}/")
