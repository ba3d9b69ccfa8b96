"""Airflow's *Test connection*, which uses the provider's own hook, with and without our session factory."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks import base_aws

from dev.local_aws import LocalAws
from log_archival.hooks import CrossAccountS3Hook
from log_archival.hooks.session import CrossAccountSessionFactory

FACTORY = f"{CrossAccountSessionFactory.__module__}.{CrossAccountSessionFactory.__name__}"


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a deployment starts with `[aws] session_factory`."""
    monkeypatch.setenv("AIRFLOW__AWS__SESSION_FACTORY", FACTORY)
    monkeypatch.setattr(base_aws, "SessionFactory", base_aws.resolve_session_factory())


@pytest.mark.parametrize("module", ["airflow.providers.amazon.aws.hooks.base_aws", "log_archival.operators"])
def test_factory_is_found_whatever_is_imported_first(module: str) -> None:
    # The provider imports the factory while its own module is being imported.
    script = f"import {module}; from {base_aws.__name__} import SessionFactory; print(SessionFactory.__name__)"
    environment = {**os.environ, "AIRFLOW__AWS__SESSION_FACTORY": FACTORY, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines()[-1:] == ["CrossAccountSessionFactory"], ended.stderr


def check_connection(monkeypatch: pytest.MonkeyPatch, aws: LocalAws, **extra: Any) -> tuple[bool, str]:
    found = aws.connection()
    found["extra"] = {name: value for name, value in (found["extra"] | extra).items() if value is not None}
    monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(found))
    status, message = base_aws.AwsGenericHook("tested").test_connection()  # type: ignore[no-untyped-call]
    assert aws.external_id not in message
    return status, message


@pytest.mark.usefixtures("factory")
def test_connection_with_external_id_works(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = check_connection(monkeypatch, aws)
    assert status, message
    assert "assumed-role/LogWriterRole/log-archival@test_connection@tested@" in message


def providers_form(aws: LocalAws) -> dict[str, Any]:
    kwargs = {"ExternalId": aws.external_id, "RoleSessionName": "log-archival@test"}
    return {"external_id": None, "assume_role_kwargs": kwargs}


def test_connection_in_the_providers_form_works(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = check_connection(monkeypatch, aws, **providers_form(aws))
    assert status, message
    assert "assumed-role/LogWriterRole/log-archival@test'" in message


@pytest.mark.usefixtures("factory")
def test_factory_leaves_other_connections_alone(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    assert check_connection(monkeypatch, aws, **providers_form(aws))[0]
    status, message = check_connection(monkeypatch, aws, role_arn=None, external_id=None)
    assert status, message
    assert "user/airflow" in message


def test_external_id_is_not_sent_without_the_factory(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = check_connection(monkeypatch, aws)
    assert not status
    assert "AccessDenied" in message


@pytest.mark.usefixtures("factory")
def test_wrong_connection_is_explained(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    status, message = check_connection(monkeypatch, aws, external_id="not-the-one-agreed")
    assert not status
    assert "parameter ExternalId" in message
    status, message = check_connection(monkeypatch, aws, role_arn="LogWriterRole")
    assert not status
    assert "not of the form arn:aws:iam::" in message


@pytest.mark.usefixtures("factory")
def test_own_hook_works_with_the_factory(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LOG_ARCHIVE", aws.connection_json())
    hook = CrossAccountS3Hook(bucket=aws.bucket, session_name="log-archival@hook")
    body = b"a log\n"
    receipt = hook.writer.put(
        f"logs/{secrets.token_hex(8)}",
        body,
        content_type="text/plain",
        sha256=hashlib.sha256(body).hexdigest(),
        size=len(body),
    )
    assert receipt.outcome == "new"
