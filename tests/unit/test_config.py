"""archive.yaml: the shipped one works, and of a wrong one every wrong field is named."""

from __future__ import annotations

import copy
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from log_archival.config import SETTINGS_VARIABLE, Settings, load_settings, parse_settings, settings_files
from log_archival.exceptions import SettingsError
from log_archival.keys import DEFAULT_KEY
from log_archival.sources.base import Source
from log_archival.sources.files import FileSource
from tests.support.other_team import FolderSource, LetterSource, PlainSource

SHIPPED = Path(__file__).parents[2] / "include" / "archive.yaml"
LEAST: dict[str, Any] = {
    "archive": {"bucket": "acme-log-archive"},
    "sources": [{"name": "app", "path": "/var/log/app"}],
}


def load(tmp_path: Path, document: Any) -> Settings:
    path = tmp_path / "archive.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return load_settings(path)


def changed(**fields: Any) -> dict[str, Any]:
    """The least settings, with other fields: `archive__bucket` for one of a section, None for none."""
    document = copy.deepcopy(LEAST)
    for name, value in fields.items():
        section, _, field = name.partition("__")
        if field:
            document.setdefault(section, {})[field] = value
        else:
            document[section] = value
    return document


def source(**fields: Any) -> dict[str, Any]:
    return changed(sources=[LEAST["sources"][0] | fields])


def test_shipped_file_is_valid() -> None:
    settings = load_settings(SHIPPED)
    assert settings.archive.bucket == "acme-log-archive"
    assert [entry.name for entry in settings.sources] == ["app", "nginx"]
    assert settings.sources[0].root == "/var/log/app"
    assert (settings.part_size, settings.batch_size) == (512 << 20, 256 << 20)


def test_shipped_file_names_the_defaults(tmp_path: Path) -> None:
    shipped, least = load_settings(SHIPPED), load(tmp_path, LEAST)
    for field in ("archive", "schedule", "codec", "part_size", "batch_size", "staging", "verify"):
        assert getattr(shipped, field) == getattr(least, field), field
    assert least.archive.key == DEFAULT_KEY
    assert least.codec == "zstd"


BUNDLED = [{"path": "/var/log/app"}, {"s3": "s3://acme-logs/app"}, {"cloudwatch": "/app/*"}]


@pytest.mark.parametrize("kind", BUNDLED, ids=lambda kind: next(iter(kind)))
@pytest.mark.parametrize(("text", "size"), [("64 MiB", 64 << 20), (8 << 20, 8 << 20), (None, None)], ids=repr)
def test_every_kind_of_source_may_have_bundles(kind: Any, text: Any, size: int | None, tmp_path: Path) -> None:
    settings = load(tmp_path, changed(sources=[{"name": "app", "bundle": text, **kind}]))
    assert settings.sources[0].bundle == size


