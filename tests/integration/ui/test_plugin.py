"""The plugin, as each process of Airflow loads it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
from fastapi import FastAPI

from log_archival_plugin import LazyPage, LogArchivalPlugin
from tests.support.project import REPOSITORY, run


def test_plugin_file_imports_no_more_than_the_listener_needs(tmp_path: Path) -> None:
    slow = ("log_archival.ui", "log_archival.run_queries", "log_archival.operators", "airflow.models", "airflow.api")
    script = (
        "import sys, airflow.plugins_manager; before = set(sys.modules); import log_archival_plugin;"
        " light = {*sys.stdlib_module_names, 'airflow', 'log_archival'};"
        " print(sorted({name for name in set(sys.modules) - before"
        f" if name.partition('.')[0] not in light or name.startswith({slow})}}))"
    )
    environment = {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY / "plugins")}
    done = run(sys.executable, "-c", script, cwd=tmp_path, **environment)
    assert done.stdout.splitlines()[-1] == "['log_archival_plugin']", done.stderr


def test_plugin_has_the_page_in_the_navigation_below_the_path_of_airflow() -> None:
    [view] = LogArchivalPlugin.external_views
    [app] = LogArchivalPlugin.fastapi_apps
    assert (view["name"], view["url_route"]) == ("Log archive", "log-archive")
    assert "/" + str(view["href"]).rstrip("/") == app["url_prefix"]


def test_plugin_imports_the_page_at_the_first_request() -> None:
    root = FastAPI()
    root.mount("/log-archive", LazyPage())

    async def get(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(root), base_url="http://airflow.test") as client:
            return await client.get(path)

    assert asyncio.run(get("/log-archive/api/overview")).status_code == 401
