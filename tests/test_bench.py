"""The benchmark, at sizes where its figures mean nothing: it runs to its end, and says all that it should."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as bench
from tests.bench import corpus, growth, harness, peers
from tests.bench.report import Section, Target, table

pytestmark = pytest.mark.store


@pytest.fixture
def without_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_tools", lambda say, install: {})


@pytest.mark.usefixtures("without_tools")
def test_it_measures_writes_json_and_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The server's sockets lie in it, and their paths have to be short.
    folder = Path(tempfile.mkdtemp(prefix="b-"))
    monkeypatch.setattr("tests.bench.small.SAMPLE", 2)
    output = tmp_path / "bench.json"
    arguments = ["--only", "large", "small", "repeat", "--repeat", "1", "--scale", "0.0005"]
    bench.main([*arguments, "--dir", str(folder), "--output", str(output)])
    printed = capsys.readouterr().out
    assert "Missing, and left out: aws, pigz, s5cmd, zstd" in printed
    found: dict[str, Any] = json.loads(output.read_text())
    assert found["missing"] == ["aws", "pigz", "s5cmd", "zstd"]
    large = {row["what"]: row for row in found["sections"]["large"]["rows"]}
    ours = large["ours, one task, zstd"]
    assert ours["seconds"] > 0
    assert ours["x stock"] == pytest.approx(ours["MB/s raw"] / large["stock hook, 1 process"]["MB/s raw"])
    assert 0.15 < ours["stored/raw"] < 0.3, "logs compress to a fourth to a sixth"
    assert large["zstd -3 -T2, s5cmd cp"]["seconds"] == "no zstd s5cmd"
    assert large["zstd -3 -T2, s5cmd cp"]["MB/s raw"] is None
    assert "python-zstandard" in found["sections"]["large"]["notes"][0]
    targets = {target["what"]: target["met"] for target in found["sections"]["large"]["targets"]}
    assert targets["one task, to zstd and s5cmd"] is None
    assert targets["stored bytes, to gzip -9's"] in (True, False)
    small = {row["what"]: row for row in found["sections"]["small"]["rows"]}
    assert small["ours, one task"]["PUT/s"] > 0
    assert [row["run"] for row in found["sections"]["repeat"]["rows"]] == ["first", "second"] * 2
    folder.rmdir()  # what it wrote is removed: otherwise this fails


def test_a_variant_that_does_not_put_everything_is_an_error(store: Any, tmp_path: Path) -> None:
    run = harness.Bench(store, tmp_path, repeat=1)
    with pytest.raises(harness.BenchError, match="lazy put 0 objects instead of 1"):
        harness.in_turns(run, [harness.Variant("lazy", lambda bucket: None, objects=1)])


def test_a_tool_that_fails_is_an_error(store: Any, tmp_path: Path) -> None:
    run = harness.Bench(store, tmp_path, tools={"false": Path("/bin/false")})
    with pytest.raises(harness.BenchError, match="false ended with 1"):
        run.run("false")


def test_the_median_and_the_turns(store: Any, tmp_path: Path) -> None:
    taken, order = iter([3.0, 1.0, 2.0]), []
    variants = [
        harness.Variant("a", lambda bucket: order.append("a") or next(taken)),
        harness.Variant("b", lambda bucket: order.append("b") or 1.0, most=1),
    ]
    found = harness.in_turns(harness.Bench(store, tmp_path, repeat=3), variants)
    assert (found["a"].median, found["a"].spread, found["b"].seconds) == (2.0, "1-3", [1.0])
    assert order == ["a", "b", "a", "a"]


@pytest.mark.parametrize(
    ("value", "at_most", "met"),
    [
        pytest.param(10.0, False, True, id="reached"),
        pytest.param(9.9, False, False, id="too low"),
        pytest.param(10.1, True, False, id="too high"),
        pytest.param(None, False, None, id="not measured"),
    ],
)
def test_targets(value: float | None, at_most: bool, met: bool | None) -> None:
    target = Target("speed", value, 10, at_most=at_most)
    assert target.met is met
    assert ("NOT MET" in str(target)) is (met is False)


def test_the_table_has_all_columns_aligned() -> None:
    lines = table(("what", "MB/s"), [{"what": "ours", "MB/s": 1234.5}, {"what": "other"}])
    assert lines == ["what    MB/s", "-" * 12, "ours   1,234", "other      -"]
    section = Section("large", "title", ("what",), notes=["a note"])
    assert "## large: title" in str(section)
    assert "Note: a note" in str(section)


def test_growth_is_the_exponent() -> None:
    assert growth.slope([1, 4, 16], [2, 8, 32]) == pytest.approx(1)
    assert growth.slope([1, 10, 100], [1, 100, 10_000]) == pytest.approx(2)
    assert math.isclose(growth.slope([1, 10], [5, 5]), 0, abs_tol=1e-9)


def test_small_files_are_of_the_day_and_no_two_are_alike(tmp_path: Path) -> None:
    paths = corpus.small_files(tmp_path / "logs", 250, 8192)
    contents = {path.read_bytes() for path in paths}
    assert len(contents) == 250
    assert all(8192 < len(content) < 8192 + 400 for content in contents)
    assert {path.stat().st_mtime for path in paths} == {corpus._NOON}