@pytest.mark.parametrize(
    ("text", "size"),
    [("16 MiB", 16 << 20), ("1 GiB", 1 << 30), ("20000 kB", 20_000_000), ("19 MB", 19_000_000), ("5 GiB", 5 << 30),
     (16777216, 16777216), ("16777216 B", 16777216), ("20480 KiB", 20480 << 10), (" 16 MiB ", 16 << 20)],
)  # fmt: skip
def test_size_is_read_with_its_unit(text: str | int, size: int, tmp_path: Path) -> None:
    assert load(tmp_path, changed(part_size=text)).part_size == size


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        (changed(part_size="512 Mobit"), "part_size: could not interpret byte unit: Mobit"),
        (changed(part_size="-8 MiB"), "part_size: could not parse value and unit"),
        (changed(part_size="1 MiB"), "part_size: Input should be greater than or equal to 16777216"),
        (changed(part_size="6 GiB"), "part_size: Input should be less than or equal to 5368709120"),
        (changed(batch_size="1 kB"), "batch_size: "),
        (changed(archive__bucket="Acme"), "archive.bucket: the bucket 'Acme' can't be"),
        (changed(archive__buckt="acme"), "archive.buckt: Extra inputs are not permitted"),
        (changed(archive={}), "archive.bucket: Field required"),
        (changed(archive=None), "archive: "),
        (changed(archive__key="logs/{path}"), "archive.key: key template 'logs/{path}' needs %Y, %m and %d"),
        (
            changed(archive__key="logs/%Y/%m/%d/{source}/{path}{suffix}"),
            "so that a run can be repeated without reading",
        ),
        (changed(archive__prefix="data/"), "archive.key: key template"),
        (changed(archive__max_concurrent_requests=0), "archive.max_concurrent_requests: "),
        (changed(archive__max_concurrent_requests=257), "archive.max_concurrent_requests: "),
        (changed(codec="brotli"), "codec: Input should be 'zstd', 'gzip' or 'none'"),
        (changed(schedule__timezone="Mars"), "schedule.timezone: 'Mars' is not a time zone such as Europe/Paris"),
        (changed(schedule__timezone="Europe"), "schedule.timezone: 'Europe' is not a time zone"),
        (changed(schedule__cron="@daily"), "schedule: cron '@daily' has to name one time of every day"),
        (changed(schedule__cron="30 4 * * 1"), "schedule: cron '30 4 * * 1' has to name"),
        (changed(schedule__cron="30 25 * * *"), "schedule: cron '30 25 * * *' has to name"),
        (changed(schedule={"cron": "30 2 * * *", "timezone": "Europe/Paris"}), "use 04:00 or later, or UTC"),
        (changed(verify__tier="full"), "verify.tier: Input should be 'receipts', 'probe' or 'read'"),
        (changed(verify__tier="read"), "verify.read_connection: tier read needs a connection that may read"),
        (changed(verify__depth="all"), "verify.depth: "),
        (changed(sources=[]), "sources: List should have at least 1 item"),
        (changed(sources={"app": "/var/log"}), "sources: "),
        (changed(sources=[{"name": "app"}]), "sources.0: it has one of `path:`, "),
        (changed(sources=["app"]), "sources.0: it is a mapping that begins with `name:`"),
        (source(s3="s3://logs/app"), "sources.0: it has one of `path:`, `s3:`, `cloudwatch:` and `class:`, and not"),
        (changed(sources=[{"path": "/var/log"}]), "sources.0: name: Field required"),
        (source(name="a/b"), "sources.0: source name 'a/b' may have letters"),
        (changed(staging="staging"), "staging: 'staging' is neither an absolute path nor a URL"),
        (changed(staging="gs://bucket/x"), "staging: 'gs://bucket/x' is neither an absolute path nor a URL"),
        (changed(staging="s3://conn@Bad_Bucket/x"), "staging: "),
        (changed(staging="file:staging"), "staging: 'file:staging' is neither an absolute path nor a URL"),
        (source(path="var/log"), "sources.0: source app: path 'var/log' is not absolute"),
        (source(path="s3://b/x"), "sources.0: source app: 's3://b/x' is not a local path"),
        (source(pattern="../*"), "sources.0: source app: pattern '../*' must stay below"),
        (source(pattern="a**"), "sources.0: source app: in pattern 'a**', ** has to be"),
        (source(min_files=-1), "sources.0: source app: min_files -1 is less than 0"),
        (source(min_files="some"), "sources.0: min_files: Input should be a valid integer"),
        (source(patern="*"), "sources.0: patern: Unexpected keyword argument"),
        (source(path=1), "sources.0: path: Input should be a valid string"),
        (source(after="remove"), "sources.0: source app: after is one of keep, delete and 'move: /absolute/folder'"),
        (source(after="move: relative"), "sources.0: source app: after is one of"),
        (source(rotated="yesterday"), "sources.0: rotated: Input should be 'same-day' or 'next-day'"),
        (source(rotated="next-day"), "`rotated: next-day` is about the date in names, and '**/*' has none"),
        (source(rotated_until="24:00"), "sources.0: source app: rotated_until '24:00' is not a time such as 01:00"),
        (source(rotated_until="1:00"), "sources.0: source app: rotated_until '1:00' is not a time"),
        (source(rotation_problems="ignore"), "sources.0: rotation_problems: Input should be 'fail' or 'accept'"),
        (source(bundle="1 MiB"), "sources.0: bundle: Input should be greater than or equal to 4194304"),
        (source(bundle="1 GiB"), "sources.0: bundle: Input should be less than or equal to 536870912"),
        (source(bundle="large"), "sources.0: bundle: could not parse value and unit"),
        (
            source(bundle="64 MiB") | {"codec": "gzip"},
            "sources.0.bundle: a bundle is compressed with zstd, and codec is",
        ),
        (changed(sources=LEAST["sources"] * 2), "sources.1.name: 'app' is used twice"),
        (changed(emails=["a@b"]), "emails: Extra inputs are not permitted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_field_is_named(document: Any, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, document)
    head, *lines = str(caught.value).splitlines()
    assert head == f"{tmp_path}/archive.yaml is not right:"
    assert any(line.startswith("  ") and wrong in line for line in lines), lines
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        (
            changed(
                codec="x",
                part_size="x",
                archive__bucket="X",
                verify__tier="x",
                typo=1,
                sources=[{"name": "a/b", "path": "/x"}, {"name": "c", "path": "x"}],
            ),
            ["archive.bucket", "codec", "part_size", "sources.0", "sources.1", "verify.tier", "typo"],
        ),
        (
            changed(
                archive__key="x",
                sources=[{"name": "a", "path": "/x"}, {"name": "c", "path": "/y"}, {"name": "c", "path": "/z"}],
                verify__tier="read",
            ),
            ["archive.key", "sources.2.name", "verify.read_connection"],
        ),
    ],
    ids=["values", "contradictions"],
)
def test_wrong_fields_are_all_named_at_once(document: Any, wrong: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, document)
    named = [line.strip().split(": ")[0] for line in str(caught.value).splitlines()[1:] if line.startswith("  ")]
    assert sorted(named) == sorted(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has to be a mapping that begins with `archive:`"),
        ("- a\n- b\n", "has to be a mapping"),
        ("archive: [", "is not YAML: "),
        ("archive: !!python/object/apply:os.system ['true']\n", "is not YAML: "),
        ("sources:\n  - after: move: /x\n", "is not YAML: "),
    ],
    ids=["empty", "list", "unfinished", "code", "unquoted"],
)
def test_file_that_is_no_mapping_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "archive.yaml") in str(caught.value)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.yaml"
    path.write_bytes(b"archive: \xff\xfe\n")
    with pytest.raises(SettingsError, match="is not YAML"):
        load_settings(path)


