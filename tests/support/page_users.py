"""An auth manager with a few users, and the page's app over a database of the test."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx
import pytest
from airflow import settings
from airflow.api_fastapi import app as airflow_app
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.common.db.common import _get_session
from airflow.models.revoked_token import RevokedToken
from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from log_archival.ui.app import create_app, current_time

#: Who may read which DAGs, and trigger which.
Rights = Mapping[str, tuple[set[str], set[str]]]


class Users(SimpleAuthManager):
    """Users by name, each with the DAGs that they may read and trigger."""

    def __init__(self, rights: Rights) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rights = rights

    def get_authorized_dag_ids(self, *, user: Any, method: Any = "GET", **_: Any) -> set[str]:
        return self.rights[user.username][method == "POST"]

    def is_authorized_dag(
        self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None, **_: Any
    ) -> bool:
        return details.id in self.rights[user.username][method == "POST"]

    def token(self, name: str) -> str:
        return self.generate_jwt(SimpleAuthManagerUser(username=name, role="VIEWER"))


class Browser:
    """Sends requests to an app, each as one of the users."""

    def __init__(self, app: FastAPI, users: Users) -> None:
        self.app, self.users = app, users

    def get(self, user: str | None, path: str, *, accept: str = "*/*", **parameters: Any) -> httpx.Response:
        """Return what a user gets; `path` is below the page's own."""
        headers = {"accept": accept} | ({"Authorization": f"Bearer {self.users.token(user)}"} if user else {})
        return asyncio.run(self._get(f"/log-archive/{path}", parameters, headers))

    async def _get(self, path: str, parameters: Mapping[str, Any], headers: Mapping[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow.test") as client:
            return await client.get(path, params=parameters or None, headers=headers)


@contextmanager
def page_app(engine: Engine, rights: Rights, now: datetime) -> Iterator[Browser]:
    """Yield a browser of an app that has nothing but the page below `/log-archive`."""
    users = Users(rights)
    # Where Airflow looks whether somebody has logged out.
    RevokedToken.__table__.create(settings.engine, checkfirst=True)

    def session() -> Iterator[Session]:
        with Session(engine) as opened:
            yield opened

    page = create_app()
    page.dependency_overrides |= {_get_session: session, current_time: lambda: now}
    root = FastAPI()
    root.mount("/log-archive", page)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(airflow_app._AuthManagerState, "instance", users)
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", secrets.token_hex(64))
        yield Browser(root, users)
