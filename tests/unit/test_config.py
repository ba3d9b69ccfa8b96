"""archive.yaml: the shipped one works, and of a wrong one every wrong field is named."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from log_archival.config import SETTINGS_VARIABLE, Settings, load_settings, settings_file
from log_archival.exceptions import SettingsError
from log_archival.keys import DEFAULT_KEY
from log_archival.sources.files import FileSource

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
        (source(**{"class": "x.Y"}), "and not ['path', 'class']"),
        (changed(sources=[{"path": "/var/log"}]), "sources.0: name: Field required"),
        (source(name="a/b"), "sources.0: source name 'a/b' may have letters"),
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


def test_environment_variable_names_another_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SETTINGS_VARIABLE, raising=False)
    assert settings_file(SHIPPED) == SHIPPED
    monkeypatch.setenv(SETTINGS_VARIABLE, "")
    assert settings_file(SHIPPED) == SHIPPED
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(changed(codec="gzip", staging="s3://bucket/staging")))
    monkeypatch.setenv(SETTINGS_VARIABLE, str(other))
    settings = load_settings(settings_file(SHIPPED))
    assert settings.codec == "gzip"
    assert settings.staging_root == "s3://bucket/staging"


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