def test_missing_file_has_a_hint(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=rf"can't read {tmp_path}/none\.yaml: No such file.*\n.*{SETTINGS_VARIABLE}"
    ):
        load_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize("named", [None, ""], ids=["not set", "empty"])
def test_settings_are_beside_the_dag_or_in_include(
    named: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(SETTINGS_VARIABLE, raising=False)
    if named is not None:
        monkeypatch.setenv(SETTINGS_VARIABLE, named)
    dags = tmp_path / "dags"
    assert settings_files(dags / "archive_logs.py") == [
        dags / "archive.yaml",
        dags / "include" / "archive.yaml",
        tmp_path / "include" / "archive.yaml",
    ]


def test_environment_variable_names_the_only_settings_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(changed(codec="gzip", staging="s3://bucket/staging")))
    monkeypatch.setenv(SETTINGS_VARIABLE, str(other))
    assert settings_files(SHIPPED) == [other]
    settings = load_settings(other)
    assert settings.codec == "gzip"
    assert settings.staging_root == "s3://bucket/staging"


def of_class(name: str, **fields: Any) -> dict[str, Any]:
    """Settings with a source of another team's class."""
    return changed(sources=[{"name": "team", "class": f"tests.support.other_team.{name}", **fields}])


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (of_class("LetterSource", letters="ab"), LetterSource("team", "ab")),
        (of_class("LetterSource", letters="ab", lines=5, min_files=0), LetterSource("team", "ab", 5, 0)),
        (of_class("FolderSource", path="/var/log"), FolderSource("team", "/var/log")),
    ],
    ids=["dataclass", "with defaults", "subclass of a kind"],
)
def test_class_of_another_team_gets_the_fields_as_arguments(document: Any, expected: Source, tmp_path: Path) -> None:
    [found] = load(tmp_path, document).sources
    assert found == expected
    assert type(found) is type(expected)


