"""Whatever comes from outside is accepted, or refused with one clear error, by every task and command that reads it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.support.hostile_input import TARGETS

#: How many inputs of each kind are tried in one round: those that take long are fewer.
INPUTS = {
    "fields of archive.yaml": 100, "syntax of archive.yaml": 300, "bytes of archive.yaml": 40,
    "the connection's extra": 30, "a run's params": 100, "a record": 200, "a run's records": 100, "a manifest": 20,
    "names of files": 25, "what an S3 server says": 150,
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input(name: str, rounds: int, chance: Random, show: Callable[[str], None]) -> None:
    target, counts = TARGETS[name], Counter[bool]()

    @seed(chance.getrandbits(32))
    @settings(max_examples=INPUTS[name] * rounds, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def attempt(one: Any) -> None:
        counts[target.accepts(one)] += 1

    start = time.monotonic()
    attempt()
    seconds = time.monotonic() - start
    show(
        f"  {name:28} inputs tried: {counts.total():>6,}  accepted: {counts[True]:>6,}  refused: {counts[False]:>6,}"
        f"  seconds: {seconds:.1f}"
    )
