"""The page's app over databases with the tables of this Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

#: The environment of the oldest Airflow has no driver for PostgreSQL.
DATABASES = ["sqlite", "postgresql"] if find_spec("psycopg2") else ["sqlite"]
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def engine_with_tables(url: str) -> Engine:
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()  # type: ignore[no-untyped-call]
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    from tests.support.servers import postgres, require_packages

    require_packages("postgresql")
    with postgres() as url:
        yield f"postgresql+psycopg2:{url}"


@pytest.fixture(scope="module", params=DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An empty database of Airflow, on each kind of server."""
    folder: Path = tmp_path_factory.mktemp("database")
    url = f"sqlite:///{folder / 'airflow.db'}" if request.param == "sqlite" else request.getfixturevalue("postgresql")
    engine = engine_with_tables(url)
    yield engine
    from airflow.models.base import Base

    Base.metadata.drop_all(engine)
    engine.dispose()
