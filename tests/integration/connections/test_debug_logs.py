"""What botocore logs at DEBUG of a role's sessions, also when they are renewed: which requests, and no secret."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from log_archival.exceptions import ArchiveRequestError
from log_archival.hooks import CrossAccountS3Hook
from log_archival.hooks.assumed_role import AssumedRole
from tests.integration.connections.test_hooks import EXTERNAL_ID, ROLE, SECRET_KEY, connect_to
from tests.support.http_server import serving
from tests.support.recording_sts import Sts


class NamedSessions(Sts):
    """Gives each session a secret and a token that no other text has."""

    def response(self) -> bytes:
        until = (datetime.now(UTC) + timedelta(seconds=self.session_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        number = len(self.requests)
        return (
            '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
            f"<AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>secret-of-a-session-{number}</SecretAccessKey>"
            f"<SessionToken>token-of-a-session-{number}</SessionToken><Expiration>{until}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ).encode()


@pytest.fixture
def sessions() -> Iterator[NamedSessions]:
    recorder = NamedSessions()
    with serving(recorder.server):
        yield recorder


def test_renewed_sessions_are_not_in_debug_messages(
    sessions: NamedSessions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sessions.session_seconds = 60  # which botocore renews before each request
    connect_to(sessions, monkeypatch)
    with caplog.at_level(logging.DEBUG):
        session = AssumedRole("log_archive", bucket="acme-log-archive").get_session()
        client = session.client("sts", "eu-west-1", endpoint_url=sessions.url)
        request = partial(client.assume_role, RoleArn=ROLE, RoleSessionName="a-request", ExternalId=EXTERNAL_ID)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: request(), range(6)))
    assert len([one for one in sessions.requests if one["RoleSessionName"] != "a-request"]) > 1
    for secret in (EXTERNAL_ID, SECRET_KEY, "secret-of-a-session", "token-of-a-session"):
        assert secret not in caplog.text


def test_debug_messages_still_name_requests_and_responses(
    sessions: NamedSessions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect_to(sessions, monkeypatch)
    with caplog.at_level(logging.DEBUG):
        AssumedRole("log_archive", bucket="acme-log-archive").get_conn()
    for shown in (
        "Making request for OperationModel(name=AssumeRole) with params: ***",
        "Response headers: {'Server': 'BaseHTTP",
        '"POST / HTTP/1.1" 200',
    ):
        assert shown in caplog.text


class CutOff(NamedSessions):
    """Ends each response within the last element."""

    def response(self) -> bytes:
        return super().response()[:-60]


def test_response_that_was_cut_off_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = CutOff()
    with serving(sessions.server):
        connect_to(sessions, monkeypatch)
        writer = CrossAccountS3Hook(bucket="acme-log-archive").writer
        with caplog.at_level(logging.DEBUG), pytest.raises(ArchiveRequestError, match="can't be read") as caught:
            writer.assume_role()
    assert not caught.value.permanent
    logged = "".join(traceback.format_exception(caught.value)) + caplog.text
    for secret in (EXTERNAL_ID, SECRET_KEY, "secret-of-a-session", "token-of-a-session"):
        assert secret not in logged
