"""Bundles: many small files in one object that tar opens, and of which each file is a range."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import tarfile
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_archival import codec as codecs
from log_archival.exceptions import CompressionError, SettingsError
from log_archival.keys import KeyTemplate
from log_archival.pipeline.bundles import MAX_MEMBER_BYTES, UNKNOWN_BYTES, assign_bundles, compress_bundle
from log_archival.pipeline.collect import find_log_files, log_plan
from log_archival.pipeline.compressor import Compressor, expected_key
from log_archival.records import Archive
from tests.support.archives import day, sha256
from tests.support.batches import damage_compression
from tests.support.bundles import MIB, MTIME_NS, Bundles, Destinations, MemorySource, bundles_of
from tests.support.log_files import log_file
from tests.support.servers import find_program, require_packages

LINE = b"2026-11-22T10:00:00Z GET /orders 200\n"
CONTENTS = {
    "empty.log": b"",
    "one.log": LINE,
    "a/b/deep.log": LINE * 100,
    "exactly a block.log": b"x" * 512,
    "compressed.log.gz": b"\x1f\x8b" + bytes(range(256)),
    "-rf ü \udcff\n.log": LINE * 2,
    f"{'d' * 200}/{'f' * 200}.log": LINE * 3,
}
MANY = {f"host-{number % 7}/{number:04}.log": LINE * (number % 500) for number in range(2_500)}


def made_of(contents: dict[str, bytes], **arguments: object) -> Bundles:
    return bundles_of(day(), MemorySource("app", contents, **arguments))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def many() -> Bundles:
    """The bundles of many files."""
    return made_of(MANY, bundle=4 * MIB)


def content_of(archive: Archive, bundles: Bundles) -> bytes:
    """Decompress an archive's range of its bundle, and nothing else."""
    stored = bundles.objects[archive.key][archive.bundle_offset :][: archive.stored_size]
    assert sha256(stored) == archive.stored_sha256
    return b"".join(codecs.decompress(io.BytesIO(stored), codecs.ZSTD))


def test_bundle_is_opened_by_tar(tmp_path: Path) -> None:
    require_packages("zstd")
    bundles = made_of(CONTENTS)
    path = tmp_path / "bundle.tar.zst"
    path.write_bytes(bundles.objects[bundles.key])
    subprocess.run([find_program("tar"), "--zstd", "-xf", path, "-C", tmp_path], check=True)
    subprocess.run([find_program("zstd"), "-tq", path], check=True)
    path.unlink()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {str(file.relative_to(tmp_path)): file.read_bytes() for file in files} == CONTENTS
    status = (tmp_path / "one.log").stat()
    assert (status.st_mtime, status.st_mode & 0o777) == (MTIME_NS // 10**9, 0o600)


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1), min_size=1, max_size=3)
        .map("/".join)
        .filter(lambda name: not {"", ".", ".."} & set(name.split("/")) and len(name.encode()) < 4096),
        st.binary(max_size=2000),
        min_size=1,
    )
)
def test_bundle_is_a_tar_of_any_names_and_contents(contents: dict[str, bytes]) -> None:
    bundles = made_of(contents)
    body = b"".join(codecs.decompress(io.BytesIO(bundles.objects[bundles.key]), codecs.ZSTD))
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert {member.name: tar.extractfile(member).read() for member in tar} == contents  # type: ignore[union-attr]
    assert {archive.name: content_of(archive, bundles) for archive in bundles.archives} == contents


