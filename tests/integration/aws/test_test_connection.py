"""Airflow's *Test connection*, which uses the provider's own hook: in which form it knows the external id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

from dev.local_aws import LocalAws
from log_archival.hooks import CrossAccountS3Hook


def check_connection(monkeypatch: pytest.MonkeyPatch, aws: LocalAws, **extra: Any) -> tuple[bool, str]:
    found = aws.connection()
    found["extra"] = {name: value for name, value in (found["extra"] | extra).items() if value is not None}
    monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(found))
    status, message = AwsGenericHook("tested").test_connection()  # type: ignore[no-untyped-call]
    assert aws.external_id not in message
    return status, message


def test_connection_in_the_providers_form_works(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    kwargs = {"ExternalId": aws.external_id, "RoleSessionName": "log-archival@test"}
    status, message = check_connection(monkeypatch, aws, external_id=None, assume_role_kwargs=kwargs)
    assert status, message
    assert "assumed-role/LogWriterRole/log-archival@test'" in message
    CrossAccountS3Hook("tested", bucket=aws.bucket).writer.assume_role()


def test_top_level_external_id_is_not_sent_by_the_provider(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = check_connection(monkeypatch, aws)
    assert not status
    assert "AccessDenied" in message
