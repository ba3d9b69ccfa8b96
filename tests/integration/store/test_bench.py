"""The benchmark, at sizes where its figures mean nothing: it runs to its end, and prints all that it should."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as bench
from tests.bench.harness import Bench, BenchError
from tests.bench.variants import Variant, in_turns
from tests.support.seaweed import Seaweed

pytestmark = pytest.mark.store


def rows(section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in section["rows"]}


@pytest.fixture
def without_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.peers.find_tools", lambda log, install: {})


@pytest.fixture
def sections(
    without_tools: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    # The paths of the server's sockets have to be short.
    folder = Path(tempfile.mkdtemp(prefix="b-"))
    monkeypatch.setattr("tests.bench.small.SAMPLE_FILES", 2)
    monkeypatch.setattr("tests.bench.latency.LEAST_FILES", 4)
    output = tmp_path / "bench.json"
    arguments = [
        "--only",
        "large",
        "small",
        "latency",
        "bundles",
        "dag",
        "--repeat",
        "1",
        "--scale",
        "0.0005",
        "--delay-ms",
        "5",
    ]
    bench.main([*arguments, "--dir", str(folder), "--output", str(output)])
    folder.rmdir()  # fails unless all that was written in it is removed
    assert "Missing, and left out: aws, pigz, s5cmd, zstd" in capsys.readouterr().out
    document: dict[str, Any] = json.loads(output.read_text())
    assert document["missing"] == ["aws", "pigz", "s5cmd", "zstd"]
    sections: dict[str, Any] = document["sections"]
    return sections


def test_bench_measures_and_names_what_is_missing(sections: dict[str, Any]) -> None:
    large = rows(sections["large"])
    ours = large["ours, one task, zstd"]
    assert ours["seconds"] > 0
    assert ours["x stock"] == pytest.approx(ours["MB/s raw"] / large["stock hook, 1 process"]["MB/s raw"])
    assert 0.15 < ours["stored/raw"] < 0.3, "logs compress to a fourth to a sixth"
    assert large["ours, one task, zstd, unchecked"]["stored/raw"] == ours["stored/raw"]
    assert large["zstd -3 -T2, s5cmd cp"]["seconds"] == "no zstd s5cmd"
    assert large["zstd -3 -T2, s5cmd cp"]["MB/s raw"] is None
    assert "no zstd program" in sections["large"]["notes"][-1]
    targets = {target["what"]: target["met"] for target in sections["large"]["targets"]}
    assert targets["one task, unchecked, to zstd and s5cmd"] is None
    assert targets["stored bytes, to gzip -9's"] in (True, False)
    assert rows(sections["small"])["ours, one task"]["PUT/s"] > 0
    assert [row["PUT/s"] is None for row in sections["latency"]["rows"]] == [False, False, True, False, False, False]
    bundles = {(row["files"], row["what"]): row for row in sections["bundles"]["rows"] if row["store"] == "at once"}
    assert bundles[50, "ours, plain"]["objects"] == 50
    assert bundles[50, "ours, bundled"]["objects"] < 10
    assert bundles[50, "ours, bundled"]["requests"] < bundles[50, "ours, plain"]["requests"]
    assert any("bytes read of" in note for note in sections["bundles"]["notes"])
    assert all(
        min(row["collect"], row["compress"], row["upload"], row["verify"]) > 0 for row in sections["dag"]["rows"]
    )


def test_a_variant_that_does_not_upload_everything_is_an_error(store: Seaweed, tmp_path: Path) -> None:
    run = Bench(store, tmp_path, repeat=1)
    with pytest.raises(BenchError, match="lazy uploaded 0 objects instead of 1"):
        in_turns(run, [Variant("lazy", lambda bucket: None, objects=1)])


def test_a_tool_that_fails_is_an_error(store: Seaweed, tmp_path: Path) -> None:
    run = Bench(store, tmp_path, tools={"false": Path("/bin/false")})
    with pytest.raises(BenchError, match="false ended with 1"):
        run.run("false")


def test_variants_run_in_turns_and_have_a_median(store: Seaweed, tmp_path: Path) -> None:
    seconds, order = iter([3.0, 1.0, 2.0]), []

    def work(name: str) -> float:
        order.append(name)
        return next(seconds) if name == "a" else 1.0

    variants = [Variant("a", lambda bucket: work("a")), Variant("b", lambda bucket: work("b"), most=1)]
    results = in_turns(Bench(store, tmp_path, repeat=3), variants)
    assert results["a"].columns() == {"seconds": 2.0, "runs": "1-3"}
    assert results["b"].seconds == [1.0]
    assert order == ["a", "b", "a", "a"]