def test_archives_of_a_bundle_say_where_each_file_is() -> None:
    bundles = made_of(CONTENTS)
    body = bundles.objects[bundles.key]
    assert bundles.key == f"logs/2026/11/22/app/~bundle-{sha256(body)[:32]}.tar.zst"
    assert {archive.name: content_of(archive, bundles) for archive in bundles.archives} == CONTENTS
    first = bundles.archives[0]
    digest = sha256(CONTENTS[first.name])
    assert first == Archive(
        source="app", root="memory://logs", name=first.name, file_size=len(CONTENTS[first.name]),
        file_mtime_ns=MTIME_NS, file_sha256=digest, part=1, parts=1, key=bundles.key,
        codec="zstd", content_type="application/zstd", raw_size=len(CONTENTS[first.name]), raw_sha256=digest,
        stored_size=first.stored_size, stored_sha256=first.stored_sha256, staged="data-0001-00000000-000001.bin",
        offset=0, bundle_size=len(body), bundle_sha256=sha256(body), bundle_offset=first.bundle_offset,
    )  # fmt: skip
    assert expected_key(first, day(), KeyTemplate()) == bundles.key


def test_bundles_are_the_same_for_the_same_files(many: Bundles) -> None:
    assert made_of(MANY, bundle=4 * MIB).objects == many.objects


@pytest.mark.parametrize(
    "name", ["host-0/!new.log", "host-3/1000a.log", "host-6/~.log"], ids=["first", "middle", "last"]
)
def test_new_file_changes_its_own_bundle_and_few_others(name: str, many: Bundles) -> None:
    after = made_of({**MANY, name: LINE}, bundle=4 * MIB)
    assert len(many.objects) > 8
    assert len(after.objects.keys() - many.objects.keys()) <= 2


def test_bundles_have_the_size_that_was_given(many: Bundles) -> None:
    raw = [len(b"".join(codecs.decompress(io.BytesIO(body), codecs.ZSTD))) for body in many.objects.values()]
    assert max(raw) <= 4 * MIB + 1024  # and the end of the tar
    assert sum(raw) / len(raw) > MIB
    assert sorted(archive.name for archive in many.archives) == sorted(MANY)


def test_files_that_are_not_small_are_put_alone() -> None:
    contents = {"small.log": b"x" * MAX_MEMBER_BYTES, "large.log": b"x" * (MAX_MEMBER_BYTES + 1), "tiny.log": b"x"}
    bundles = made_of(contents)
    assert [archive.name for archive in bundles.archives] == ["small.log", "tiny.log"]
    assert [file.name for file in bundles.alone] == ["large.log"]


def test_file_of_unknown_size_is_put_alone_when_it_is_not_small() -> None:
    contents = {"a.log": b"x" * (MAX_MEMBER_BYTES + 1), "b.log": LINE}
    bundles = made_of(contents, knows_sizes=False)
    assert [archive.name for archive in bundles.archives] == ["b.log"]
    assert [file.name for file in bundles.alone] == ["a.log"]


def test_files_of_unknown_size_make_several_bundles_when_they_are_too_many() -> None:
    chance = random.Random(1)
    contents = {f"{number:03}.log": chance.randbytes(MIB) for number in range(10)}
    bundles = made_of(contents, knows_sizes=False, bundle=4 * MIB)
    assert len(bundles.groups) * 4 * MIB < 10 * MIB  # as far as one could tell, they fitted into fewer
    assert max(map(len, bundles.objects.values())) <= 4 * MIB + (64 << 10)
    assert {archive.name: content_of(archive, bundles) for archive in bundles.archives} == contents


class SlowSource(MemorySource):
    """Waiting for a service."""

    concurrent_reads: ClassVar[int | None] = 3


def test_bundles_are_the_same_however_many_files_are_read_at_once() -> None:
    assert bundles_of(day(), SlowSource("app", CONTENTS)).objects == made_of(CONTENTS).objects


def test_file_that_can_not_be_read_is_left_out_of_its_bundle() -> None:
    bundles = bundles_of(day(), MemorySource("app", {"a.log": LINE, "b.log": None, "c.log": LINE}))
    assert [archive.name for archive in bundles.archives] == ["a.log", "c.log"]
    assert [(failure.name, failure.error) for failure in bundles.groups[0].failures] == [
        ("b.log", "can't read memory://logs/b.log")
    ]


