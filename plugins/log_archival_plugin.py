"""The Airflow plugin: the page *Log archive*, and what the scheduler does with runs of DAGs that archive.

Every process of Airflow executes this file, each task's too, so it imports nothing that takes time.
"""

from typing import Any

from airflow import __version__
from airflow.plugins_manager import AirflowPlugin

from log_archival import run_listener

# Runs and events have a partition from Airflow 3.2 on, and the page is about partitions.
_HAS_PAGE = tuple(map(int, __version__.split(".")[:2])) >= (3, 2)
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='{}'"
    " stroke-width='1.6' stroke-linecap='round' stroke-linejoin='round'%3E%3Crect x='3' y='4' width='18' height='5'"
    " rx='1'/%3E%3Cpath d='M5 9v10a1 1 0 0 0 1 1h12a1 1 0 0 0 1-1V9M9.5 14.5l2 2 3.5-4'/%3E%3C/svg%3E"
)


class LazyPage:
    """The page's ASGI app, imported at the first request."""

    _app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on.

        :param scope: the request, as ASGI has it: https://asgi.readthedocs.io/en/latest/specs/main.html
        :param receive: returns the request's events
        :param send: takes the response's events
        """
        if self._app is None:
            from log_archival.ui.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


class LogArchivalPlugin(AirflowPlugin):
    """Adds the page to Airflow's navigation.

    The address is relative to Airflow's own, which may have a path (`[api] base_url`).
    https://airflow.apache.org/docs/apache-airflow/stable/howto/custom-view-plugin.html
    """

    name = "log_archival"
    listeners = [run_listener]  # noqa: RUF012
    if _HAS_PAGE:
        fastapi_apps = [{"name": "Log archive", "app": LazyPage(), "url_prefix": "/log-archive"}]
        external_views = [
            {
                "name": "Log archive",
                "href": "log-archive/",
                "destination": "nav",
                "url_route": "log-archive",
                "nav_top_level": True,
                "icon": _ICON.format("%23708090"),
                "icon_dark_mode": _ICON.format("%23a1a1aa"),
            }
        ]
