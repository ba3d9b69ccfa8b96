"""Object keys: hostile names stay below their prefix, and no two files share a key."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import date
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from log_archival.exceptions import SettingsError
from log_archival.keys import (
    MAX_CANARY_BYTES,
    MAX_KEY_BYTES,
    KeyTemplate,
    canary_key,
    is_manifest_key,
    is_probe_or_canary,
    manifest_name,
    random_probe_key,
)
from log_archival.partition import Partition

DAY = Partition(date(2026, 11, 22))
PREFIX = "logs/2026/11/22/"
D1, D2 = "3fa85f64a1b20d7c9e5b8a1f6c3d2e40" + "0" * 32, "e" * 64
#: The rest of the key does not say which content it is.
DIGEST_FOLDER = KeyTemplate("logs/%Y/%m/%d/{source}/{digest}/{path}{suffix}")

# What a directory entry can be: any bytes but the slash and NUL, up to 255; neither '.' nor '..'.
_BYTES = st.one_of(
    st.binary(min_size=1, max_size=24),
    st.binary(min_size=200, max_size=255),
    # Pieces of which keys are made, to find names that imitate them.
    st.lists(
        st.sampled_from(
            [b".", b"-", b"%", b"~", b"a", b".log", b".part0001", b".zst", b"2e", D1[:32].encode(), b"\xff"]
        ),
        min_size=1,
        max_size=8,
    ).map(b"".join),
)
COMPONENTS = _BYTES.map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"_")).filter(lambda b: b not in (b".", b".."))
NAMES = st.lists(COMPONENTS, min_size=1, max_size=12).map(lambda parts: os.fsdecode(b"/".join(parts)))
SOURCES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", fullmatch=True)
# Few digests, so that they meet. The content decides them, and with them whether it is compressed.
DIGESTS = st.sampled_from([D1, D2, "0" * 64])
FILES = st.tuples(SOURCES | st.just("a"), NAMES, DIGESTS, st.none() | st.integers(1, 12_000))


def key_of(template: KeyTemplate, file: tuple[str, str, str, int | None], codec_suffix: str = ".zst") -> str:
    source, name, digest, part = file
    return template.archive_key(DAY, source=source, name=name, digest=digest, codec_suffix=codec_suffix, part=part)


@pytest.mark.parametrize(
    ("name", "part", "key"),
    [
        ("app.log", None, "app-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
        ("web-1/app.log", None, "web-1/app-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
        ("app.log", 2, "app-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.part0002.log.zst"),
        ("app", 12_345, "app-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.part12345.zst"),
        ("app.log.1", None, "app.log-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.1.zst"),
        ("app.log-20261122", None, "app.log-20261122-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.zst"),
        ("jobs.tar.gz", None, "jobs.tar-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.gz.zst"),
        (".hidden", None, ".hidden-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.zst"),
        ("ends.", None, "ends.-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.zst"),
        ("app.part0001", None, "app%2Epart0001-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.zst"),
        ("%Y/%m-%d.log", None, "%25Y/%25m-%25d-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
        ("{source}.log", None, "%7Bsource%7D-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
        ("a b/ü.log", None, "a%20b/%C3%BC-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
        ("\udcff\n.log", None, "%FF%0A-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
        ("...", None, "%2E%2E%2E-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.zst"),
        ("../x.log", None, "%2E%2E/x-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
        ("./x.log", None, "%2E/x-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
        ("a~b*?'\"<>.log", None, "a%7Eb%2A%3F%27%22%3C%3E-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"),
    ],
    ids=repr,
)  # fmt: skip
def test_archive_key_of(name: str, part: int | None, key: str) -> None:
    assert key_of(KeyTemplate(), ("app", name, D1, part)) == f"{PREFIX}app/{key}"


@given(FILES)
@example(("a", "/".join(["é" * 127] * 12), D1, 1))
def test_archive_key_is_below_its_day_and_its_source(file: tuple[str, str, str, int | None]) -> None:
    key = key_of(KeyTemplate(), file)
    assert key.startswith(f"{PREFIX}{file[0]}/")
    assert len(key.encode("ascii")) <= MAX_KEY_BYTES
    assert not {"", ".", ".."} & set(key.split("/"))
    assert re.fullmatch(r"[A-Za-z0-9!_.()/%~-]+", key)
    assert file[2][:32] in key


@given(FILES)
def test_archive_key_that_was_not_cut_has_the_whole_name(file: tuple[str, str, str, int | None]) -> None:
    source, name, digest, _ = file
    key = key_of(DIGEST_FOLDER, (source, name, digest, None), codec_suffix="")
    if "~" not in key:
        assert unquote_to_bytes(key.removeprefix(f"{PREFIX}{source}/{digest[:32]}/")) == os.fsencode(name)
    else:
        assert hashlib.sha256(os.fsencode(name)).hexdigest()[:32] in key


@given(FILES, FILES)
# Names that end like a digest, and like a part.
@example(("a", "q.-" + D2[:32], D1, None), ("a", f"q-{D1[:32]}.", D2, None))
@example(("a", "app.part0001", D1, None), ("a", "app", D1, 1))
@example(("a", "app.part0001.log", D1, None), ("a", "app.log", D1, 1))
def test_two_files_never_share_a_key(
    one: tuple[str, str, str, int | None], other: tuple[str, str, str, int | None]
) -> None:
    if one != other:
        assert key_of(KeyTemplate(), one) != key_of(KeyTemplate(), other)
        assert key_of(DIGEST_FOLDER, one) != key_of(DIGEST_FOLDER, other)


@given(NAMES, SOURCES)
def test_name_can_not_imitate_one_that_was_cut(name: str, source: str) -> None:
    long = "/".join([name, *["x" * 250] * 5])
    key = key_of(KeyTemplate(), (source, long, D1, None), codec_suffix="")
    path = key.removeprefix(f"{PREFIX}{source}/").removesuffix(f"-{D1[:32]}")
    assert "~" in path
    assert key_of(KeyTemplate(), (source, path, D1, None), codec_suffix="") != key


@settings(max_examples=20)
@given(NAMES, DIGESTS)
def test_archive_key_is_the_same_each_time(name: str, digest: str) -> None:
    file = ("app", name, digest, None)
    assert key_of(KeyTemplate(), file) == key_of(KeyTemplate(), file)


def test_day_prefix_is_different_for_each_day() -> None:
    days = [date.fromordinal(date(2026, 1, 1).toordinal() + offset) for offset in range(800)]
    prefixes = {KeyTemplate().day_prefix(Partition(day)) for day in days}
    assert len(prefixes) == len(days)
    assert KeyTemplate().day_prefix(DAY) == PREFIX
    assert KeyTemplate().manifest_key(DAY, D1) == f"{PREFIX}_manifest-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.json"


@pytest.mark.parametrize(
    ("template", "key"),
    [
        (
            "logs/year=%Y/month=%m/day=%d/{source}/{path}-{digest}{suffix}",
            "logs/year=2026/month=11/day=22/app/w/a-D.log",
        ),
        ("logs/%Y/%m/%d/{source}/{digest}/{path}{suffix}", "logs/2026/11/22/app/D/w/a.log"),
        ("logs/%Y-%m-%d/{source}/{path}/{digest}{suffix}", "logs/2026-11-22/app/w/a/D.log"),
        ("logs/%Y/%m/%d/{source}/%j/{path}-{digest}{suffix}", "logs/2026/11/22/app/326/w/a-D.log"),
    ],
    ids=["hive", "digest folder", "one folder", "day of the year"],
)
def test_template_may_be(template: str, key: str) -> None:
    keys = KeyTemplate(template)
    assert key_of(keys, ("app", "w/a.log", D1, None), codec_suffix="") == key.replace("D", D1[:32])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("archive/%Y/%m/%d/{source}/{path}{suffix}", "has to begin with the archive's prefix 'logs/'"),
        ("logs/%Y/%m/{source}/{path}{suffix}", "needs %Y, %m and %d in folders"),
        ("logs/%Y/%m/%d-{source}/{path}{suffix}", "needs %Y, %m and %d in folders"),
        ("logs/%%Y/%%m/%%d/{source}/{path}{suffix}", "may have the directives"),
        ("logs/%Y/%m/%d/%H/{source}/{path}{suffix}", "may have the directives"),
        ("logs/%Y/%m/%d/{source}/{path}{suffix}%", "may have the directives"),
        ("logs/{source}/%Y/%m/%d/{path}{suffix}", "needs %Y, %m and %d in folders before its first"),
        ("logs/%Y/%m/%d/{source}/{path}*{suffix}", "has a character that keys should not have"),
        ("logs/%Y/%m/%d/${{source}}/{source}/{path}{suffix}", "has a character that keys should not have"),
        ("logs/%Y/%m/%d/ü/{source}/{path}{suffix}", "has a character that keys should not have"),
        ("logs/%Y/%m/%d//{source}/{path}{suffix}", "has an empty, '.' or '..' folder"),
        ("logs/%Y/%m/%d/../{source}/{path}{suffix}", "has an empty, '.' or '..' folder"),
        ("logs/%Y/%m/%d/{source}/{path}{suffix}{host}", "has the unknown field 'host'; there are source, path"),
        ("logs/%Y/%m/%d/{source}/{path}{suffix}{}", "has the unknown field ''"),
        ("logs/%Y/%m/%d/{source}/{path.x}{suffix}", "has the unknown field 'path.x'"),
        ("logs/%Y/%m/%d/{source}/{digest}", "needs {path}, {suffix} and, as a folder of its own, {source}"),
        ("logs/%Y/%m/%d/{source}/{path}", "needs {path}, {suffix} and"),
        ("logs/%Y/%m/%d/{source}{path}{suffix}", "needs {path}, {suffix} and, as a folder of its own, {source}"),
        ("logs/%Y/%m/%d/{source}/{path!r}{suffix}", "has the unknown field 'path!r'"),
        ("logs/%Y/%m/%d/{source}/{path:>9}{suffix}", "has the unknown field 'path:>9'"),
        ("logs/%Y/%m/%d/{source}/{path", "has a character that keys should not have, or a brace without its other"),
        ("logs/%Y/%m/%d/{source}/{{path}}{suffix}", "or a brace without its other"),
        ("logs/%Y/%m/%d/{source}/{path}{suffix}", "needs {digest}: keys are content-addressed, so that a run can be"),
        ("logs/%Y/%m/%d/{source}/{path}digest{suffix}", "needs {digest}"),
        ("", "has to begin with the archive's prefix"),
    ],
)  # fmt: skip
def test_template_that_could_mix_days_or_files_is_refused(template: str, message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        KeyTemplate(template)
    assert repr(template) in str(caught.value)


@pytest.mark.parametrize("prefix", ["logs", "", "logs/%Y/"])
def test_prefix_that_bounds_nothing_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match="prefix"):
        KeyTemplate("logs/%Y/%m/%d/{source}/{path}{suffix}", prefix=prefix)


def test_template_that_leaves_no_room_is_refused() -> None:
    keys = KeyTemplate(f"logs/%Y/%m/%d/{'x' * 1000}/{{source}}/{{path}}-{{digest}}{{suffix}}")
    with pytest.raises(SettingsError, match=r"gives a key of over 1024 bytes for 'app.log'"):
        key_of(keys, ("app", "app.log", D1, None))


# --- keys of manifests, probes and canaries


@pytest.mark.parametrize(
    ("key", "recognized"),
    [
        (KeyTemplate().manifest_key(DAY, D1), True),
        (manifest_name(D1), True),
        (f"logs/a\nb/_manifest-{D1[:32]}.json", True),
        (f"{PREFIX}_manifest-{D1[:31]}.json", False),
        (f"{PREFIX}_manifest-{D1[:33]}.json", False),
        (f"{PREFIX}_manifest-{'A' * 32}.json", False),
        (f"{PREFIX}_manifest-{D1[:32]}.json\n", False),
        (f"{PREFIX}x_manifest-{D1[:32]}.json", False),
        (f"{PREFIX}app/_manifest-{D1[:32]}.json.zst", False),
    ],
    ids=["day", "no folder", "line end in a folder", "short", "long", "upper case", "line end", "prefixed", "archive"],
)
def test_manifest_key_is_recognized(key: str, recognized: bool) -> None:
    assert is_manifest_key(key) is recognized


def test_probe_keys_are_random_and_recognized() -> None:
    first, second = random_probe_key(PREFIX), random_probe_key(PREFIX)
    assert first != second
    assert first.startswith(PREFIX)
    assert is_probe_or_canary(first, 0)
    assert not is_probe_or_canary(first, 1)
    assert not is_probe_or_canary(first + "0", 0)


def test_canary_keys_are_recognized_while_small() -> None:
    key = canary_key("logs/", "0123456789abcdef")
    for canary in (key, f"{key}/{'0' * 16}"):
        assert is_probe_or_canary(canary, 1)
        assert is_probe_or_canary(canary, MAX_CANARY_BYTES)
        assert not is_probe_or_canary(canary, MAX_CANARY_BYTES + 1)
    assert not is_probe_or_canary(f"{key}/x", 1)
    assert not is_probe_or_canary("logs/_canary/x", 1)


def test_archive_keys_are_no_manifest_probe_or_canary() -> None:
    for name in (f"_manifest-{D1[:32]}.json", f"_probe-{D1[:32]}", "_canary/least-privilege-0123456789abcdef"):
        key = key_of(KeyTemplate(), ("app", name, D1, None))
        assert not is_manifest_key(key)
        assert not is_probe_or_canary(key, 0)
        assert not is_probe_or_canary(key, 1)
