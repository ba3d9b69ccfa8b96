"""An auth manager with a few users, and the page's app over a database of the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

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
        super().__init__()
        self.rights = rights

    def get_authorized_dag_ids(self, *, user: Any, method: Any = "GET", **_: Any) -> set[str]:
        return self.rights[user.username][method == "POST"]

    def is_authorized_dag(
        self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None, **_: Any
    ) -> bool:
        return details.id in self.rights[user.username][method == "POST"]

    def token(self, name: str) -> str:
        return self.generate_jwt(SimpleAuthManagerUser(username=name, role="VIEWER"))


@contextmanager
def page_app(engine: Engine, rights: Rights, now: datetime) -> Iterator[tuple[FastAPI, Users]]:
    """Yield Airflow's app with nothing but the page below `/log-archive`, and the users."""
    users = Users(rights)
    # Where Airflow looks whether somebody has logged out.
    RevokedToken.__table__.create(settings.engine, checkfirst=True)  # type: ignore[attr-defined]
    before = airflow_app._AuthManagerState.instance
    airflow_app._AuthManagerState.instance = users

    def session() -> Iterator[Session]:
        with Session(engine) as opened:
            yield opened

    page = create_app()
    page.dependency_overrides |= {_get_session: session, current_time: lambda: now}
    root = FastAPI()
    root.mount("/log-archive", page)
    try:
        yield root, users
    finally:
        airflow_app._AuthManagerState.instance = before
