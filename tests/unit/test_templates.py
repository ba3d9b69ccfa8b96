"""The CloudFormation templates as data."""

from __future__ import annotations

from tests.support.templates import ARCHIVE, SOURCE, load_template, sids


def test_parameters_are_described() -> None:
    for name in (ARCHIVE, SOURCE):
        for parameter, settings in load_template(name)["Parameters"].items():
            assert settings["Description"], parameter
            assert ("ConstraintDescription" in settings) == ("AllowedPattern" in settings), parameter


def test_sids_are_unique_and_alphanumeric() -> None:
    found = [*sids(load_template(ARCHIVE)), *sids(load_template(SOURCE))]
    assert len(set(found)) == len(found)
    assert all(sid.isalnum() for sid in found)  # IAM accepts nothing else