def test_class_that_is_no_dataclass_gets_the_fields_as_arguments(tmp_path: Path) -> None:
    [found] = load(tmp_path, of_class("PlainSource", path="anything")).sources
    assert isinstance(found, PlainSource)
    assert (found.name, found.path) == ("team", "anything")


OTHER_TEAM = "class 'tests.support.other_team"


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        (of_class("Missing"), f"{OTHER_TEAM}.Missing' can't be imported: AttributeError: "),
        (of_class("Reads"), f"{OTHER_TEAM}.Reads' is no subclass of log_archival.sources.base.Source"),
        (of_class("dataclass"), "is no subclass of log_archival.sources.base.Source"),
        (of_class("LetterSource"), "letters: Field required"),
        (of_class("LetterSource", letters="ab", lines="some"), "lines: Input should be a valid integer"),
        (of_class("LetterSource", letters="ab", colour="red"), "colour: Unexpected keyword argument"),
        (of_class("LetterSource", letters="1"), "source team: '1' are not letters"),
        (of_class("PlainSource"), "missing 1 required keyword-only argument: 'path'"),
        (of_class("PlainSource", path="x", colour="red"), "unexpected keyword argument 'colour'"),
        (of_class("PlainSource", path=""), "source team: path is empty"),
        (of_class("UnfinishedSource"), "Can't instantiate abstract class UnfinishedSource with abstract method"),
        (changed(sources=[{"name": "a", "class": "no_such_module.X"}]), "can't be imported: ModuleNotFoundError: "),
        (changed(sources=[{"name": "a", "class": "Source"}]), "class 'Source' can't be imported: ValueError: "),
        (changed(sources=[{"name": "a", "class": None}]), "class None can't be imported: "),
        (changed(sources=[{"name": "a", "class": ".relative.Source"}]), "can't be imported: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_class_or_field_of_it_is_named(document: Any, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, document)
    _, line = str(caught.value).splitlines()
    assert line.startswith("  sources.0: ")
    assert wrong in line


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("sources: []\nsources: []\n", "'sources' is given twice"),
        ("archive: {bucket: a, bucket: b}\n", "'bucket' is given twice"),
        ("sources:\n  - name: app\n    path: /a\n    name: web\n", "'name' is given twice"),
        ("x:\n  - y: {a: 1, b: {c: 1, c: 2}}\n", "'c' is given twice"),
        ("1: a\n1: b\n", "'1' is given twice"),
        ("? [a, b]\n: 1\n? [a, b]\n: 2\n", "found unhashable key"),
    ],
    ids=["sections", "of one section", "of one source", "deep", "numbers", "lists"],
)
def test_key_that_is_given_twice_is_refused(text: str, where: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=where) as caught:
        load(tmp_path, text)
    assert "line " in str(caught.value)


def test_equal_keys_of_different_mappings_are_no_repetition(tmp_path: Path) -> None:
    text = yaml.safe_dump(changed(sources=[{"name": name, "path": f"/{name}"} for name in ("a", "b")]))
    assert [one.name for one in load(tmp_path, text).sources] == ["a", "b"]


