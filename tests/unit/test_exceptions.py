"""Errors: what people read can be read everywhere."""

from __future__ import annotations

import pytest

from log_archival.exceptions import SourceError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("caf\udce9.log", "caf\\xe9.log"),
        ("half \ud83d", "half \\ud83d"),
        ("whole \U0001f600 é\n", "whole \U0001f600 é\n"),
    ],
    ids=["a byte that is no UTF-8", "half a character", "characters"],
)
def test_message_can_be_encoded(text: str, shown: str) -> None:
    error = SourceError(text, hint=text)
    assert str(error) == f"{shown}\n{shown}"
    assert str(error).encode().decode() == str(error)
    assert error.hint == text
