"""The events of a DAG's archived days in Airflow's database, as SQLAlchemy's statements: see `log_archival.history`."""

from typing import Any

from airflow.models.asset import AssetEvent, AssetModel
from sqlalchemy import func, select
from sqlalchemy.orm import aliased
from sqlalchemy.sql import Select

from log_archival.history import CONTENTS_END, CONTENTS_SCHEME


def day_assets() -> Select[Any]:
    """Return the ids of all day assets: those that have a contents asset."""
    contents = aliased(AssetModel)
    name = func.replace(AssetModel.name, "s3://", CONTENTS_SCHEME) + CONTENTS_END
    return select(AssetModel.id).join(contents, contents.name == name)


def day_events(dag_id: str, *columns: Any) -> Select[Any]:
    """Return the events of archived days.

    :param dag_id: the DAG that archived them
    :param columns: of `AssetEvent`
    """
    return _events(day_assets(), dag_id, *columns)


def contents_events(dag_id: str, *columns: Any) -> Select[Any]:
    """Return the events that list archives.

    :param dag_id: the DAG that archived them
    :param columns: of `AssetEvent`
    """
    assets = select(AssetModel.id).where(AssetModel.name.startswith(CONTENTS_SCHEME))
    return _events(assets, dag_id, *columns)


def _events(assets: Select[Any], dag_id: str, *columns: Any) -> Select[Any]:
    return select(*columns).where(AssetEvent.asset_id.in_(assets), AssetEvent.source_dag_id == dag_id)
