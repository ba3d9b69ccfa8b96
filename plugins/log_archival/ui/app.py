"""The page's FastAPI app: the page, its files, and two answers in JSON. Airflow says who may see what.

Airflow doesn't authenticate the apps of plugins: every route here depends on a user, and reads only the DAGs that this
user may read. https://airflow.apache.org/docs/apache-airflow/stable/howto/custom-view-plugin.html
"""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.models.dag import DagModel
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from log_archival.partition import zone
from log_archival.ui import answers, queries

MAX_DAYS = 1_000
#: Of which states, tasks or errors are asked for at once.
MAX_RUNS = 100
#: Whatever a name or an error holds, no script of it runs, and no other site shows the page in a frame.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; object-src 'none';"
    " form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_STATIC = StaticFiles(directory=Path(__file__).parent / "static")


def readable_dags(user: GetUserDep) -> set[str]:
    """Return the ids of the DAGs that the user may read.

    :param user: the user
    """
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


def current_time() -> datetime:
    """Return the time now; tests have another."""
    return datetime.now(UTC)


ReadableDags = Annotated[set[str], Depends(readable_dags)]
Now = Annotated[datetime, Depends(current_time)]


def create_app() -> FastAPI:
    """Return the app, to be mounted below Airflow's."""
    app = FastAPI(title="Log archive", openapi_url=None, dependencies=[Depends(get_user)])
    app.add_api_route("/", page, response_class=Response)
    app.add_api_route("/static/{path:path}", static_file, response_class=Response)
    app.add_api_route("/api/overview", overview, response_class=Response)
    app.add_api_route("/api/day", one_day, response_class=Response)
    app.add_api_route("/api/runs", states_of_runs, response_class=Response)
    app.add_exception_handler(HTTPException, ask_for_login)
    app.middleware("http")(add_headers)
    return app


async def add_headers(request: Request, call_next: Any) -> Response:
    """Add the headers that protect the page.

    :param request: any request
    :param call_next: responds to it
    """
    response: Response = await call_next(request)
    response.headers.update(HEADERS)
    return response


async def ask_for_login(request: Request, error: Exception) -> Response:
    """Send people to Airflow's login, and programs the status.

    :param request: that was refused
    :param error: why
    """
    assert isinstance(error, HTTPException)
    if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(f"../api/v2/auth/login?next={quote(request.url.path)}", status_code=307)
    return await http_exception_handler(request, error)


async def page(request: Request) -> Response:
    """Return the page.

    :param request: of the user
    """
    return await _STATIC.get_response("index.html", request.scope)


async def static_file(path: str, request: Request) -> Response:
    """Return one of the page's files.

    :param path: below `static`
    :param request: of the user
    """
    return await _STATIC.get_response(path, request.scope)


def overview(
    session: SessionDep,
    readable: ReadableDags,
    user: GetUserDep,
    now: Now,
    dag: str | None = None,
    days: Annotated[int, Query(ge=1, le=MAX_DAYS)] = 90,
) -> Response:
    """Return the states of all sources on the last days, of one DAG.

    :param session: of Airflow's database
    :param readable: the DAGs that the user may read
    :param user: the user
    :param now: the time
    :param dag: the DAG's id; the first one when it is left out
    :param days: how many days
    :raises HTTPException: when there is no such DAG, or not for this user
    """
    dags = queries.archiving_dags(session, readable)
    check = answers.privileges(queries.newest_check(session, readable))
    found: dict[str, Any] = {"dags": [one.dag_id for one in dags], "privileges": check}
    if dags or dag:
        chosen = _choose(dags, dag)
        timezone = queries.dag_timezone(session, chosen.dag_id)
        last = _last_day(now, timezone)
        history = queries.history(session, chosen.dag_id, last - timedelta(days=days - 1), last, timezone)
        found["dag"] = _describe(session, chosen, user, now) | {"timezone": timezone}
        found |= answers.overview(history, last, days, _due(chosen, now))
    return _json(found)


def one_day(session: SessionDep, readable: ReadableDags, user: GetUserDep, now: Now, dag: str, day: str) -> Response:
    """Return all that is known of a day.

    :param session: of Airflow's database
    :param readable: the DAGs that the user may read
    :param user: the user
    :param now: the time
    :param dag: the DAG's id
    :param day: such as 2026-11-22
    :raises HTTPException: when there is no such DAG, or not for this user, or no such day
    """
    chosen = _choose(queries.archiving_dags(session, readable), dag)
    if (wanted := queries.parse_day(day)) is None:
        raise HTTPException(404, "no such day")
    timezone = queries.dag_timezone(session, dag)
    history = queries.history(session, dag, wanted, wanted, timezone)
    records = [record for record in history.records if record.day == wanted]
    run_ids = [run.run_id for run in history.runs][:MAX_RUNS]
    last = _last_day(now, timezone)
    found = answers.day(
        history,
        wanted,
        due=_due(chosen, now) if wanted <= last else wanted,
        tasks=queries.tasks(session, dag, run_ids),
        errors=queries.errors(session, dag, run_ids),
        listings=queries.listings(session, dag, records),
    )
    found["dag"] = _describe(session, chosen, user, now) | {"timezone": timezone}
    found["last_day"] = str(last)
    return _json(found)


def states_of_runs(
    session: SessionDep,
    readable: ReadableDags,
    dag: str,
    run_id: Annotated[list[str], Query(max_length=MAX_RUNS)],
) -> Response:
    """Return the states of runs that somebody waits for, and why they failed.

    :param session: of Airflow's database
    :param readable: the DAGs that the user may read
    :param dag: the DAG's id
    :param run_id: the runs' ids
    :raises HTTPException: when there is no such DAG, or not for this user
    """
    _choose(queries.archiving_dags(session, readable), dag)
    found = queries.errors(session, dag, run_id)
    errors = {run: error for (run, _, _), error in found.items()}
    states = queries.run_states(session, dag, run_id)
    return _json({"runs": {run: {"state": state, "error": errors.get(run, "")} for run, state in states.items()}})


def _choose(dags: list[DagModel], dag_id: str | None) -> DagModel:
    for dag in dags:
        if dag_id in (None, dag.dag_id):
            return dag
    raise HTTPException(404, "no such DAG that archives logs, or none that you may read")


def _describe(session: SessionDep, dag: DagModel, user: GetUserDep, now: datetime) -> dict[str, Any]:
    details = DagDetails(id=dag.dag_id, team_name=DagModel.get_team_name(dag.dag_id, session=session))
    may = get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user
    )
    due = dag.next_dagrun_create_after
    return {
        "id": dag.dag_id,
        "paused": bool(dag.is_paused),
        "can_trigger": bool(may),
        "next_run": due.isoformat() if due and due > now else None,
    }


def _due(dag: DagModel, now: datetime) -> date | None:
    """Return the day whose scheduled run is yet to come."""
    after = dag.next_dagrun_create_after
    return queries.parse_day(dag.next_dagrun_partition_key) if after and after > now and not dag.is_paused else None


def _last_day(now: datetime, timezone: str) -> date:
    """Return the last day that is over."""
    return now.astimezone(zone(timezone)).date() - timedelta(days=1)


def _json(found: Any) -> Response:
    # ASCII only: names may hold surrogates, which UTF-8 can't encode.
    return Response(json.dumps(found, separators=(",", ":"), allow_nan=False), media_type="application/json")