def test_group_of_which_nothing_can_be_read_is_no_bundle() -> None:
    assert bundles_of(day(), MemorySource("app", {"a.log": None})).objects == {}


@pytest.mark.parametrize("codec", [codecs.GZIP, codecs.NONE], ids=lambda codec: codec.name)
def test_bundle_of_another_codec_is_refused(codec: codecs.Codec) -> None:
    source = MemorySource("app", CONTENTS)
    [first, *_] = assign_bundles(source.find(day()).files, source.bundle)
    with pytest.raises(
        SettingsError, match=f"source app: a bundle is compressed with zstd, and the codec is {codec.name}"
    ):
        compress_bundle(Compressor(day(), KeyTemplate(), {"app": source}, codec), [first], Destinations().open)


def test_log_file_can_not_have_the_key_of_a_bundle() -> None:
    body = b"a bundle"
    key = KeyTemplate().bundle_key(day(), source="app", digest=sha256(body))
    for name in ("~bundle.tar", "~bundle", f"~bundle-{sha256(body)[:32]}.tar.zst"):
        assert KeyTemplate().archive_key(
            day(), source="app", name=name, digest=hashlib.sha256(body).hexdigest(), codec_suffix=".zst", part=None
        ) != key  # fmt: skip


@given(st.lists(st.integers(0, 2 * MAX_MEMBER_BYTES) | st.none(), max_size=60), st.integers(4, 16))
def test_assigned_files_are_all_there_and_groups_have_room(sizes: list[int | None], bundle_mib: int) -> None:
    files = [log_file(f"{number:03}.log", size) for number, size in enumerate(sizes)]
    assigned = assign_bundles(files, bundle_mib * MIB)
    assert sorted(file.name for file in assigned) == [file.name for file in files]
    groups: dict[int, int] = {}
    for file in assigned:
        if file.bundle:
            size = UNKNOWN_BYTES if file.size is None else file.size
            groups[file.bundle] = groups.get(file.bundle, 0) + size
    assert all(size <= bundle_mib * MIB for size in groups.values())
    assert list(groups) == sorted(groups)
    assert {file.name for file in assigned if not file.bundle} == {
        file.name for file in files if file.size is not None and file.size > MAX_MEMBER_BYTES
    }


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_small_file_is_compressed_as_any_other(content: bytes) -> None:
    part, stored = codecs.compress_frame(content)
    body = io.BytesIO()
    result = codecs.compress(io.BytesIO(content), codecs.ZSTD, lambda _: nullcontext(body), size_hint=len(content))
    assert ([part], stored) == (result.parts, body.getvalue())


@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
def test_damaged_compression_of_a_small_file_is_found(monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    damage_compression(monkeypatch, "zstd")
    monkeypatch.setattr(codecs, "ZSTD", codecs.CODECS["zstd"])
    source = MemorySource("app", {"a.log": LINE * 10})
    compressor = Compressor(day(), KeyTemplate(), {"app": source}, codecs.ZSTD, check=check)
    files = assign_bundles(source.find(day()).files, source.bundle)
    if check:
        with pytest.raises(CompressionError, match="does not decompress to what went in"):
            compress_bundle(compressor, files, Destinations().open)
    else:
        compress_bundle(compressor, files, Destinations().open)


def test_plan_says_that_a_file_goes_into_a_bundle(caplog: pytest.LogCaptureFixture) -> None:
    source = MemorySource("app", {"a.log": LINE, "large.log": b"x" * (MAX_MEMBER_BYTES + 1)})
    with caplog.at_level("INFO"):
        log_plan(find_log_files([source], day()), Compressor(day(), KeyTemplate(), {"app": source}), [source])
    keys = [text.rpartition(" -> ")[2] for text in caplog.messages if " -> " in text]
    digest = sha256(b"x" * (MAX_MEMBER_BYTES + 1))[:32]
    assert keys == ["logs/2026/11/22/app/~bundle-….tar.zst", f"logs/2026/11/22/app/large-{digest}.log.zst"]