#: Below the test's folder are `logs`, `logs/app`, `other`, and `link`, which leads to `logs/app`.
LOOPS: dict[str, tuple[dict[str, Any], str]] = {
    "staging below": ({"path": "{}/logs", "staging": "{}/logs/staging"}, "staging: {}/logs/staging is below"),
    "staging equal": ({"path": "{}/logs", "staging": "{}/logs/"}, "staging: {}/logs/ is below source app"),
    "staging above": ({"path": "{}/logs/app", "staging": "{}/logs"}, ""),
    "staging beside": ({"path": "{}/logs/app", "staging": "{}/logs/app-staging"}, ""),
    "staging by a link": ({"path": "{}/logs", "staging": "{}/link/staging"}, "staging: {}/link/staging is below"),
    "staging through dots": ({"path": "{}/logs", "staging": "{}/other/../logs/x"}, "is below source app"),
    "source by a link": ({"path": "{}/link", "staging": "{}/logs/app/staging"}, "is below source app"),
    "source by a URL": ({"path": "file://{}/logs", "staging": "{}/logs/staging"}, "is below source app"),
    "staging by a URL": ({"path": "{}/logs", "staging": "file://{}/logs/staging"}, "is below source app"),
    "staging by a quoted URL": ({"path": "{}/logs", "staging": "file://{}/%6Cogs/staging"}, "is below source app"),
    "staging in S3": ({"path": "{}/logs", "staging": "s3://logs/staging"}, ""),
    "root folder": ({"path": "/", "staging": "{}/staging"}, "is below source app"),
    "moved below": ({"path": "{}/logs", "after": "move: {}/logs/done"}, "sources.0.after: {}/logs/done is below"),
    "moved by a link": ({"path": "{}/logs/app", "after": "move: {}/link"}, "sources.0.after: {}/link is below"),
    "moved beside": ({"path": "{}/logs/app", "after": "move: {}/other"}, ""),
    "S3, staging below": (
        {"s3": "s3://logs/app", "staging": "s3://aws_default@logs/app/staging"}, "is below source app",
    ),
    "S3, staging beside": ({"s3": "s3://logs/app", "staging": "s3://logs/staging"}, ""),
    "S3, another bucket": ({"s3": "s3://logs/app", "staging": "s3://logs2/app/staging"}, ""),
    "S3, the whole bucket": ({"s3": "s3://logs", "staging": "s3://logs/staging"}, "is below source app"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "wrong"), LOOPS.values(), ids=LOOPS)
def test_what_is_written_below_a_source_is_refused(fields: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    (tmp_path / "logs" / "app").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "logs" / "app")
    filled = {name: value.format(tmp_path) for name, value in fields.items()}
    staging = filled.pop("staging", "/nowhere")
    document = changed(sources=[{"name": "app", **filled}], staging=staging)
    if not wrong:
        assert load(tmp_path, document).staging_root == staging
        return
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, document)
    [_, line] = str(caught.value).splitlines()
    assert wrong.format(tmp_path) in line
    assert line.endswith("which would archive what is written there")


def test_folder_to_move_to_may_not_be_below_another_source(tmp_path: Path) -> None:
    sources = [{"name": "a", "path": "/a", "after": "move: /b/done"}, {"name": "b", "path": "/b"}]
    with pytest.raises(SettingsError, match=r"sources\.0\.after: /b/done is below source b"):
        load(tmp_path, changed(sources=sources))


def test_staging_by_default_may_not_be_below_a_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/srv/airflow")
    with pytest.raises(SettingsError, match="staging: /srv/airflow/staging is below source app"):
        load(tmp_path, source(path="/srv/airflow"))


@pytest.mark.parametrize("after", ["keep", "delete", "move: /var/log/archived"])
def test_after_is_passed_to_the_source(after: str, tmp_path: Path) -> None:
    assert load(tmp_path, source(after=after)).sources == [FileSource("app", "/var/log/app", after=after)]


def test_staging_is_in_airflow_home_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load(tmp_path, LEAST)
    monkeypatch.setenv("AIRFLOW_HOME", "/srv/airflow")
    assert settings.staging_root == "/srv/airflow/staging"
    monkeypatch.delenv("AIRFLOW_HOME")
    monkeypatch.setenv("HOME", "/home/airflow")
    assert settings.staging_root == "/home/airflow/airflow/staging"


NOTIFIER = {"class": "team.Notifier", "to": "ops"}
NOTIFY: dict[str, tuple[Any, str]] = {
    "no notifiers": ({"archived_by": "14:00"}, "notify.notifiers: Field required"),
    "none of them": ({"notifiers": []}, "notify.notifiers: List should have at least 1 item"),
    "no mapping": ({"notifiers": ["team.Notifier"]}, "notify.notifiers.0: it is a mapping that begins with `class:`"),
    "a number as a name": ({"notifiers": [NOTIFIER | {1: "x"}]}, "notify.notifiers.0: it is a mapping"),
    "no class": ({"notifiers": [{"to": "ops"}]}, "notify.notifiers.0: class None is not the path of a class"),
    "a class without module": ({"notifiers": [{"class": "Notifier"}]}, "'Notifier' is not the path of a class"),
    "a relative class": ({"notifiers": [{"class": ".team.Notifier"}]}, "is not the path of a class"),
    "a time without quotes": ({"notifiers": [NOTIFIER], "archived_by": 840}, "840 is not a time in quotes"),
    "no time": ({"notifiers": [NOTIFIER], "archived_by": "24:00"}, "notify.archived_by: '24:00' is not a time"),
    "before the schedule": ({"notifiers": [NOTIFIER], "archived_by": "04:30"}, "later than the time of schedule.cron"),
    "another field": ({"notifiers": [NOTIFIER], "to": "ops"}, "notify.to: Extra inputs are not permitted"),
}


