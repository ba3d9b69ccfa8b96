"""Skipped tests fail in CI, and only there."""

from __future__ import annotations

import pytest

MODULE = "import pytest\npytest.importorskip('no_such_module', reason='not installed')"
CASES = """
import pytest

def test_passes(): pass
def test_skips(): pytest.skip("no server")
@pytest.mark.skip(reason="marked")
def test_marked(): pass
@pytest.mark.xfail
def test_expected_failure(): assert False
@pytest.fixture
def server(): pytest.skip("no fixture")
def test_fixture(server): pass
"""


@pytest.mark.parametrize(
    ("ci", "outcomes"),
    [("", {"passed": 1, "skipped": 4, "xfailed": 1}), ("true", {"passed": 1, "failed": 1, "errors": 3, "xfailed": 1})],
    ids=["locally", "in CI"],
)
def test_skipped_test_fails_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcomes: dict[str, int]
) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makepyfile(test_module=MODULE, test_cases=CASES)
    result = pytester.runpytest_inprocess("-p", "tests.support.skips", "-n0", "--continue-on-collection-errors")
    result.assert_outcomes(**outcomes)
    if ci:
        for reason in ("no server", "marked", "no fixture", "not installed"):
            result.stdout.fnmatch_lines([f"Skipped: {reason} (in CI, nothing may be skipped)"])
