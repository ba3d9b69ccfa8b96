"""Whatever comes from outside is accepted, or refused with one clear error; `make test-faults` tries more of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.support.hostile_input import TARGETS

#: The others take longer, and are for `make test-faults`.
QUICK = ["fields of archive.yaml", "syntax of archive.yaml", "a run's params", "a record"]


@pytest.mark.parametrize("name", QUICK)
def test_input_is_accepted_or_refused(name: str) -> None:
    target = TARGETS[name]

    @given(target.inputs)
    def attempt(one: Any) -> None:
        target.accepts(one)

    attempt()


@pytest.mark.parametrize("name", TARGETS)
def test_usual_input_is_accepted(name: str) -> None:
    assert TARGETS[name].accepts(TARGETS[name].usual)