@pytest.mark.parametrize(("notify", "wrong"), NOTIFY.values(), ids=NOTIFY)
def test_wrong_field_of_notify_is_named(notify: Any, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, changed(notify=notify, schedule={"cron": "30 4 * * *"}))
    _, line = str(caught.value).splitlines()
    assert wrong in line


def test_notifiers_in_the_comment_of_the_shipped_file_are_valid(tmp_path: Path) -> None:
    commented = SHIPPED.read_text()[SHIPPED.read_text().index("# notify:") :].partition("\n\n")[0]
    text = re.sub(r"^( *)# ", r"\1", commented, flags=re.MULTILINE)
    notify = load(tmp_path, changed(**yaml.safe_load(text))).notify
    assert notify
    assert notify.archived_by == timedelta(hours=14)
    [notifier] = notify.notifiers
    assert notifier.class_path == "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    assert notifier.arguments.keys() == {"to", "subject", "html_content"}


LEAST_TEXT = yaml.safe_dump(LEAST)


def bomb(first: str, other: str) -> str:
    """Return nine levels of nine aliases each: some hundred bytes that are 43 million values."""
    lines = [f"a0: &a0 {first}"]
    for level in range(1, 9):
        lines.append(f"a{level}: &a{level} {other % ', '.join([f'*a{level - 1}'] * 9)}")
    return "\n".join(lines)


BOMB = bomb("x", "[%s]")
#: PyYAML copies what is merged.
MERGE_BOMB = bomb("{k: v}", "{<<: [%s]}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{BOMB}\nnotify: {{notifiers: [{{class: a.b}}], archived_by: *a8}}", "its aliases make too much of it"),
        (f"{BOMB}\nsources: [{{name: app, class: *a8}}]", "its aliases make too much of it"),
        (f"{MERGE_BOMB}\n{LEAST_TEXT}", "its aliases make too much of it"),
        ("&all\narchive: *all\nsources: *all", "its aliases make too much of it"),
        ("[\n" * 2_000, "is not YAML: maximum recursion depth exceeded"),
        (f"{LEAST_TEXT}codec: 2026-13-01", "is not YAML: month must be in 1..12"),
        (f"{LEAST_TEXT}part_size: {'9' * 5_000}", "a number of so many digits can't be"),
        (f"{LEAST_TEXT}part_size: 0x{'f' * 5_000}", "a number of so many digits can't be"),
        (f"{LEAST_TEXT}staging: \"/st\\0aging\"", "NUL and half characters can't be"),
        (f"{LEAST_TEXT}staging: \"/st\\ud800aging\"", "NUL and half characters can't be"),
        (f"{LEAST_TEXT}staging: file:///st%00aging", "is neither an absolute path nor"),
        (f"{LEAST_TEXT}# {'x' * (1 << 18)}", "has more than 262,144 characters"),
    ],
    ids=["aliases", "aliases in a class", "merge keys", "itself", "deep", "no month", "digits", "hex digits", "nul",
         "half a character", "nul in a URL", "long"],
)  # fmt: skip
def test_hostile_yaml_is_refused_in_no_time(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=rf"^archive\.yaml [^$]*{message}"):
        parse_settings(text, "archive.yaml")


def test_aliases_that_are_meant_are_read() -> None:
    text = "archive: {bucket: acme-log-archive}\nsources: [&app {name: app, path: /logs}, {<<: *app, name: web}]"
    assert [one.name for one in parse_settings(text, "archive.yaml").sources] == ["app", "web"]
